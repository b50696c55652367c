//! A store for simulations: its disk is memory that forgets what was not synced when the power goes, and its writer is a future of the
//! caller's instead of a thread, so that the order of everything follows from the caller's seed. Everything else is the store that ships.

use crate::error::{BackupError, Fault, OpenError};
use crate::store::{Options, Store};
use ostler_model::Timestamp;
use redb::{Builder, StorageBackend};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[derive(Debug, Default)]
struct Platter {
    /// The bytes that survive a loss of power.
    safe: Vec<u8>,
    /// The bytes that are read: with the writes that were not synced.
    now: Vec<u8>,
    /// Changes that were not synced: where from and where to, in the order in which they came.
    dirty: Vec<Change>,
    /// Operations until every further one fails.
    operations_left: Option<u64>,
}

#[derive(Debug, Clone)]
enum Change {
    Length(usize),
    Write { at: usize, bytes: Vec<u8> },
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Length(length) => to.resize(*length, 0),
            Self::Write { at, bytes } => {
                let end = at + bytes.len();
                if to.len() < end {
                    to.resize(end, 0);
                }
                to[*at..end].copy_from_slice(bytes);
            }
        }
    }
}

/// A disk in memory. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct SimulatedDisk(Arc<Mutex<Platter>>);

impl SimulatedDisk {
    fn lock(&self) -> MutexGuard<'_, Platter> {
        // The bytes are whole after every statement that holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// After so many more operations every one fails, as on a disk that is full or broken.
    pub fn break_after(&self, operations: u64) {
        self.lock().operations_left = Some(operations);
    }

    /// The power went: the disk as it is found afterwards. Of the changes that were not synced only those are on it of which `stays` says
    /// so. Somebody who still writes to this one writes to nothing.
    #[must_use]
    pub fn after_power_loss(&self, mut stays: impl FnMut() -> bool) -> Self {
        let platter = self.lock();
        let mut safe = platter.safe.clone();
        for change in platter.dirty.iter().filter(|_| stays()) {
            change.apply(&mut safe);
        }
        Self(Arc::new(Mutex::new(Platter { now: safe.clone(), safe, ..Platter::default() })))
    }

    /// Another disk with what is on this one now, and with nothing that is not synced.
    #[must_use]
    pub fn copy(&self) -> Self {
        let now = self.lock().now.clone();
        Self(Arc::new(Mutex::new(Platter { safe: now.clone(), now, ..Platter::default() })))
    }

    /// Opens the store on this disk; makes it if the disk is empty. The second of the pair writes: the caller has to run it beside
    /// everything else. Each batch takes as long as `takes` says.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open(
        &self,
        options: Options,
        takes: Box<dyn FnMut() -> Duration + Send>,
    ) -> Result<(Store, impl Future<Output = ()> + Send + 'static + use<>), OpenError> {
        let (store, writer) = Store::open_unwritten(self.clone(), options)?;
        Ok((store, writer.run_as_future(takes)))
    }

    /// The disk with this store on it as it is after a restore at `now`: see [`crate::restore`].
    ///
    /// # Errors
    /// When the store on it cannot be read.
    pub fn restored(&self, now: Timestamp) -> Result<Self, BackupError> {
        let disk = self.copy();
        let opened = Builder::new().create_with_backend(disk.clone());
        crate::backup::mark_in(opened.map_err(Fault::from)?, now)?;
        Ok(disk)
    }

    fn change(&self, change: Change) -> io::Result<()> {
        let mut platter = self.lock();
        spend(&mut platter)?;
        change.apply(&mut platter.now);
        platter.dirty.push(change);
        Ok(())
    }
}

fn spend(platter: &mut Platter) -> io::Result<()> {
    match &mut platter.operations_left {
        Some(0) => Err(io::Error::new(io::ErrorKind::StorageFull, "the simulated disk is full")),
        Some(left) => {
            *left -= 1;
            Ok(())
        }
        None => Ok(()),
    }
}

fn position(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

impl StorageBackend for SimulatedDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (platter, at) = (self.lock(), position(offset)?);
        let found = platter.now.get(at..at + out.len()).ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Change::Length(position(len)?))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.lock();
        spend(&mut platter)?;
        let Platter { safe, dirty, .. } = &mut *platter;
        for change in dirty.drain(..) {
            change.apply(safe);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Change::Write { at: position(offset)?, bytes: data.to_vec() })
    }
}
