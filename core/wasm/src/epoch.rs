//! The epoch of a store at a host: the host keeps the highest one that it has seen, and starts
//! nothing for a lower one. So a daemon that is no longer in charge of the store changes nothing
//! there.
//!
//! One small file for each store holds the number. Far ends keep it themselves (`epoch.sh`); on
//! this machine it is done here, in the same way and with the same lock, because a confined helper
//! cannot write there. A command that was let through before a higher epoch came may still be at
//! work.

use crate::HostError;
use ostler_model::{CallContext, DriverError, Epoch, ErrorKind, HostName, StoreId};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// The folder below the home of a login that may not write the folder of the settings.
const AT_HOME: &str = ".ostler/epochs";
/// The most bytes of a kept number: 19 digits and a line break.
const KEPT_MAX: u64 = 20;
/// How often the lock is tried, and the pause between two tries: ten seconds in all, as at far
/// ends.
const LOCK_TRIES: usize = 1000;
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// The most hosts about which it is noted that they cannot keep an epoch.
const UNKEPT_MAX: usize = 10_000;

/// Why nothing was done at a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotHeld {
    #[error(
        "host {host} has seen epoch {seen} of this store, and this daemon has epoch {ours}: \
         another daemon has taken charge of the store, so this one changes nothing any more. End \
         this one. Only if no other daemon acts for this store, start this one again with \
         `ostlerd --epoch {next}`"
    )]
    Superseded { host: HostName, seen: u64, ours: Epoch, next: u64 },
    #[error(
        "host {0} could not compare the epoch of this daemon: others have held the lock of its \
         folder for too long; nothing was run"
    )]
    Busy(HostName),
}

/// The folder as hosts get it.
///
/// # Errors
/// It is not absolute, or not one line of text.
pub(crate) fn folder(folder: &Path) -> Result<Arc<str>, HostError> {
    let text = folder.to_str().filter(|text| !text.contains(char::is_control));
    text.filter(|text| text.starts_with('/')).map(Arc::from).ok_or_else(|| HostError::Directory {
        path: folder.to_owned(),
        problem: "the folder of epochs must be an absolute path of one line".to_owned(),
    })
}

/// Hosts that could not keep an epoch.
#[derive(Debug, Default)]
pub(crate) struct Unkept(Mutex<BTreeSet<HostName>>);

impl Unkept {
    fn set(&self, host: &HostName, unkept: bool) {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !unkept {
            hosts.remove(host);
        } else if hosts.len() < UNKEPT_MAX {
            hosts.insert(host.clone());
        }
    }

    /// The note about a host, for operators.
    pub(crate) fn note(&self, host: &HostName) -> Option<String> {
        let hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.contains(host).then(|| {
            "the epoch of this daemon cannot be kept there: a daemon that is no longer in charge \
             could still run commands; let the login write the folder of epochs or its home"
                .to_owned()
        })
    }
}

/// The epoch that a host compares before it changes something for a call.
#[derive(Debug)]
pub(crate) struct Charge {
    store: StoreId,
    epoch: Epoch,
    host: HostName,
    folder: Arc<str>,
    unkept: Arc<Unkept>,
    /// The first answer of a host that another daemon is in charge.
    lost: Arc<OnceLock<NotHeld>>,
}

impl Charge {
    /// None if nobody took charge of the store.
    pub(crate) fn new(
        context: &CallContext,
        host: &HostName,
        folder: Arc<str>,
        unkept: Arc<Unkept>,
    ) -> Option<Self> {
        let (store, epoch, host) = (context.store, context.epoch, host.clone());
        let lost = Arc::default();
        (epoch.0 > 0).then_some(Self { store, epoch, host, folder, unkept, lost })
    }

    /// The same for another host of the call.
    pub(crate) fn at(self: &Arc<Self>, host: &HostName) -> Arc<Self> {
        if self.host == *host {
            return Arc::clone(self);
        }
        let Self { store, epoch, folder, unkept, lost, .. } = &**self;
        Arc::new(Self {
            store: *store,
            epoch: *epoch,
            host: host.clone(),
            folder: Arc::clone(folder),
            unkept: Arc::clone(unkept),
            lost: Arc::clone(lost),
        })
    }

    /// The line that a helper reads.
    pub(crate) fn line(&self) -> String {
        format!("{} {} {}", self.store, self.epoch, self.folder)
    }

    /// The host has seen a higher epoch.
    pub(crate) fn superseded(&self, seen: u64) -> NotHeld {
        let (host, ours) = (self.host.clone(), self.epoch);
        let told = NotHeld::Superseded { host, seen, ours, next: seen.saturating_add(1) };
        self.lost.get_or_init(|| told).clone()
    }

    /// Others have held the lock for too long.
    pub(crate) fn busy(&self) -> NotHeld {
        NotHeld::Busy(self.host.clone())
    }

    /// Notes whether the host could keep the epoch.
    pub(crate) fn keeps(&self, kept: bool) {
        self.unkept.set(&self.host, !kept);
    }

    /// The error of the whole call, if a host said that another daemon is in charge.
    pub(crate) fn lost(&self) -> Option<DriverError> {
        let lost = self.lost.get()?;
        Some(DriverError::new(ErrorKind::Stale, DriverError::EPOCH, lost.to_string()))
    }

    /// Compares and keeps the epoch on this machine. It blocks.
    pub(crate) fn hold(&self) -> Result<(), NotHeld> {
        let folders = self.folders();
        let kept = match self.seen(&folders) {
            seen if seen > self.epoch.0 => return Err(self.superseded(seen)),
            seen if seen == self.epoch.0 => true,
            _ => self.raise(&folders)?,
        };
        self.keeps(kept);
        Ok(())
    }

    /// The folder of the settings, and the one of the login.
    fn folders(&self) -> Vec<PathBuf> {
        let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(AT_HOME));
        [Some(PathBuf::from(&*self.folder)), home].into_iter().flatten().collect()
    }

    /// The highest epoch that is kept. 0 if there is none.
    fn seen(&self, folders: &[PathBuf]) -> u64 {
        let kept = |folder: &PathBuf| {
            let mut text = String::new();
            let file = File::open(folder.join(self.store.to_string())).ok()?;
            file.take(KEPT_MAX).read_to_string(&mut text).ok()?;
            text.trim_end().parse().ok()
        };
        folders.iter().filter_map(kept).max().unwrap_or(0)
    }

    /// Keeps the epoch in the first folder that can be written. Answers whether there is one.
    fn raise(&self, folders: &[PathBuf]) -> Result<bool, NotHeld> {
        for folder in folders {
            let _ = std::fs::create_dir_all(folder);
            let Ok(lock) = File::open(folder) else { continue };
            if !self.locked(&lock)? {
                continue;
            }
            let seen = self.seen(folders);
            if seen > self.epoch.0 {
                return Err(self.superseded(seen));
            }
            if seen == self.epoch.0 || self.write(folder, &lock).is_ok() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes the lock. Whoever holds it writes one small file. False if the file system has no
    /// locks.
    fn locked(&self, folder: &File) -> Result<bool, NotHeld> {
        for _ in 0..LOCK_TRIES {
            match flock(folder, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(true),
                Err(Errno::AGAIN | Errno::INTR) => std::thread::sleep(LOCK_PAUSE),
                Err(_) => return Ok(false),
            }
        }
        Err(self.busy())
    }

    /// A reader sees the old or the new number. The new one is durable before anything is done.
    fn write(&self, folder: &Path, lock: &File) -> std::io::Result<()> {
        let (draft, name) = (format!(".{}", self.store), self.store.to_string());
        let mut file = File::create(folder.join(&draft))?;
        writeln!(file, "{}", self.epoch)?;
        file.sync_all()?;
        std::fs::rename(folder.join(draft), folder.join(name))?;
        lock.sync_all()
    }
}

/// Compares and keeps the epoch of a call on this machine.
pub(crate) async fn hold_here(charge: Option<Arc<Charge>>) -> Result<(), NotHeld> {
    let Some(charge) = charge else { return Ok(()) };
    let holder = Arc::clone(&charge);
    let held = tokio::task::spawn_blocking(move || holder.hold()).await;
    held.unwrap_or_else(|_| Err(charge.busy()))
}

#[cfg(test)]
#[path = "epoch_tests.rs"]
mod tests;
