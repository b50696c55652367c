//! Keeps compiled code on disk, so that a start does not compile again. An entry that does not load
//! is compiled again and replaced.

use crate::HostError;
use sha2::{Digest, Sha256};
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use wasmtime::Engine;
use wasmtime::component::Component;

/// The mode of the directories that we make: only this user may read or write them.
const PRIVATE: u32 = 0o700;
/// The length of the SHA-256 digest that stands before the code.
const SEAL: usize = 32;

pub(crate) struct Cache {
    dir: PathBuf,
    /// A hash of the engine that an entry was compiled for.
    engine: String,
}

/// Makes `dir` if it is not there. Checks that it belongs to this user and that nobody else may
/// write to it.
pub(crate) fn private_dir(dir: &Path) -> Result<(), HostError> {
    let failed = |problem: String| HostError::Directory { path: dir.to_owned(), problem };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE)
        .create(dir)
        .map_err(|error| failed(error.to_string()))?;
    let meta = std::fs::symlink_metadata(dir).map_err(|error| failed(error.to_string()))?;
    if !meta.is_dir() {
        return Err(failed("it is not a directory".to_owned()));
    }
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(failed(format!("it belongs to user {}", meta.uid())));
    }
    if meta.mode() & 0o022 != 0 {
        return Err(failed(format!("others may write to it (mode {:o})", meta.mode() & 0o7777)));
    }
    Ok(())
}

impl Cache {
    pub(crate) fn open(dir: &Path, engine: &Engine) -> Result<Self, HostError> {
        private_dir(dir)?;
        let mut hasher = HexHasher(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let engine = hex(&hasher.0.finalize())[..16].to_owned();
        Ok(Self { dir: dir.to_owned(), engine })
    }

    fn file(&self, digest: &str) -> PathBuf {
        self.dir.join(format!("{digest}-{}.cwasm", self.engine))
    }

    /// The compiled component, if there is a sound entry.
    pub(crate) fn load(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let bytes = std::fs::read(self.file(digest)).ok()?;
        let (seal, code) = bytes.split_at_checked(SEAL)?;
        if Sha256::digest(code).as_slice() != seal {
            tracing::warn!(digest, "compiled code in the cache is damaged; compiling again");
            return None;
        }
        // SAFETY: `deserialize` trusts that its input was written by `Component::serialize`. The
        // directory was checked at start to belong to this user and to be writable by nobody else,
        // the name holds the hash of the source and of the engine's configuration, and the seal has
        // just shown that the bytes are those we wrote. A person who can forge all of this already
        // runs as this user. Nothing from outside ever gets here: a precompiled file is refused
        // when it is loaded.
        #[allow(unsafe_code, reason = "the one way to load compiled code")]
        let loaded = unsafe { Component::deserialize(engine, code) };
        let tell = |error: &_| {
            tracing::warn!(
                digest,
                %error,
                "compiled code in the cache does not fit; compiling again"
            );
        };
        loaded.inspect_err(tell).ok()
    }

    /// Keeps compiled code. If the cache cannot be written, the next start only takes longer.
    pub(crate) fn save(&self, component: &Component, digest: &str) {
        if let Err(problem) = self.try_save(component, digest) {
            tracing::warn!(digest, problem, "compiled code cannot be kept");
        }
    }

    fn try_save(&self, component: &Component, digest: &str) -> Result<(), String> {
        let code = component.serialize().map_err(|error| error.to_string())?;
        let mut file =
            tempfile::NamedTempFile::new_in(&self.dir).map_err(|error| error.to_string())?;
        file.write_all(&Sha256::digest(&code))
            .and_then(|()| file.write_all(&code))
            .map_err(|error| error.to_string())?;
        file.persist(self.file(digest)).map(drop).map_err(|error| error.to_string())
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A hasher that feeds its input to SHA-256: the standard hasher may change between builds.
struct HexHasher(Sha256);

impl Hasher for HexHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}
