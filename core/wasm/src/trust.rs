//! Decides whether a component may be loaded, by its digest and its signatures. This is the only
//! place that decides it: [`crate::Host`] compiles nothing that was not judged here.

use crate::signature::{KeyId, PublicKey, Signature, SignatureProblem};
use ostler_driver::SignedBy;
use std::collections::BTreeSet;
use std::fmt;

/// The most keys that are trusted: a signature of an unknown key is compared with all of them.
pub const KEYS_MAX: usize = 64;

/// Which components may be loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Policy {
    /// All.
    #[default]
    None,
    /// Those that a trusted key has signed.
    Signed,
    /// Those whose digest is listed.
    Pinned,
}

/// A public key that an operator trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKey {
    /// What the operator calls it.
    pub name: String,
    /// The key.
    pub key: PublicKey,
}

impl fmt::Display for TrustedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.key.id())
    }
}

/// The trust policy of an operator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// Which components may be loaded.
    pub policy: Policy,
    /// The keys whose signatures count. At most [`KEYS_MAX`].
    pub keys: Vec<TrustedKey>,
    /// Digests for [`Policy::Pinned`], in lower-case hexadecimal.
    pub pinned: BTreeSet<String>,
}

/// Where a signature is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a file of its own, beside the component. It covers the whole file of the component.
    Beside,
    /// Inside of the component. It covers all bytes before its section.
    Inside,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Beside => "the signature beside it (.minisig)",
            Self::Inside => "the signature inside of it",
        })
    }
}

/// A signature, and the bytes that it covers.
pub(crate) struct Claimed<'a> {
    pub(crate) place: Place,
    pub(crate) text: &'a [u8],
    pub(crate) covered: &'a [u8],
    /// SHA-256 of these bytes, in hexadecimal.
    pub(crate) sha256: &'a str,
}

/// A component that is to be judged.
pub(crate) struct Candidate<'a> {
    /// The file, for people.
    pub(crate) what: &'a str,
    pub(crate) driver: &'a str,
    pub(crate) digest: &'a str,
    pub(crate) signatures: &'a [Claimed<'a>],
}

/// Why a component is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// A signature is there and does not fit. This is refused under every policy.
    #[error(
        "{what} (driver {driver}) was damaged or altered, or its signature was: {place} does not \
         fit: {problem}"
    )]
    Broken {
        /// The driver.
        driver: String,
        /// The file.
        what: String,
        /// Which signature.
        place: Place,
        /// The problem.
        problem: SignatureProblem,
    },
    /// It has no signature.
    #[error(
        "{what} (driver {driver}, SHA-256 {digest}) is not signed, and only drivers that a trusted \
         key has signed may be loaded; trusted: {}",
        named(.trusted)
    )]
    Unsigned {
        /// The driver.
        driver: String,
        /// The file.
        what: String,
        /// The component's digest.
        digest: String,
        /// The trusted keys.
        trusted: Vec<String>,
    },
    /// It is signed, by keys that are not trusted.
    #[error(
        "{what} (driver {driver}, SHA-256 {digest}) is signed by {}, which is not trusted; \
         trusted: {}",
        by(.keys),
        named(.trusted)
    )]
    UntrustedKey {
        /// The driver.
        driver: String,
        /// The file.
        what: String,
        /// The component's digest.
        digest: String,
        /// The keys that its signatures name.
        keys: Vec<KeyId>,
        /// The trusted keys.
        trusted: Vec<String>,
    },
    /// Its digest is not listed.
    #[error(
        "{what} (driver {driver}, SHA-256 {digest}) is not pinned, and only drivers whose SHA-256 \
         is listed may be loaded; listed: {pinned}, this one is {}",
        signed(.keys)
    )]
    NotPinned {
        /// The driver.
        driver: String,
        /// The file.
        what: String,
        /// The component's digest.
        digest: String,
        /// How many digests are listed.
        pinned: usize,
        /// The keys that its signatures name.
        keys: Vec<String>,
    },
}

fn named(keys: &[String]) -> String {
    if keys.is_empty() { "no key".to_owned() } else { keys.join(", ") }
}

fn by(keys: &[KeyId]) -> String {
    let keys: Vec<String> = keys.iter().map(|key| format!("key {key}")).collect();
    keys.join(" and ")
}

fn signed(keys: &[String]) -> String {
    if keys.is_empty() { "not signed".to_owned() } else { format!("signed by {}", keys.join(", ")) }
}

impl Trust {
    /// Judges a component. Answers who has signed it: `name` is there if the key is trusted, and
    /// the signature was verified then.
    pub(crate) fn judge(&self, candidate: &Candidate<'_>) -> Result<Vec<SignedBy>, Distrust> {
        let mut signers: Vec<SignedBy> = Vec::new();
        let mut strange = Vec::new();
        for claimed in candidate.signatures {
            let (key, name) = self.verify(claimed).map_err(|problem| Distrust::Broken {
                driver: candidate.driver.to_owned(),
                what: candidate.what.to_owned(),
                place: claimed.place,
                problem,
            })?;
            if name.is_none() {
                strange.push(key);
            }
            let signer = SignedBy { key: key.to_string(), name };
            if !signers.contains(&signer) {
                signers.push(signer);
            }
        }
        match self.policy {
            Policy::None => Ok(signers),
            Policy::Signed if signers.iter().any(|signer| signer.name.is_some()) => Ok(signers),
            Policy::Signed => Err(self.unsigned(candidate, strange)),
            Policy::Pinned if self.pinned.contains(candidate.digest) => Ok(signers),
            Policy::Pinned => Err(Distrust::NotPinned {
                driver: candidate.driver.to_owned(),
                what: candidate.what.to_owned(),
                digest: candidate.digest.to_owned(),
                pinned: self.pinned.len(),
                keys: signers.iter().map(ToString::to_string).collect(),
            }),
        }
    }

    fn unsigned(&self, candidate: &Candidate<'_>, strange: Vec<KeyId>) -> Distrust {
        let (driver, what) = (candidate.driver.to_owned(), candidate.what.to_owned());
        let digest = candidate.digest.to_owned();
        let trusted = self.keys.iter().map(ToString::to_string).collect();
        if strange.is_empty() {
            Distrust::Unsigned { driver, what, digest, trusted }
        } else {
            Distrust::UntrustedKey { driver, what, digest, keys: strange, trusted }
        }
    }

    /// The key that a signature names, and what the operator calls it if it is trusted.
    fn verify(&self, claimed: &Claimed<'_>) -> Result<(KeyId, Option<String>), SignatureProblem> {
        let signature = match claimed.place {
            Place::Beside => Signature::parse(claimed.text)?,
            Place::Inside => Signature::parse_embedded(claimed.text)?,
        };
        signature.names(claimed.sha256)?;
        let says = signature.key;
        let mine = |trusted: &&TrustedKey| signature.is_made_by(&trusted.key, claimed.covered);
        let (same, other): (Vec<_>, Vec<_>) =
            self.keys.iter().partition(|trusted| trusted.key.id() == says);
        if let Some(trusted) = same.iter().copied().find(mine) {
            return Ok((says, Some(trusted.name.clone())));
        }
        if !same.is_empty() {
            return Err(SignatureProblem::Forged(says));
        }
        // The id of the key is the one part of a signature that is not signed itself.
        match other.into_iter().find(mine) {
            Some(trusted) => Err(SignatureProblem::OtherKey { says, is: trusted.key.id() }),
            None => Ok((says, None)),
        }
    }
}

#[cfg(test)]
#[path = "trust_tests.rs"]
mod tests;
