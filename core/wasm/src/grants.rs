//! The grants of an operator, and the interfaces for denials and for other hosts.

use ostler_driver::Site;
use ostler_model::{DriverName, HostId, HostName};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A value that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// Told in the place of the value. Empty until it is known.
    name: String,
    value: String,
}

impl Secret {
    /// Keeps `value` out of logs.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self { name: String::new(), value: value.into() }
    }

    /// The same value under this name.
    pub(crate) fn named(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the value has fewer bytes than that.
    #[must_use]
    pub fn is_shorter_than(&self, bytes: usize) -> bool {
        self.value.len() < bytes
    }

    /// The value itself; only to be handed to the driver that it was granted to.
    pub(crate) fn expose(&self) -> &str {
        &self.value
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The operator's grants to one driver. The driver's manifest must ask for a capability as well.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// Capabilities by name (`config`, `secrets`, `exec`, `files`, `socket`, `http`), each with the
    /// parts that are granted: the names of commands, sockets and endpoints (see
    /// [`crate::Manifest::parts`]); for `files` those of datastores that the driver may reach as a
    /// whole, which no manifest names.
    pub capabilities: BTreeMap<String, BTreeSet<String>>,
    /// The driver's settings.
    pub config: BTreeMap<String, String>,
    /// The secrets that the daemon's settings have for the driver. Those of the
    /// [`SecretDirectory`] come before them.
    pub secrets: BTreeMap<String, Secret>,
}

impl Grants {
    /// Grants nothing.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Grants everything that `manifest` asks for: for drivers that ship with the host, and for the
    /// lab.
    #[must_use]
    pub fn all(manifest: &crate::Manifest) -> Self {
        let with_parts = |asked: &crate::Asked| {
            let parts = manifest.parts(&asked.name).into_iter().map(str::to_owned).collect();
            (asked.name.clone(), parts)
        };
        let capabilities = manifest.capabilities.iter().map(with_parts).collect();
        Self { capabilities, ..Self::default() }
    }

    /// Whether a capability is granted. Its parts are granted one by one.
    #[must_use]
    pub fn has(&self, capability: &str) -> bool {
        self.capabilities.contains_key(capability)
    }

    /// The parts of a capability that are granted. Those of `files` are whole datastores.
    pub(crate) fn parts(&self, capability: &str) -> impl Iterator<Item = &str> {
        self.capabilities.get(capability).into_iter().flatten().map(String::as_str)
    }

    /// Whether a capability is granted with that part of it.
    #[must_use]
    pub fn has_part(&self, capability: &str, part: &str) -> bool {
        self.capabilities.get(capability).is_some_and(|parts| parts.contains(part))
    }
}

/// Receives denials: of one call, the first 16 at most. The server makes audit events of them.
pub trait AuditSink: Send + Sync {
    /// `driver` was denied `capability`; `detail` says what the driver wanted and which grant is
    /// missing.
    fn denied(&self, driver: &DriverName, capability: &str, detail: &str);
}

/// Writes denials to the log only.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogAudit;

impl AuditSink for LogAudit {
    fn denied(&self, driver: &DriverName, capability: &str, detail: &str) {
        tracing::warn!(%driver, capability, detail, "driver denied");
    }
}

/// Finds hosts other than the host of the call: the far end of `files.fetch`.
pub trait SiteDirectory: Send + Sync {
    /// The host of that name.
    fn site(&self, name: &HostName) -> Option<Site>;
    /// The name of a host, for jobs that name another host by id.
    fn host_name(&self, id: HostId) -> Option<HostName>;
}

/// A directory that knows no other host.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSites;

impl SiteDirectory for NoSites {
    fn site(&self, _: &HostName) -> Option<Site> {
        None
    }

    fn host_name(&self, _: HostId) -> Option<HostName> {
        None
    }
}

/// Finds the secrets that operators have set for drivers and hosts. It is asked at each use, so that
/// a change counts from the next use on.
pub trait SecretDirectory: Send + Sync {
    /// The secret of that name: the one for the host, else the driver's. It must not block for
    /// longer than a read of one row takes.
    ///
    /// # Errors
    /// Why it cannot be found out, for people.
    fn secret(
        &self,
        driver: &DriverName,
        host: Option<HostId>,
        name: &str,
    ) -> Result<Option<Secret>, String>;

    /// Another number whenever a secret of the driver, or of it for the host, was set or removed.
    /// What a driver keeps in `session` ends then.
    fn edition(&self, driver: &DriverName, host: Option<HostId>) -> u64;
}

/// A directory that has no secrets.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSecrets;

impl SecretDirectory for NoSecrets {
    fn secret(&self, _: &DriverName, _: Option<HostId>, _: &str) -> Result<Option<Secret>, String> {
        Ok(None)
    }

    fn edition(&self, _: &DriverName, _: Option<HostId>) -> u64 {
        0
    }
}
