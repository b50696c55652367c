//! Keeps compiled code on disk, so that a start does not compile again. An entry that does not load
//! is compiled again and replaced.
//!
//! Compiled code is run as it is. So each entry begins with a seal: an HMAC-SHA256 of the digest of
//! its component, the engine that it was compiled for, and the code. The key is made at the first
//! start and lies beside the directory, not in it. An entry that was altered, or that is another
//! component's under a wrong name, has no valid seal.

use crate::HostError;
use crate::compiler::Code;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use std::hash::{Hash, Hasher};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use wasmtime::Engine;
use wasmtime::component::Component;

/// The mode of the directories that we make: only this user may read or write them.
const PRIVATE: u32 = 0o700;
/// The length of the seal that stands before the code, and of its key, in bytes.
const SEAL: usize = 32;
/// What follows the name of the directory in the name of the key's file.
const KEY_SUFFIX: &str = "key";

/// What follows the name of an entry.
const ENTRY_SUFFIX: &str = "cwasm";

type Seal = Hmac<Sha256>;

pub(crate) struct Cache {
    dir: PathBuf,
    /// Ready to take in what is sealed.
    seal: Seal,
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
        let path = dir.with_extension(KEY_SUFFIX);
        let failed = |source| HostError::CacheKey { path: path.clone(), source };
        let key = match kept_key(&path).map_err(failed)? {
            Some(key) => key,
            None => {
                empty(dir);
                new_key(&path).map_err(failed)?
            }
        };
        // HMAC takes keys of any length.
        let seal = Seal::new_from_slice(&key)
            .map_err(|error| HostError::Engine(format!("the key of the cache: {error}")))?;
        Ok(Self { dir: dir.to_owned(), seal, engine })
    }

    fn seal(&self, digest: &str, code: &[u8]) -> Seal {
        // The digest and the hash have a fixed length. So no two inputs are the same in a row.
        [digest.as_bytes(), self.engine.as_bytes(), code].iter().fold(
            self.seal.clone(),
            |mut seal, part| {
                seal.update(part);
                seal
            },
        )
    }

    fn file(&self, digest: &str) -> PathBuf {
        self.dir.join(format!("{digest}-{}.{ENTRY_SUFFIX}", self.engine))
    }

    /// The compiled component, if there is a sound entry.
    pub(crate) fn load(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let bytes = std::fs::read(self.file(digest)).ok()?;
        let (seal, code) = bytes.split_at_checked(SEAL)?;
        if self.seal(digest, code).verify_slice(seal).is_err() {
            tracing::warn!(
                digest,
                "compiled code in the cache is damaged, or was not written by this daemon; \
                 compiling again"
            );
            return None;
        }
        // The directory was checked at start to belong to this user and to be writable by nobody
        // else, and the seal has just shown that a holder of the key wrote these bytes, for this
        // component and this engine. Only this user can read the key.
        let loaded = Code::sealed(code.to_vec()).load(engine);
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
    pub(crate) fn save(&self, code: &Code, digest: &str) {
        if let Err(error) = self.try_save(code, digest) {
            tracing::warn!(digest, %error, "compiled code cannot be kept");
        }
    }

    fn try_save(&self, code: &Code, digest: &str) -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
        file.write_all(&self.seal(digest, code.bytes()).finalize().into_bytes())?;
        file.write_all(code.bytes())?;
        file.persist(self.file(digest))?;
        Ok(())
    }
}

/// The key of the seals, if there is one that only this user can read.
fn kept_key(path: &Path) -> std::io::Result<Option<[u8; SEAL]>> {
    match read_key(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Ok(None) => {
            tracing::warn!(
                path = %path.display(),
                "the key of the compiled code is not one that only this user can read; making \
                 another"
            );
            Ok(None)
        }
        other => other,
    }
}

/// Removes the entries that no key has sealed: those of a version without seals, and those of a key
/// that is gone. Otherwise each of them would be told as damaged.
fn empty(dir: &Path) {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let compiled = |path: &PathBuf| path.extension().is_some_and(|suffix| suffix == ENTRY_SUFFIX);
    for path in entries.map(|entry| entry.path()).filter(compiled) {
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), %error, "old compiled code stays");
        }
    }
}

/// Makes a key.
fn new_key(path: &Path) -> std::io::Result<[u8; SEAL]> {
    let key: [u8; SEAL] = rand::random();
    // A temporary file has mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
    file.write_all(&key)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(key)
}

/// The key in this file; none if the file is not as we make it.
fn read_key(path: &Path) -> std::io::Result<Option<[u8; SEAL]>> {
    let meta = std::fs::symlink_metadata(path)?;
    let private = meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o077 == 0;
    if !private || !meta.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(SEAL as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes.try_into().ok())
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
