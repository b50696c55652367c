//! A store for simulations. Its disk is memory, which forgets everything that was not synced when
//! the power goes. Its writer is a future that the caller runs, and not a thread, so that the order
//! of everything follows from the caller's seed. Everything else is the same code as in the
//! released store.

use crate::batch::{Batch, Limits};
use crate::disk::{Backend, RawDisk};
use crate::error::{BackupError, Fault, OpenError, ReadError};
use crate::event::EVENTS_KEPT;
use crate::log::Followers;
use crate::operation::OPERATIONS_KEPT;
use crate::options::Options;
use crate::prepare::PreparedVm;
use crate::read::Reader;
use crate::sabotage::Sabotage;
use crate::store::Store;
use crate::txn::Txn;
use ostler_model::{Timestamp, VmRecord};
use redb::{Builder, ReadableDatabase};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[derive(Debug, Default)]
struct Platter {
    /// The bytes that survive a power cut.
    safe: Vec<u8>,
    /// The bytes that a read gives: with the changes that were not synced.
    now: Vec<u8>,
    /// The changes that were not synced, in their order.
    dirty: Vec<Change>,
    /// How many more writes, changes of length and syncs succeed. After that, each of them fails.
    /// None: all succeed.
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

    /// After this many more writes, changes of length and syncs, each of them fails, as on a disk
    /// that is full or broken.
    pub fn break_after(&self, operations: u64) {
        self.lock().operations_left = Some(operations);
    }

    /// The disk as it is found after a power cut. Of the changes that were not synced, it has only
    /// those for which `stays` answers true. A store that still writes to the old disk does not
    /// change this one.
    #[must_use]
    pub fn after_power_loss(&self, mut stays: impl FnMut() -> bool) -> Self {
        let platter = self.lock();
        let mut safe = platter.safe.clone();
        for change in platter.dirty.iter().filter(|_| stays()) {
            change.apply(&mut safe);
        }
        Self(Arc::new(Mutex::new(Platter { now: safe.clone(), safe, ..Platter::default() })))
    }

    /// A new disk with the current content of this one. All of it counts as synced.
    #[must_use]
    pub fn copy(&self) -> Self {
        let now = self.lock().now.clone();
        Self(Arc::new(Mutex::new(Platter { safe: now.clone(), now, ..Platter::default() })))
    }

    /// Opens the store on this disk, and makes it if the disk is empty. The second part of the
    /// result is the writer: the caller has to run it beside everything else. Each batch takes as
    /// long as `takes` says.
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

    /// A copy of the disk, with the store on it as after a restore at `now`: see
    /// [`crate::restore`]. A backup is refused more easily than there: if anything in it does not
    /// add up.
    ///
    /// # Errors
    /// When the store on it does not add up, or cannot be read.
    pub fn restored(&self, now: Timestamp, sabotage: Sabotage) -> Result<Self, BackupError> {
        let disk = self.copy();
        let db = Builder::new().create_with_backend(Backend(disk.clone())).map_err(Fault::from)?;
        let reader = Reader { sabotage, ..Reader::new(db.begin_read().map_err(Fault::from)?) };
        let findings = reader.findings()?;
        drop(reader);
        let findings = [findings.kept, findings.derived].concat();
        if !findings.is_empty() {
            return Err(BackupError::Broken {
                path: PathBuf::from("a simulated backup"),
                findings,
            });
        }
        crate::backup::mark_in(db, now, sabotage)?;
        Ok(disk)
    }

    /// A copy of the disk on which the records of all VMs that are not done are as `edit` leaves
    /// them, as if a daemon of another version had written them. Their versions stay.
    ///
    /// # Errors
    /// When the store on it cannot be read.
    pub fn rewritten(&self, mut edit: impl FnMut(&mut VmRecord)) -> Result<Self, BackupError> {
        let disk = self.copy();
        let db = Builder::new().create_with_backend(Backend(disk.clone())).map_err(Fault::from)?;
        let (_, tail) = crate::migrate::at_open(&db, None, &Followers::default())?;
        let reader = Reader::new(db.begin_read().map_err(Fault::from)?);
        let txn = Txn::begin(&db).map_err(Fault::from)?;
        let mut batch = Batch::open(
            &txn,
            tail,
            Limits { events_kept: EVENTS_KEPT, operations_kept: OPERATIONS_KEPT },
        )?;
        for vm in reader.vms_live()? {
            let Some(mut record) = reader.vm(vm)? else { continue };
            edit(&mut record);
            let old = batch.vm_summary(vm)?;
            batch
                .vm_put(&PreparedVm::new(&record, None).map_err(ReadError::from)?, old.as_ref())?;
        }
        batch.finish()?;
        txn.commit().map_err(Fault::from)?;
        drop(reader);
        db.close().map_err(Fault::from)?;
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

impl RawDisk for SimulatedDisk {
    fn length(&self) -> io::Result<u64> {
        Ok(self.lock().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (platter, at) = (self.lock(), position(offset)?);
        let found = platter
            .now
            .get(at..at + out.len())
            .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.change(Change::Length(position(length)?))
    }

    fn sync(&self) -> io::Result<()> {
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
