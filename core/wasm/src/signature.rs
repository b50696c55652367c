//! Signatures and public keys in minisign's format. The cryptography is minisign's own library;
//! the text around it is read here, more strictly than minisign does, so that a signature has one
//! form: every byte of it counts, except the text of the untrusted comment.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt;

/// The longest text that is read as a signature or as a public key, in bytes. A signature of
/// minisign's own has about 300, and its trusted comment at most 8 KiB.
pub const TEXT_MAX: usize = 16 * 1024;
/// The untrusted comment of a signature that is inside of a component.
const EMBEDDED_COMMENT: &str = "untrusted comment: signature of an Ostler driver";
const UNTRUSTED: &str = "untrusted comment:";
const TRUSTED: &str = "trusted comment: ";
/// Ed25519 of the BLAKE2b hash of the file.
const PREHASHED: &[u8] = b"ED";
/// Ed25519 of the file itself: how minisign signed before 2021.
const LEGACY: &[u8] = b"Ed";
/// The bytes before the signature: two for the algorithm, eight for the id of the key.
const KEY_ID: std::ops::Range<usize> = 2..10;
/// The bytes of the first line: algorithm, id of the key, signature.
const SIGNATURE_BYTES: usize = 74;
/// The field of the trusted comment that names the SHA-256 of what is signed.
const SHA256: &str = "sha256:";

/// The number of a key, as minisign prints it. It tells keys apart, and proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId([u8; 8]);

impl KeyId {
    /// The id with these bytes, in the order in which they are in a file.
    #[must_use]
    pub const fn new(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    fn of(decoded: &[u8]) -> Option<Self> {
        Some(Self(decoded.get(KEY_ID)?.try_into().ok()?))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", u64::from_le_bytes(self.0))
    }
}

/// Why a text is no public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyProblem {
    /// Not a key in minisign's format.
    #[error(
        "it is not a public key of minisign: a line of 56 characters that begins with RW, alone or \
         below a line with a comment"
    )]
    Format,
    /// A secret key, which must not be handed out.
    #[error("it is a secret key; give the public one")]
    Secret,
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    id: KeyId,
    /// Algorithm, id of the key, key.
    bytes: Vec<u8>,
}

impl PublicKey {
    /// Reads the text of a public key: its line, alone or below a comment as in `minisign.pub`.
    ///
    /// # Errors
    /// The text is no public key.
    pub fn parse(text: &str) -> Result<Self, KeyProblem> {
        let lines: Vec<&str> = text.trim().lines().map(str::trim).collect();
        let line = match lines.as_slice() {
            [line] => *line,
            [comment, line] if comment.starts_with(UNTRUSTED) => *line,
            _ => return Err(KeyProblem::Format),
        };
        let decoded = STANDARD.decode(line).map_err(|_| KeyProblem::Format)?;
        // Algorithm, id of the key, key: a secret key is more than twice as long.
        if decoded.len() > SIGNATURE_BYTES && decoded.starts_with(LEGACY) {
            return Err(KeyProblem::Secret);
        }
        minisign_verify::PublicKey::from_base64(line).map_err(|_| KeyProblem::Format)?;
        Ok(Self { id: KeyId::of(&decoded).ok_or(KeyProblem::Format)?, bytes: decoded })
    }

    /// Its number.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// The same key under another number.
    fn called(&self, id: KeyId) -> Option<minisign_verify::PublicKey> {
        let mut bytes = self.bytes.clone();
        bytes.get_mut(KEY_ID)?.copy_from_slice(&id.0);
        minisign_verify::PublicKey::from_base64(&STANDARD.encode(bytes)).ok()
    }
}

/// Why a signature cannot be relied on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureProblem {
    /// Not a signature.
    #[error("it is not a signature in minisign's format")]
    Format,
    /// Made in the old way, which signs the file itself instead of its hash.
    #[error("it was made in minisign's old way (without a hash); sign with minisign 0.10 or later")]
    Legacy,
    /// It is for other bytes.
    #[error("it was made for a file with another SHA-256 ({0})")]
    OtherFile(String),
    /// The key that it names has not signed these bytes.
    #[error("key {0} has not signed this")]
    Forged(KeyId),
    /// Another key than the one that it names has signed these bytes.
    #[error("it names key {says} and was made by key {is}")]
    OtherKey {
        /// The key that it names.
        says: KeyId,
        /// The key that made it.
        is: KeyId,
    },
}

/// A signature that was read, and not yet compared with anything.
#[derive(Clone)]
pub(crate) struct Signature {
    pub(crate) key: KeyId,
    comment: String,
    decoded: minisign_verify::Signature,
}

impl Signature {
    /// Reads a signature's file.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, SignatureProblem> {
        if text.len() > TEXT_MAX {
            return Err(SignatureProblem::Format);
        }
        let text = std::str::from_utf8(text).map_err(|_| SignatureProblem::Format)?;
        let lines: Vec<&str> = text.strip_suffix('\n').unwrap_or(text).split('\n').collect();
        let [untrusted, first, trusted, second] = lines.as_slice() else {
            return Err(SignatureProblem::Format);
        };
        let comment = trusted.strip_prefix(TRUSTED).ok_or(SignatureProblem::Format)?;
        // Nothing that a terminal would obey, and no other end of a line.
        let plain = |text: &str| !text.chars().any(|c| c.is_control() && c != '\t');
        if !untrusted.starts_with(UNTRUSTED) || !plain(untrusted) || !plain(comment) {
            return Err(SignatureProblem::Format);
        }
        let bytes = STANDARD.decode(first).map_err(|_| SignatureProblem::Format)?;
        STANDARD.decode(second).map_err(|_| SignatureProblem::Format)?;
        match bytes.get(..KEY_ID.start) {
            Some(PREHASHED) => {}
            Some(LEGACY) => return Err(SignatureProblem::Legacy),
            _ => return Err(SignatureProblem::Format),
        }
        Ok(Self {
            key: KeyId::of(&bytes).ok_or(SignatureProblem::Format)?,
            comment: comment.to_owned(),
            decoded: minisign_verify::Signature::decode(text)
                .map_err(|_| SignatureProblem::Format)?,
        })
    }

    /// Reads a signature that is inside of a component: there the untrusted comment is always the
    /// same, too.
    pub(crate) fn parse_embedded(text: &[u8]) -> Result<Self, SignatureProblem> {
        let rest = text.strip_prefix(EMBEDDED_COMMENT.as_bytes());
        if rest.is_some_and(|rest| rest.starts_with(b"\n")) && text.ends_with(b"\n") {
            Self::parse(text)
        } else {
            Err(SignatureProblem::Format)
        }
    }

    /// Compares the SHA-256 that the trusted comment names, if it names one, with that of the
    /// covered bytes. No key is needed for that. So damage is noticed even if the key is not known.
    pub(crate) fn names(&self, sha256: &str) -> Result<(), SignatureProblem> {
        match self.comment.split('\t').find_map(|field| field.strip_prefix(SHA256)) {
            Some(named) if named != sha256 => Err(SignatureProblem::OtherFile(named.to_owned())),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether this key has made it for these bytes. The id that it names is not looked at.
    pub(crate) fn is_made_by(&self, key: &PublicKey, covered: &[u8]) -> bool {
        // `verify` refuses another id before it looks further.
        key.called(self.key).is_some_and(|key| key.verify(covered, &self.decoded, false).is_ok())
    }
}
