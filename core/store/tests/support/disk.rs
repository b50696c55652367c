//! A disk in memory that writes down every operation, can fail on purpose, and can be cut from
//! power afterwards.

use ostler_store::RawDisk;
use std::io;
use std::sync::{Arc, Mutex};

/// What was done to the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
    Write(u64, Vec<u8>),
    Len(u64),
    Sync,
}

#[derive(Debug, Default)]
struct Platter {
    bytes: Vec<u8>,
    log: Vec<Op>,
    fail_from: Option<usize>,
}

/// A disk. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<Platter>>);

impl Disk {
    /// A disk with this on it.
    pub(crate) fn holding(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(Platter { bytes, ..Platter::default() })))
    }

    /// How many operations there were.
    pub(crate) fn operations(&self) -> usize {
        self.0.lock().expect("no panic").log.len()
    }

    /// Everything that was done, in order.
    pub(crate) fn log(&self) -> Vec<Op> {
        self.0.lock().expect("no panic").log.clone()
    }

    /// What is on it.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().expect("no panic").bytes.clone()
    }

    /// From the `nth` operation on, all of them fail.
    pub(crate) fn fail_from(&self, nth: usize) {
        self.0.lock().expect("no panic").fail_from = Some(nth);
    }

    fn change(&self, op: Op) -> io::Result<()> {
        let mut platter = self.0.lock().expect("no panic");
        if platter.fail_from.is_some_and(|from| platter.log.len() >= from) {
            return Err(io::Error::other("the disk is broken on purpose"));
        }
        apply(&mut platter.bytes, &op);
        platter.log.push(op);
        Ok(())
    }
}

/// Does an operation to an image of the disk.
fn apply(bytes: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Len(len) => bytes.resize(usize::try_from(*len).expect("small"), 0),
        Op::Write(at, data) => {
            let at = usize::try_from(*at).expect("small");
            if bytes.len() < at + data.len() {
                bytes.resize(at + data.len(), 0);
            }
            bytes[at..at + data.len()].copy_from_slice(data);
        }
        Op::Sync => {}
    }
}

impl RawDisk for Disk {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.lock().expect("no panic").bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.0.lock().expect("no panic");
        let at = usize::try_from(offset).expect("small");
        let found = platter
            .bytes
            .get(at..at + out.len())
            .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.change(Op::Len(length))
    }

    fn sync(&self) -> io::Result<()> {
        self.change(Op::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Op::Write(offset, data.to_vec()))
    }
}

/// Which of the writes that were not synced reach the disk when the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    All,
    None,
    /// Each with one half chance; the last of those that do is torn at a sector.
    Some(u64),
}

/// The disk before each operation of a log: what is safe, and what may be lost.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    safe: Vec<u8>,
    unsafe_yet: Vec<Op>,
}

impl Replay {
    /// Takes the next operation of the log.
    pub(crate) fn push(&mut self, op: &Op) {
        if *op == Op::Sync {
            for op in self.unsafe_yet.drain(..) {
                apply(&mut self.safe, &op);
            }
        } else {
            self.unsafe_yet.push(op.clone());
        }
    }

    /// Whether a cut here could lose anything.
    pub(crate) fn at_risk(&self) -> bool {
        !self.unsafe_yet.is_empty()
    }

    /// What is on the disk if the power is cut now.
    pub(crate) fn cut(&self, lost: Lost) -> Vec<u8> {
        const SECTOR: usize = 512;
        let mut bytes = self.safe.clone();
        let mut dice = match lost {
            Lost::Some(seed) => seed | 1,
            Lost::All | Lost::None => 1,
        };
        let mut roll = move || {
            // xorshift: enough to pick subsets, and the same for the same seed.
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            dice
        };
        let mut kept: Vec<Op> = match lost {
            Lost::All => Vec::new(),
            Lost::None => self.unsafe_yet.clone(),
            Lost::Some(_) => {
                self.unsafe_yet.iter().filter(|_| roll() >> 32 & 1 == 0).cloned().collect()
            }
        };
        if let (Lost::Some(_), Some(Op::Write(_, data))) = (lost, kept.last_mut()) {
            let sectors = data.len() / SECTOR;
            data.truncate(SECTOR * usize::try_from(roll() % (sectors as u64 + 1)).expect("small"));
        }
        for op in &kept {
            apply(&mut bytes, op);
        }
        bytes
    }
}
