//! Writes the contract's WIT files into a folder, so that authors of drivers in other languages than
//! Rust need no checkout.

use crate::PlantError;
use crate::plant::write;
use std::path::Path;

/// The files of the contract, by name.
const FILES: [(&str, &str); 6] = [
    ("host.wit", include_str!("../../wit/0.1/host.wit")),
    ("hypervisor.wit", include_str!("../../wit/0.1/hypervisor.wit")),
    ("rules.wit", include_str!("../../wit/0.1/rules.wit")),
    ("transfer.wit", include_str!("../../wit/0.1/transfer.wit")),
    ("types.wit", include_str!("../../wit/0.1/types.wit")),
    ("worlds.wit", include_str!("../../wit/0.1/worlds.wit")),
];

/// Writes the files of the contract into `dir`, which is made if it is missing. Files of the same
/// content stay.
///
/// # Errors
/// One of the files is there with other content, or cannot be written. Nothing is written if a file
/// with other content is there.
pub fn write_contract(dir: &Path) -> Result<(), PlantError> {
    for (name, text) in FILES {
        let path = dir.join(name);
        if path.exists() && std::fs::read(&path).ok().as_deref() != Some(text.as_bytes()) {
            return Err(PlantError::Exists { path });
        }
    }
    FILES.iter().try_for_each(|(name, text)| write(&dir.join(name), text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::fs;

    fn files(dir: &Path) -> BTreeMap<String, String> {
        let entries = fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry"));
        entries
            .map(|entry| {
                let text = fs::read_to_string(entry.path()).expect("a text");
                (entry.file_name().into_string().expect("a name"), text)
            })
            .collect()
    }

    #[test]
    fn every_file_of_the_contract_is_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().join("wit/deps/ostler-driver");
        write_contract(&dir).expect("written");
        let contract = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit/0.1");
        assert_eq!(files(&dir), files(&contract));
    }

    #[test]
    fn a_file_with_other_content_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        write_contract(folder.path()).expect("written");
        write_contract(folder.path()).expect("the same files may be there");
        let mine = folder.path().join("types.wit");
        fs::write(&mine, "mine").expect("written");
        fs::remove_file(folder.path().join("host.wit")).expect("removed");
        let refused = write_contract(folder.path()).expect_err("it is another file");
        assert!(matches!(refused, PlantError::Exists { path } if path == mine));
        assert_eq!(fs::read_to_string(&mine).expect("a text"), "mine");
        assert!(!folder.path().join("host.wit").exists(), "nothing was written");
    }
}
