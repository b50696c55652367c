//! The disk below the database, for those who run a store on something else than a file: crash
//! tests and simulations.

use redb::StorageBackend;
use std::fmt::Debug;
use std::io;

/// A disk that a store can be on. All methods may be called from several threads at once.
pub trait RawDisk: Debug + Send + Sync + 'static {
    /// How many bytes it has.
    ///
    /// # Errors
    /// When the disk fails.
    fn length(&self) -> io::Result<u64>;

    /// Reads exactly the bytes that fit into `out`.
    ///
    /// # Errors
    /// When the disk fails, or does not have so many bytes.
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Sets how many bytes it has. New bytes are zero.
    ///
    /// # Errors
    /// When the disk fails.
    fn set_length(&self, length: u64) -> io::Result<()>;

    /// Returns when everything that was written before is safe from a loss of power.
    ///
    /// # Errors
    /// When the disk fails.
    fn sync(&self) -> io::Result<()>;

    /// Writes bytes.
    ///
    /// # Errors
    /// When the disk fails.
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()>;
}

/// A disk as the database wants it.
#[derive(Debug)]
pub(crate) struct Backend<D>(pub(crate) D);

impl<D: RawDisk> StorageBackend for Backend<D> {
    fn len(&self) -> io::Result<u64> {
        self.0.length()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_length(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}
