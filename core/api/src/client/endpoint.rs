//! The address at which a daemon listens.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The address at which a daemon listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A unix socket: `unix:/path`.
    Unix(PathBuf),
    /// TCP: `http://address:port`.
    Http(String),
}

/// The error for a text that is not an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no endpoint: write unix:/path/of/the/socket or http://address:port")]
pub struct InvalidEndpoint(String);

/// The name of the unix socket in the data directory.
pub const SOCKET_NAME: &str = "ostler.sock";

/// The data directory of a daemon that was given none. It is the variable `OSTLER_DATA_DIR` if set,
/// else `/var/lib/ostler` for root and `~/.local/state/ostler` for other users.
#[must_use]
pub fn default_data_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("OSTLER_DATA_DIR").filter(|dir| !dir.is_empty()) {
        return dir.into();
    }
    // The owner of this process's entry in /proc is its user. Without /proc we assume root.
    let root = std::fs::metadata("/proc/self").map_or(true, |me| me.uid() == 0);
    match std::env::var_os("HOME").filter(|_| !root) {
        Some(home) => Path::new(&home).join(".local/state/ostler"),
        None => "/var/lib/ostler".into(),
    }
}

impl Endpoint {
    /// The unix socket of this machine's daemon.
    #[must_use]
    pub fn local() -> Self {
        Self::Unix(default_data_dir().join(SOCKET_NAME))
    }

    /// The part of each URL in front of the path.
    pub(crate) fn base(&self) -> String {
        match self {
            Self::Unix(_) => "http://ostlerd".to_owned(),
            Self::Http(base) => base.clone(),
        }
    }
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || InvalidEndpoint(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.starts_with('/') { Ok(Self::Unix(path.into())) } else { Err(bad()) };
        }
        let host = text.strip_prefix("http://").ok_or_else(bad)?.trim_end_matches('/');
        let plain = !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']);
        if plain { Ok(Self::Http(format!("http://{host}"))) } else { Err(bad()) }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Http(base) => f.write_str(base),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_back() {
        for text in ["unix:/run/ostler.sock", "http://127.0.0.1:7480", "http://[::1]:7480"] {
            assert_eq!(text.parse::<Endpoint>().expect("an endpoint").to_string(), text);
        }
        assert_eq!("unix:///a".parse(), Ok(Endpoint::Unix("/a".into())));
        for bad in ["", "unix:relative", "127.0.0.1:1", "http://", "http://a/b", "https://a"] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }
}
