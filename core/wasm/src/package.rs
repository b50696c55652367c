//! A component's file together with the signature beside it.

use crate::LoadError;
use crate::embedded::Split;
use crate::inspect::{FILE_MAX, Inspection, digest_of, inspect, take_apart};
use crate::signature::TEXT_MAX;
use crate::trust::{Candidate, Claimed, Place, Trust};
use ostler_driver::SignedBy;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use tokio::io::AsyncReadExt;

/// What follows the name of a component's file in the name of its signature's file.
const SUFFIX: &str = ".minisig";

/// The file of the signature that lies beside this file.
#[must_use]
pub fn signature_file(component: &Path) -> PathBuf {
    let mut name = OsString::from(component);
    name.push(SUFFIX);
    PathBuf::from(name)
}

/// A component's file, read once, with the signature that lies beside it. So the bytes that are
/// judged are the bytes that are loaded, even if the files change in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// The file, for people.
    pub what: String,
    /// The file of the component.
    pub bytes: Vec<u8>,
    /// The text of the signature beside it, if there is one.
    pub beside: Option<Vec<u8>>,
}

impl Package {
    /// Reads a component's file, and the signature beside it if there is one. Of a file that is
    /// larger than a driver or a signature may be, only enough is read to show that.
    ///
    /// # Errors
    /// One of the files cannot be read.
    pub async fn read(file: &Path) -> Result<Self, LoadError> {
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |source| LoadError::Unreadable { path, source }
        };
        let bytes = read_at_most(file, FILE_MAX + 1).await.map_err(unreadable(file))?;
        let signature = signature_file(file);
        let beside = match read_at_most(&signature, TEXT_MAX as u64 + 1).await {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(unreadable(&signature)(error)),
        };
        Ok(Self { what: file.display().to_string(), bytes, beside })
    }

    /// A component that has no signature beside it. `what` names it in errors.
    #[must_use]
    pub fn bare(what: &str, bytes: Vec<u8>) -> Self {
        Self { what: what.to_owned(), bytes, beside: None }
    }

    /// Reads what the component is and who has signed it, and judges by `trust` whether it may be
    /// loaded. Compiles and runs nothing.
    ///
    /// # Errors
    /// Why this host could not run it, or may not load it.
    pub fn judge(&self, trust: &Trust) -> Result<Judged, LoadError> {
        let inspection = inspect(&self.what, &self.bytes)?;
        let Split { component, signature } = take_apart(&self.what, &self.bytes)?;
        let file_digest = match signature {
            Some(_) => digest_of(&self.bytes),
            None => inspection.digest.clone(),
        };
        let mut signatures = Vec::new();
        if let Some(text) = signature {
            signatures.push(Claimed {
                place: Place::Inside,
                text,
                covered: component,
                sha256: &inspection.digest,
            });
        }
        if let Some(text) = &self.beside {
            signatures.push(Claimed {
                place: Place::Beside,
                text,
                covered: &self.bytes,
                sha256: &file_digest,
            });
        }
        let signers = trust.judge(&Candidate {
            what: &self.what,
            driver: inspection.manifest.name.as_str(),
            digest: &inspection.digest,
            signatures: &signatures,
        })?;
        Ok(Judged { component_len: component.len(), file_digest, inspection, signers })
    }
}

/// A component that was judged and may be loaded by the policy that it was judged by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// What it is.
    pub inspection: Inspection,
    /// Who has signed it.
    pub signers: Vec<SignedBy>,
    /// SHA-256 of the whole file, with the signature inside of it.
    pub file_digest: String,
    /// The bytes of the file before the signature's section.
    pub(crate) component_len: usize,
}

impl Judged {
    /// The ids of the trusted keys that have signed it.
    #[must_use]
    pub fn verified(&self) -> Vec<&str> {
        let trusted = self.signers.iter().filter(|signer| signer.name.is_some());
        trusted.map(|signer| signer.key.as_str()).collect()
    }
}

async fn read_at_most(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    tokio::fs::File::open(path).await?.take(most).read_to_end(&mut bytes).await?;
    Ok(bytes)
}
