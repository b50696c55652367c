//! The imports of a component, with the types of this crate.

use crate::bindings::imports::ostler::driver as imports;
use crate::types::{Argument, CommandLine, JobName};
use crate::wire::{FromWire, IntoWire};
use crate::{Error, Exit, FilePath, JobState, LogLevel, Stat};

pub(crate) mod log {
    use super::{LogLevel, imports};

    pub(crate) fn write(level: LogLevel, message: &str) {
        imports::log::write(level.as_str(), message);
    }
}

pub(crate) mod clock {
    use super::imports;
    pub(crate) use imports::clock::{monotonic_ms, now_ms, remaining_ms, told_to_stop};

    pub(crate) fn sleep_ms(ms: u64) -> Result<(), String> {
        imports::clock::sleep_ms(ms).map_err(|cancelled| cancelled.reason)
    }
}

pub(crate) mod random {
    pub(crate) use super::imports::random::bytes;
}

pub(crate) mod config {
    use super::{Error, FromWire, imports};

    pub(crate) fn get(key: &str) -> Result<Option<String>, Error> {
        FromWire::from_wire(imports::config::get(key))
    }
}

pub(crate) mod secrets {
    use super::{Error, FromWire, imports};

    pub(crate) fn get(name: &str) -> Result<Option<String>, Error> {
        FromWire::from_wire(imports::secrets::get(name))
    }
}

pub(crate) mod session {
    use super::{Error, FromWire, imports};
    pub(crate) use imports::session::{get, remove};

    pub(crate) fn put(key: &str, value: &[u8], for_ms: u64) -> Result<(), Error> {
        FromWire::from_wire(imports::session::put(key, value, for_ms))
    }
}

pub(crate) mod exec {
    use super::{
        Argument, CommandLine, Error, Exit, FromWire, IntoWire, JobName, JobState, imports,
    };

    pub(crate) fn run(
        command: &str,
        arguments: Vec<Argument>,
        input: &[u8],
    ) -> Result<Exit, Error> {
        let arguments: Vec<_> = arguments.into_wire();
        FromWire::from_wire(imports::exec::run(command, &arguments, input))
    }

    pub(crate) fn run_all(lines: Vec<CommandLine>) -> Result<Vec<Result<Exit, Error>>, Error> {
        let lines: Vec<_> = lines.into_wire();
        FromWire::from_wire(imports::exec::run_all(&lines))
    }

    pub(crate) fn run_on(host: &str, line: CommandLine) -> Result<Exit, Error> {
        FromWire::from_wire(imports::exec::run_on(host, &line.into_wire()))
    }

    pub(crate) fn start(job: &JobName, line: CommandLine) -> Result<JobState, Error> {
        let job = job.clone().into_wire();
        FromWire::from_wire(imports::exec::start(&job, &line.into_wire()))
    }

    pub(crate) fn poll(job: &JobName) -> Result<JobState, Error> {
        FromWire::from_wire(imports::exec::poll(&job.clone().into_wire()))
    }

    pub(crate) fn stop(job: &JobName) -> Result<JobState, Error> {
        FromWire::from_wire(imports::exec::stop(&job.clone().into_wire()))
    }
}

pub(crate) mod files {
    use super::{Error, FilePath, FromWire, IntoWire, Stat, imports};
    use imports::files as host;

    pub(crate) fn stat(file: &FilePath) -> Result<Option<Stat>, Error> {
        FromWire::from_wire(host::stat(&file.clone().into_wire()))
    }
    pub(crate) fn list(folder: &FilePath) -> Result<Vec<String>, Error> {
        FromWire::from_wire(host::list(&folder.clone().into_wire()))
    }
    pub(crate) fn read(file: &FilePath) -> Result<Option<Vec<u8>>, Error> {
        FromWire::from_wire(host::read(&file.clone().into_wire()))
    }
    pub(crate) fn write(file: &FilePath, data: &[u8]) -> Result<(), Error> {
        FromWire::from_wire(host::write(&file.clone().into_wire(), data))
    }
    pub(crate) fn make_folder(folder: &FilePath) -> Result<(), Error> {
        FromWire::from_wire(host::make_folder(&folder.clone().into_wire()))
    }
    pub(crate) fn remove(target: &FilePath) -> Result<(), Error> {
        FromWire::from_wire(host::remove(&target.clone().into_wire()))
    }
    pub(crate) fn rename(source: &FilePath, target: &FilePath) -> Result<(), Error> {
        let (source, target) = (source.clone().into_wire(), target.clone().into_wire());
        FromWire::from_wire(host::rename(&source, &target))
    }
    pub(crate) fn copy(source: &FilePath, target: &FilePath) -> Result<u64, Error> {
        let (source, target) = (source.clone().into_wire(), target.clone().into_wire());
        FromWire::from_wire(host::copy(&source, &target))
    }
    pub(crate) fn fetch(
        from_host: &str,
        source: &FilePath,
        target: &FilePath,
    ) -> Result<u64, Error> {
        let (source, target) = (source.clone().into_wire(), target.clone().into_wire());
        FromWire::from_wire(host::fetch(from_host, &source, &target))
    }
    pub(crate) fn checksum(file: &FilePath) -> Result<String, Error> {
        FromWire::from_wire(host::checksum(&file.clone().into_wire()))
    }
    pub(crate) fn absolute(file: &FilePath) -> Result<String, Error> {
        FromWire::from_wire(host::absolute(&file.clone().into_wire()))
    }
}

pub(crate) mod socket {
    use super::{Argument, Error, FromWire, IntoWire, imports};

    /// An open connection to a local socket.
    pub(crate) struct Connection(imports::socket::Connection);

    pub(crate) fn connect(name: &str, arguments: Vec<Argument>) -> Result<Connection, Error> {
        let arguments: Vec<_> = arguments.into_wire();
        let stream = imports::socket::connect(name, &arguments).map_err(Error::from_wire)?;
        Ok(Connection(stream))
    }

    impl Connection {
        pub(crate) fn write(&self, bytes: &[u8]) -> Result<(), Error> {
            FromWire::from_wire(self.0.write(bytes))
        }

        pub(crate) fn read(&self, max: u32, wait_ms: u64) -> Result<Vec<u8>, Error> {
            FromWire::from_wire(self.0.read(max, wait_ms))
        }
    }
}
