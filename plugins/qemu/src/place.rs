//! Where the files of domains are.
//!
//! ```text
//!   DATASTORE:FOLDER/VM/domain.json   the record
//!                       end.json      why the driver ended the process
//!                       pid           locked by QEMU while it lives
//!                       act, look     its monitors: one for changes, one for looks
//!                       state.qcow2   the memory of snapshots, once there is one
//! ```

use crate::record::{Domain, End};
use ostler_sdk::host::{config, files};
use ostler_sdk::{Error, ErrorKind, FilePath};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The folder of this host's domains.
pub(crate) struct Place {
    datastore: String,
    folder: String,
}

impl Place {
    /// The place that the host's settings name.
    pub(crate) fn open() -> Result<Self, Error> {
        let datastore = config::required("datastore")?;
        let folder = config::get("folder")?.unwrap_or_else(|| "qemu".to_owned());
        Ok(Self { datastore, folder })
    }

    /// A file of a domain.
    pub(crate) fn file(&self, vm: &str, name: &str) -> FilePath {
        FilePath::new(self.datastore.clone(), format!("{}/{vm}/{name}", self.folder))
    }

    pub(crate) fn domain(&self, vm: &str) -> Result<Option<Domain>, Error> {
        self.read(vm, "domain.json")
    }

    pub(crate) fn write(&self, domain: &Domain) -> Result<(), Error> {
        self.put(&domain.uuid, "domain.json", domain)
    }

    pub(crate) fn end(&self, vm: &str) -> Result<Option<End>, Error> {
        self.read(vm, "end.json")
    }

    pub(crate) fn write_end(&self, vm: &str, end: &End) -> Result<(), Error> {
        self.put(vm, "end.json", end)
    }

    /// Removes everything of a domain.
    pub(crate) fn forget(&self, vm: &str) -> Result<(), Error> {
        files::remove(&FilePath::new(self.datastore.clone(), format!("{}/{vm}", self.folder)))
    }

    /// The UUIDs of all domains.
    pub(crate) fn all(&self) -> Result<Vec<String>, Error> {
        let names = files::list(&FilePath::new(self.datastore.clone(), self.folder.clone()));
        match names {
            Err(error) if error.kind == ErrorKind::Gone => Ok(Vec::new()),
            names => Ok(names?.into_iter().filter(|name| is_uuid(name)).collect()),
        }
    }

    /// A file that is there and cannot be understood is an error: the domain exists.
    fn read<T: DeserializeOwned>(&self, vm: &str, name: &str) -> Result<Option<T>, Error> {
        let Some(text) = files::read(&self.file(vm, name))? else { return Ok(None) };
        serde_json::from_slice(&text).map(Some).map_err(|error| {
            Error::retry("unreadable", format!("{name} of domain {vm} cannot be read: {error}"))
        })
    }

    fn put<T: Serialize>(&self, vm: &str, name: &str, value: &T) -> Result<(), Error> {
        let text = serde_json::to_vec(value)
            .map_err(|error| Error::refused("unwritable", error.to_string()))?;
        files::write(&self.file(vm, name), &text)
    }
}

fn is_uuid(name: &str) -> bool {
    name.len() == 36 && name.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}
