//! The settings of the driver: those for all hosts, and those of each host.

use crate::uri::checked_uri;
use ostler_driver::{DriverSetting, Site};
use ostler_model::DriverError;
use std::time::Duration;

/// Settings of the driver for all hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvmOptions {
    /// How long a call waits for a connection to open. The opening goes on after the call has given
    /// up waiting.
    pub open_timeout: Duration,
    /// How long a connection may take to open. After that the opening is given up and tried again.
    pub open_give_up: Duration,
    /// How long a question that has no deadline of its own (`observe`, `list`, `metrics`, `probe`)
    /// may take.
    pub ask_timeout: Duration,
}

impl Default for KvmOptions {
    fn default() -> Self {
        // A local socket opens in 2 ms, ssh in about a second. A look takes a millisecond. 10 s are
        // longer than the 8 s after which keepalive declares a daemon dead, so that the caller
        // learns *that* and not just "timeout".
        let (open_timeout, open_give_up) = (Duration::from_secs(5), Duration::from_secs(15));
        Self { open_timeout, open_give_up, ask_timeout: Duration::from_secs(10) }
    }
}

/// The operator's choice of acceleration for a host's guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Accel {
    /// KVM if it can run a guest there, otherwise emulation.
    #[default]
    Auto,
    /// KVM always, even if it may not be able to run a guest.
    Kvm,
    /// Emulation.
    Tcg,
}

/// How QEMU opens disk files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Cache {
    /// Bypasses the host's page cache. Needs a file system with `O_DIRECT` (tmpfs has it from Linux
    /// 6.6 on).
    #[default]
    None,
    /// Uses the page cache; flushes are honoured.
    Writeback,
    /// Uses the page cache, and syncs each write.
    Writethrough,
}

impl Cache {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Writeback => "writeback",
            Self::Writethrough => "writethrough",
        }
    }
}

/// The settings of one host, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostConfig {
    pub(crate) uri: String,
    pub(crate) accel: Accel,
    pub(crate) cache: Cache,
    /// Whether a domain gets CPU shares according to its reserved CPU. Off unless asked for: a host
    /// without the cgroup controller refuses to start a domain that has shares.
    pub(crate) cpu_shares: bool,
    /// Whether a bridge that libvirt does not list counts as missing. On unless told otherwise: a
    /// libvirt that is built with netcf (distributions of before 2022) lists only the interfaces
    /// that have a configuration file.
    pub(crate) bridge_check: bool,
    /// How other hosts' libvirt daemons reach this one, for live migration to it. Defaults to the
    /// `uri` if that goes over a network.
    pub(crate) migrate_uri: Option<String>,
    /// The address at which this host takes the memory of guests that move here. If not set, the
    /// daemon here chooses its own.
    pub(crate) migrate_address: Option<String>,
}

/// The settings that a host may have: each with its meaning and its default.
const SETTINGS: [(&str, &str, Option<&str>); 7] = [
    ("uri", "the libvirt daemon of the host, for example qemu:///system", None),
    ("accel", "auto, kvm or tcg", Some("auto")),
    ("cache", "of disks: none, writeback or writethrough", Some("none")),
    ("cpu-shares", "on or off: whether guests get CPU weights", Some("off")),
    ("bridge-check", "on or off: whether bridges are looked for on the host", Some("on")),
    ("migrate-uri", "how other hosts' libvirt daemons reach this one", None),
    ("migrate-address", "where other hosts send guests' memory", None),
];

/// The settings that a host of the driver `kvm` may have.
#[must_use]
pub fn settings() -> Vec<DriverSetting> {
    let of = |(name, about, default): (&str, &str, Option<&str>)| DriverSetting {
        name: name.to_owned(),
        about: about.to_owned(),
        default: default.map(str::to_owned),
        required: name == "uri",
    };
    SETTINGS.map(of).into()
}

/// The same for messages.
fn keys() -> String {
    SETTINGS.map(|(name, about, _)| format!("{name} ({about})")).join(", ")
}

impl HostConfig {
    /// Reads a site's settings.
    pub(crate) fn of(site: &Site) -> Result<Self, DriverError> {
        let mut config = Self {
            uri: String::new(),
            accel: Accel::Auto,
            cache: Cache::None,
            cpu_shares: false,
            bridge_check: true,
            migrate_uri: None,
            migrate_address: None,
        };
        for (key, value) in &site.config {
            match (key.as_str(), value.as_str()) {
                ("uri", uri) => {
                    config.uri = checked_uri(uri).map_err(|why| bad(site, &format!("uri {why}")))?
                }
                ("accel", "auto") => config.accel = Accel::Auto,
                ("accel", "kvm") => config.accel = Accel::Kvm,
                ("accel", "tcg") => config.accel = Accel::Tcg,
                ("cache", "none") => config.cache = Cache::None,
                ("cache", "writeback") => config.cache = Cache::Writeback,
                ("cache", "writethrough") => config.cache = Cache::Writethrough,
                ("cpu-shares", "on") => config.cpu_shares = true,
                ("cpu-shares", "off") => config.cpu_shares = false,
                ("bridge-check", "on") => config.bridge_check = true,
                ("bridge-check", "off") => config.bridge_check = false,
                ("migrate-uri", uri) => {
                    config.migrate_uri = Some(
                        checked_uri(uri).map_err(|why| bad(site, &format!("migrate-uri {why}")))?,
                    );
                }
                ("migrate-address", address) => {
                    config.migrate_address = Some(checked_address(site, address)?)
                }
                (key, value) => {
                    return Err(bad(site, &format!("{key} = {value:?} is not understood")));
                }
            }
        }
        if config.uri.is_empty() {
            return Err(bad(site, "uri is missing (for example qemu:///system)"));
        }
        if config.migrate_uri.is_none() && !config.is_on_this_machine() {
            config.migrate_uri = Some(config.uri.clone());
        }
        Ok(config)
    }

    /// Whether its daemon is reached through a socket of this machine. On another machine, such a
    /// URI means another daemon.
    pub(crate) fn is_on_this_machine(&self) -> bool {
        ["qemu:///", "qemu+unix:///"].iter().any(|start| self.uri.starts_with(start))
    }
}

/// The longest host name that DNS allows.
const ADDRESS_MAX: usize = 253;

/// A host name or an address without a port, as it stands in a URI (IPv6 in brackets).
fn checked_address(site: &Site, address: &str) -> Result<String, DriverError> {
    let allowed =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    if address.is_empty() || address.len() > ADDRESS_MAX || !address.chars().all(allowed) {
        return Err(bad(
            site,
            &format!("migrate-address = {address:?} is no host name and no address"),
        ));
    }
    Ok(address.to_owned())
}

fn bad(site: &Site, what: &str) -> DriverError {
    DriverError::refused(
        "bad-config",
        format!("host {}: {what}; settings of this driver: {}", site.name, keys()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_model::{ErrorKind, ExecTransport, HostId};

    fn site(pairs: &[(&str, &str)]) -> Site {
        Site {
            id: HostId(1),
            name: "h1".parse().expect("valid"),
            config: pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            transport: ExecTransport::Local,
            roots: std::collections::BTreeMap::new(),
        }
    }

    /// Proves that the driver refuses settings with these pairs.
    fn refuses(pairs: &[(&str, &str)]) {
        let error = HostConfig::of(&site(pairs)).expect_err("bad settings");
        let is = (error.kind, error.code.as_str());
        assert_eq!(is, (ErrorKind::Refused, "bad-config"), "{pairs:?}");
    }

    #[test]
    fn addresses_are_checked_before_anything_is_opened() {
        for uri in [
            "qemu:///system",
            "qemu+unix:///system?socket=/run/x/libvirt-sock",
            "qemu+tls://host/system",
            "qemu+ssh://root@h/system?keyfile=/etc/key&no_tty=1",
        ] {
            assert_eq!(HostConfig::of(&site(&[("uri", uri)])).expect(uri).uri, uri);
        }
        for uri in [
            "",
            "system",
            "xen:///",
            "qemu+ext:///system?command=/bin/sh",
            "qemu+ssh://h/system?command=/tmp/x",
            "qemu+ssh://h/system?a=b&netcat=/tmp/x",
            "qemu:// /system",
            "qemu://host",
            "qemu:///sys\0tem",
        ] {
            refuses(&[("uri", uri)]);
        }
        for query in ["Command=/x", "c%6Fmmand=/x", "no_tty=1;command=/x"] {
            let uri = format!("qemu+ssh://h/system?{query}");
            refuses(&[("uri", &uri)]);
            refuses(&[("uri", "qemu:///system"), ("migrate-uri", &uri)]);
        }
        for pair in [
            ("migrate-uri", "qemu+ext:///system?command=/bin/sh"),
            ("migrate-address", "h/x"),
            ("migrate-address", ""),
        ] {
            refuses(&[("uri", "qemu:///system"), pair]);
        }
    }

    #[test]
    fn settings_that_are_missing_or_not_known_are_refused() {
        refuses(&[]);
        refuses(&[("uri", "qemu:///system"), ("accel", "hax")]);
        refuses(&[("uri", "qemu:///system"), ("url", "x")]);
    }

    #[test]
    fn other_hosts_reach_a_host_by_its_own_address_unless_told_otherwise() {
        let moves =
            |pairs: &[(&str, &str)]| HostConfig::of(&site(pairs)).expect("valid").migrate_uri;
        assert_eq!(
            moves(&[("uri", "qemu:///system")]),
            None,
            "nobody else reaches a socket of this machine"
        );
        assert_eq!(
            moves(&[("uri", "qemu+tls://h/system")]).as_deref(),
            Some("qemu+tls://h/system")
        );
        let both = [
            ("uri", "qemu:///system"),
            ("migrate-uri", "qemu+tls://h/system"),
            ("migrate-address", "[fd00::1]"),
        ];
        assert_eq!(moves(&both).as_deref(), Some("qemu+tls://h/system"));
    }

    #[test]
    fn each_setting_is_read() {
        let all = site(&[
            ("uri", "qemu:///system"),
            ("accel", "tcg"),
            ("cache", "writeback"),
            ("cpu-shares", "on"),
            ("bridge-check", "off"),
            ("migrate-uri", "qemu+tls://h/system"),
            ("migrate-address", "h"),
        ]);
        let told: std::collections::BTreeSet<_> =
            settings().into_iter().map(|it| it.name).collect();
        assert!(told.iter().eq(all.config.keys()), "operators are told of exactly these: {told:?}");
        let config = HostConfig::of(&all).expect("valid");
        assert_eq!(
            (config.accel, config.cache, config.cpu_shares, config.bridge_check),
            (Accel::Tcg, Cache::Writeback, true, false)
        );
    }
}
