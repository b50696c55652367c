//! Secrets of drivers. Their values are in plain text, as decision 19 says.
//!
//! A secret of a driver goes when the driver is removed, and one for a host when the host is.

use crate::batch::Batch;
use crate::commit::SecretRow;
use crate::error::{Fault, ReadError};
use crate::read::Reader;
use crate::resource::{Refusal, not_found};
use crate::row::{self, Row};
use crate::tables::{SECRET, SecretId};
use ostler_model::{DriverName, HostId, Resource, SecretKey, SecretName};
use redb::ReadableTable;

impl Row for SecretRow {
    const TABLE: &'static str = "secret";
}

/// The key of its row.
fn id(key: &SecretKey) -> (&str, Option<u32>, &str) {
    id_of(&key.driver, key.host, key.name.as_str())
}

fn id_of<'a>(
    driver: &'a DriverName,
    host: Option<HostId>,
    name: &'a str,
) -> (&'a str, Option<u32>, &'a str) {
    (driver.as_str(), host.map(|host| host.0), name)
}

impl Batch<'_> {
    /// A host has secrets for its own driver only.
    pub(crate) fn secret_put_refused(&self, key: &SecretKey) -> Refusal {
        let Some(id) = key.host else { return Ok(None) };
        let reached = self.host(id)?.and_then(|host| host.hypervisor);
        if reached.is_some_and(|hypervisor| hypervisor.driver == key.driver) {
            Ok(None)
        } else {
            not_found(id)
        }
    }

    pub(crate) fn secret_remove_refused(&mut self, key: &SecretKey) -> Refusal {
        if self.cold()?.secret.get(id(key)).map_err(Fault::from)?.is_some() {
            Ok(None)
        } else {
            not_found(Resource::Secret(key.clone()))
        }
    }

    pub(crate) fn secret_put(&mut self, secret: &SecretRow) -> Result<(), ReadError> {
        let kept = row::encode(secret)?;
        self.cold()?.secret.insert(id(&secret.key), kept.as_slice()).map_err(Fault::from)?;
        Ok(())
    }

    pub(crate) fn secret_remove(&mut self, key: &SecretKey) -> Result<(), ReadError> {
        self.cold()?.secret.remove(id(key)).map_err(Fault::from)?;
        Ok(())
    }

    /// Removes the secrets of something that is removed. Reads all secrets: there are a few for each
    /// host, and hosts and drivers are rarely removed.
    pub(crate) fn secrets_remove(
        &mut self,
        goes: impl Fn(&str, Option<u32>) -> bool,
    ) -> Result<(), ReadError> {
        let secrets = &mut self.cold()?.secret;
        let mut gone = Vec::new();
        for entry in secrets.iter().map_err(Fault::from)? {
            let (at, _) = entry.map_err(Fault::from)?;
            let (driver, host, name) = at.value();
            if goes(driver, host) {
                gone.push((driver.to_owned(), host, name.to_owned()));
            }
        }
        for (driver, host, name) in &gone {
            secrets.remove((driver.as_str(), *host, name.as_str())).map_err(Fault::from)?;
        }
        Ok(())
    }
}

fn decode(
    (driver, host, name): <SecretId as redb::Value>::SelfType<'_>,
    kept: &[u8],
) -> Result<SecretRow, ReadError> {
    Ok(row::decode(kept, format_args!("{driver} {host:?} {name}"))?)
}

impl Reader {
    /// The secret that a driver gets for a host: the host's, else the driver's.
    ///
    /// # Errors
    /// When the store or the row cannot be read.
    pub fn secret_for(
        &self,
        driver: &DriverName,
        host: Option<HostId>,
        name: &SecretName,
    ) -> Result<Option<SecretRow>, ReadError> {
        let table = self.table(SECRET)?;
        // Both are the same place if there is no host.
        for host in [host, None] {
            let at = id_of(driver, host, name.as_str());
            if let Some(kept) = table.get(at).map_err(Fault::from)? {
                return decode(at, kept.value()).map(Some);
            }
        }
        Ok(None)
    }

    /// The secrets of a driver, by name: those for one host, or those for all.
    ///
    /// # Errors
    /// When the store or a row cannot be read.
    pub fn secrets_of(
        &self,
        driver: &DriverName,
        host: Option<HostId>,
    ) -> Result<Vec<SecretRow>, ReadError> {
        let table = self.table(SECRET)?;
        let mut found = Vec::new();
        for entry in table.range(id_of(driver, host, "")..).map_err(Fault::from)? {
            let (at, kept) = entry.map_err(Fault::from)?;
            let (of, whose, _) = at.value();
            if (of, whose) != (driver.as_str(), host.map(|host| host.0)) {
                break;
            }
            found.push(decode(at.value(), kept.value())?);
        }
        Ok(found)
    }
}
