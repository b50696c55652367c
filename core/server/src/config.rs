//! The settings of the daemon: a TOML file, and flags that take precedence over it.

use crate::trust::{TrustConfig, TrustProblem};
use ostler_api::Span;
use ostler_wasm::{Compiler, Confine};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the API listens by default: only this machine can reach it.
const LISTEN: &str = "127.0.0.1:7480";

/// The memory and CPU time of compiling a component by default. One of a scripting language, of 18
/// MB, takes 35 s and about a gigabyte.
const COMPILE_MEMORY_MIB: u64 = 2048;
const COMPILE_CPU_SECONDS: u64 = 300;

/// Settings of the daemon.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the store, the socket and the caches are.
    pub data_dir: Option<PathBuf>,
    /// `ADDRESS:PORT`, or `off`.
    pub listen: Option<String>,
    /// True if `listen` may be an address that other machines reach. There is no TLS yet.
    pub listen_anywhere: bool,
    /// The unix socket; `ostler.sock` in the data directory if not given.
    pub socket: Option<PathBuf>,
    /// Every `*.wasm` in this directory is loaded.
    pub plugin_dir: Option<PathBuf>,
    /// How often each host is asked for its state.
    pub poll: Option<Span>,
    /// Most mutating calls that are at work at once, for each driver and host.
    pub lane_width: Option<usize>,
    /// How long the store keeps VMs that are done, and their operations; 90 days if not given.
    pub keep_done: Option<Span>,
    /// For each driver of the plugin directory: its grants and settings.
    pub drivers: BTreeMap<String, DriverConfig>,
    /// For each hypervisor driver: the driver whose snapshot rules count.
    pub rules: BTreeMap<String, String>,
    /// Which components may be loaded.
    pub trust: TrustConfig,
    /// The limits of compiling a component.
    pub compile: CompileConfig,
    /// The commands that drivers run.
    pub commands: CommandsConfig,
    /// The least epoch with which the daemon takes charge of the store, for this start only.
    #[serde(skip)]
    pub epoch: Option<u64>,
    /// The program that compiles components. If none, this process does it.
    #[serde(skip)]
    pub compiler: Option<PathBuf>,
}

/// The limits of compiling one component, in a process of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CompileConfig {
    /// The most memory in MiB; 2048 if not given.
    pub memory_mib: Option<NonZeroU32>,
    /// The most seconds of CPU time; 300 if not given.
    pub cpu_seconds: Option<NonZeroU32>,
}

/// The commands that drivers run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CommandsConfig {
    /// Whether those on this machine are confined.
    pub confine: ConfineWord,
    /// The folder in which each host keeps the highest epoch of each store;
    /// `/var/lib/ostler/epochs` if not given.
    pub epochs: Option<PathBuf>,
}

/// The word for how commands are confined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConfineWord {
    /// They are not.
    Never,
    /// They are, if the kernel can.
    #[default]
    IfPossible,
    /// They are; the daemon does not start if the kernel cannot.
    Always,
}

impl From<ConfineWord> for Confine {
    fn from(word: ConfineWord) -> Self {
        match word {
            ConfineWord::Never => Self::Never,
            ConfineWord::IfPossible => Self::IfPossible,
            ConfineWord::Always => Self::Always,
        }
    }
}

impl Config {
    /// The compiler of components, if they are compiled in a process of their own.
    pub(crate) fn compiler(&self) -> Option<Compiler> {
        let limit = |given: Option<NonZeroU32>, default: u64| {
            given.map_or(default, |given| u64::from(given.get()))
        };
        Some(Compiler {
            program: self.compiler.clone()?,
            memory_mib: limit(self.compile.memory_mib, COMPILE_MEMORY_MIB),
            cpu: Duration::from_secs(limit(self.compile.cpu_seconds, COMPILE_CPU_SECONDS)),
        })
    }
}

/// Grants and settings of a driver of the plugin directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DriverConfig {
    /// Capabilities: `config`, `secrets`, `files`, `exec` (all commands of the manifest),
    /// `exec:NAME` (one), `socket` and `http` (all sockets and endpoints of the manifest),
    /// `socket:NAME` and `http:NAME` (one), or `all`.
    pub grants: Vec<String>,
    /// Settings for all hosts.
    pub config: BTreeMap<String, String>,
    /// Names of secrets, and the files that hold them.
    pub secrets: BTreeMap<String, PathBuf>,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{path} is not TOML")]
    NotToml {
        /// The file.
        path: PathBuf,
        /// The error of the parser.
        #[source]
        source: toml::de::Error,
    },
    /// A setting is not known or not allowed.
    #[error(
        "{path}: {misfit}{}",
        misfit.hint().map(|hint| format!(" ({hint})")).unwrap_or_default()
    )]
    Misfit {
        /// Which file.
        path: PathBuf,
        /// The problem.
        misfit: ostler_api::Misfit,
    },
    /// Commands cannot be confined.
    #[error(
        "[commands] confine is always, and the kernel of this machine cannot confine commands; it \
         takes Linux 5.19 or newer with Landlock enabled (`landlock` among its security modules)"
    )]
    NotConfined,
    /// The trust policy cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustProblem),
    /// The address is not valid.
    #[error("{0:?} is not ADDRESS:PORT (for example {LISTEN}) and not off")]
    Listen(String),
    /// A binding of snapshot rules names no such driver.
    #[error(
        "[rules] {hypervisor} = {rules:?}: {problem}; a driver that is added while ostlerd runs is \
         bound with `ostler driver bind-rules`"
    )]
    Rules {
        /// The hypervisor driver.
        hypervisor: String,
        /// The driver that is to hold the rules.
        rules: String,
        /// The problem, with the most similar name.
        problem: String,
    },
    /// Other machines would reach the API.
    #[error(
        "{0} can be reached from other machines, and there is no TLS: put a proxy with TLS before \
         {LISTEN}, or say --listen-anywhere"
    )]
    NotLoopback(SocketAddr),
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, or has a setting that is not known or not allowed.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let value = toml::from_str(&text)
            .map_err(|source| ConfigError::NotToml { path: path.to_owned(), source })?;
        ostler_api::decode(value)
            .map_err(|misfit| ConfigError::Misfit { path: path.to_owned(), misfit })
    }

    /// The data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(ostler_api::default_data_dir)
    }

    /// The unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| self.data_dir().join(ostler_api::SOCKET_NAME))
    }

    /// Where to listen; none if it is off.
    ///
    /// # Errors
    /// The address is not valid, or other machines can reach it and `listen_anywhere` is not set.
    pub fn address(&self) -> Result<Option<SocketAddr>, ConfigError> {
        let text = self.listen.as_deref().unwrap_or(LISTEN);
        if text == "off" {
            return Ok(None);
        }
        let address: SocketAddr = text.parse().map_err(|_| ConfigError::Listen(text.to_owned()))?;
        if address.ip().is_loopback() || self.listen_anywhere {
            Ok(Some(address))
        } else {
            Err(ConfigError::NotLoopback(address))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening(text: &str, anywhere: bool) -> Result<Option<SocketAddr>, ConfigError> {
        Config { listen: Some(text.to_owned()), listen_anywhere: anywhere, ..Config::default() }
            .address()
    }

    #[test]
    fn lengths_of_time_are_written_as_everywhere() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ostlerd.toml");
        std::fs::write(&file, "keep_done = \"7d\"\npoll = \"5s\"\n").expect("written");
        let config = Config::read(&file).expect("it can be used");
        assert_eq!((config.keep_done, config.poll), (Some(Span(7 * 86_400_000)), Some(Span(5000))));
        std::fs::write(&file, "keep_done = \"a while\"\n").expect("written");
        assert!(
            matches!(Config::read(&file), Err(ConfigError::Misfit { misfit, .. }) if misfit.path == "keep_done")
        );
    }

    #[test]
    fn only_loopback_unless_told_otherwise() {
        assert!(
            Config::default()
                .address()
                .expect("valid")
                .is_some_and(|address| address.ip().is_loopback())
        );
        assert!(matches!(listening("0.0.0.0:1", false), Err(ConfigError::NotLoopback(_))));
        assert!(listening("0.0.0.0:1", true).is_ok());
        assert!(listening("[::1]:1", false).is_ok());
        assert!(matches!(listening("off", false), Ok(None)));
        assert!(matches!(listening("localhost", false), Err(ConfigError::Listen(_))));
    }
}
