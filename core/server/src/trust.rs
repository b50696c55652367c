//! The trust policy of the settings: which components may be loaded, and whose signatures count.
//! `ostler_wasm` decides by it.

use ostler_wasm::{
    Distrust, KEYS_MAX, KeyProblem, LoadError, Policy, PublicKey, Trust, TrustedKey,
};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use strum::{EnumString, VariantNames};

/// The largest file that is read as a public key, in bytes: one of minisign has about 120.
const KEY_FILE_MAX: u64 = 4096;
/// The characters of a SHA-256 in hexadecimal.
const DIGEST_CHARS: usize = 64;

/// The section `[trust]` of the settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrustConfig {
    /// Which components may be loaded; all if not given.
    pub policy: Option<PolicyWord>,
    /// For each trusted key what it is called: the key as text (`RW...`), or the absolute path of
    /// its file.
    pub keys: BTreeMap<String, String>,
    /// SHA-256 of the components that may be loaded under the policy `pinned`.
    pub pinned: Vec<String>,
}

/// The word for a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, EnumString, VariantNames)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum PolicyWord {
    /// All components may be loaded.
    None,
    /// Only those that a trusted key has signed.
    Signed,
    /// Only those whose SHA-256 is listed.
    Pinned,
}

impl From<PolicyWord> for Policy {
    fn from(word: PolicyWord) -> Self {
        match word {
            PolicyWord::None => Self::None,
            PolicyWord::Signed => Self::Signed,
            PolicyWord::Pinned => Self::Pinned,
        }
    }
}

/// Why the trust policy of the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustProblem {
    /// A key is none.
    #[error("[trust.keys] {name}: {problem}")]
    Key {
        /// What the operator calls it.
        name: String,
        /// The problem.
        problem: KeyProblem,
    },
    /// The file of a key cannot be read.
    #[error("[trust.keys] {name}: cannot read {path}")]
    File {
        /// What the operator calls the key.
        name: String,
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// Somebody else could replace the file of a key.
    #[error(
        "[trust.keys] {name}: others may change {path} ({why}), and so decide whose drivers are \
         loaded; it must belong to root or to the user of ostlerd, and only they may write to it"
    )]
    Open {
        /// What the operator calls the key.
        name: String,
        /// The file.
        path: PathBuf,
        /// Who may change it.
        why: String,
    },
    /// A digest is none.
    #[error("[trust] pinned: {0:?} is not a SHA-256 in hexadecimal ({DIGEST_CHARS} characters)")]
    Digest(String),
    /// The policy asks for signatures, and no signature could count.
    #[error(
        "[trust] policy is signed, and no key is trusted, so no driver could be loaded; add the \
         vendor's public key under [trust.keys], or with --trust-key NAME=KEY"
    )]
    NoKeys,
    /// Too many keys.
    #[error("[trust.keys] has {0} keys, and at most {KEYS_MAX} are looked at")]
    ManyKeys(usize),
}

impl TrustConfig {
    /// Whether digests are listed that count for nothing.
    pub(crate) fn pins_in_vain(&self) -> bool {
        self.policy != Some(PolicyWord::Pinned) && !self.pinned.is_empty()
    }

    /// The policy, with all keys read.
    ///
    /// # Errors
    /// A key or a digest is not valid, or the policy could let no driver through.
    pub fn trust(&self) -> Result<Trust, TrustProblem> {
        let policy = self.policy.map(Policy::from).unwrap_or_default();
        if self.keys.len() > KEYS_MAX {
            return Err(TrustProblem::ManyKeys(self.keys.len()));
        }
        if policy == Policy::Signed && self.keys.is_empty() {
            return Err(TrustProblem::NoKeys);
        }
        let keys =
            self.keys.iter().map(|(name, text)| key(name, text)).collect::<Result<_, _>>()?;
        let pinned = self.pinned.iter().map(|text| digest(text)).collect::<Result<_, _>>()?;
        Ok(Trust { policy, keys, pinned })
    }
}

fn key(name: &str, text: &str) -> Result<TrustedKey, TrustProblem> {
    let read = if text.starts_with('/') { read(name, Path::new(text))? } else { text.to_owned() };
    let key = PublicKey::parse(&read)
        .map_err(|problem| TrustProblem::Key { name: name.to_owned(), problem })?;
    Ok(TrustedKey { name: name.to_owned(), key })
}

fn read(name: &str, path: &Path) -> Result<String, TrustProblem> {
    let failed = |source| TrustProblem::File { name: name.to_owned(), path: path.into(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    let open = |why| TrustProblem::Open { name: name.to_owned(), path: path.into(), why };
    if ![0, rustix::process::geteuid().as_raw()].contains(&meta.uid()) {
        return Err(open(format!("it belongs to user {}", meta.uid())));
    }
    if meta.mode() & 0o022 != 0 {
        return Err(open(format!("mode {:o}", meta.mode() & 0o7777)));
    }
    let mut text = String::new();
    file.take(KEY_FILE_MAX).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

fn digest(text: &str) -> Result<String, TrustProblem> {
    let digest = text.strip_prefix("sha256:").unwrap_or(text).to_ascii_lowercase();
    if digest.len() == DIGEST_CHARS && digest.chars().all(|c| c.is_ascii_hexdigit()) {
        Ok(digest)
    } else {
        Err(TrustProblem::Digest(text.to_owned()))
    }
}

/// What an operator can do about a component that is not trusted. None if it is another problem.
pub(crate) const fn hint(error: &LoadError) -> Option<&'static str> {
    let LoadError::Distrusted(distrust) = error else { return None };
    Some(match distrust {
        Distrust::Broken { .. } => {
            "get the file and its signature again from whoever made them; if you have altered the \
             file yourself, sign it anew (`ostler plugin sign`) or remove the signature"
        }
        Distrust::Unsigned { .. } => {
            "put the vendor's signature beside the file (FILE.minisig), or look at it (`ostler \
             plugin inspect`) and sign it with a key of your own (`ostler plugin sign`); which \
             keys count stands under [trust] in the settings of ostlerd"
        }
        Distrust::UntrustedKey { .. } => {
            "if you trust that vendor, add its public key under [trust.keys] in the settings of \
             ostlerd and start it again; ask the vendor for the key, and not whoever handed you \
             the file"
        }
        Distrust::NotPinned { .. } => {
            "if this is the file that you mean, add its SHA-256 to `pinned` under [trust] in the \
             settings of ostlerd and start it again"
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";

    fn trust(toml: &str) -> Result<Trust, TrustProblem> {
        toml::from_str::<TrustConfig>(toml).expect("settings").trust()
    }

    #[test]
    fn keys_are_text_or_files_that_nobody_else_can_change() {
        assert_eq!(trust("").expect("all may be loaded"), Trust::default());
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("acme.pub");
        std::fs::write(&file, format!("untrusted comment: acme\n{KEY}\n")).expect("written");
        let mode = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode));
        mode(0o644).expect("ours");
        let settings =
            format!("policy = \"signed\"\n[keys]\na = \"{KEY}\"\nb = \"{}\"", file.display());
        let both = trust(&settings).expect("two keys");
        assert_eq!(both.policy, Policy::Signed);
        assert_eq!(both.keys[0].key, both.keys[1].key);
        assert_eq!(both.keys[1].to_string(), "b (E7620F1842B4E81F)");
        for bad in [0o664, 0o646] {
            mode(bad).expect("ours");
            let told = trust(&settings).expect_err("others write there").to_string();
            assert!(told.contains(&format!("mode {bad:o}")), "{told}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused_at_start() {
        for (settings, says) in [
            ("policy = \"signed\"", "no key is trusted"),
            ("[keys]\na = \"RWQ\"", "[trust.keys] a: it is not a public key"),
            ("[keys]\na = \"/no/such/key\"", "cannot read"),
            ("policy = \"pinned\"\npinned = [\"abc\"]", "\"abc\" is not a SHA-256"),
        ] {
            let told = trust(settings).expect_err(settings).to_string();
            assert!(told.contains(says), "{told}");
        }
        let digest = "AB".repeat(32);
        let pinned = trust(&format!("policy = \"pinned\"\npinned = [\"sha256:{digest}\"]"));
        assert!(pinned.expect("a digest").pinned.contains(&"ab".repeat(32)));
    }
}
