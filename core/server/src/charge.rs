//! Who takes charge of the store at the start of the daemon.

use crate::clock::now;
use ostler_model::Epoch;
use ostler_store::Charge;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

/// The number of this machine, which stays for as long as the machine is installed.
const MACHINE: &str = "/etc/machine-id";
/// The longest number of a machine: 32 digits, with room.
const MACHINE_MAX: usize = 64;

/// This daemon, with the store in `file`.
pub(crate) fn charge(file: &Path, at_least: Option<u64>) -> Charge {
    Charge { now: now(), place: place(file), at_least: at_least.map(Epoch) }
}

/// What tells the store's file from each copy of it: the machine, the number of the file, and when
/// it was made. None if the file system does not tell that: the number alone may be used again.
fn place(file: &Path) -> Option<String> {
    let known = std::fs::metadata(file).ok()?;
    let made = known.created().ok()?.duration_since(UNIX_EPOCH).ok()?;
    // Some containers have no such number.
    let machine = std::fs::read_to_string(MACHINE).unwrap_or_default();
    let machine: String =
        machine.chars().filter(char::is_ascii_hexdigit).take(MACHINE_MAX).collect();
    Some(format!("{machine}/{}/{}", known.ino(), made.as_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_a_store_is_at_another_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let (store, copy) = (folder.path().join("store"), folder.path().join("copy"));
        std::fs::write(&store, "x").expect("written");
        let before = place(&store);
        std::fs::copy(&store, &copy).expect("copied");
        std::fs::write(&store, "y").expect("written");
        assert!(before.is_some(), "the file system tells when a file was made");
        assert_eq!(place(&store), before);
        assert_ne!(place(&copy), before);
        std::fs::rename(&copy, &store).expect("renamed");
        assert_ne!(place(&store), before);
        assert_eq!(place(&folder.path().join("missing")), None);
    }
}
