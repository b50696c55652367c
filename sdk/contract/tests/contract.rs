//! The contract only grows: a component that was built for an earlier state of it still fits
//! today's host. Each folder of `kept` is the contract as it was at a landing.

use expect_test::expect_file;
use ostler_contract::{WitFile, files, misfits, reference};
use std::path::{Path, PathBuf};

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn today() -> Vec<WitFile> {
    files(&here("../wit/0.1")).expect("readable")
}

#[test]
fn components_of_every_landed_contract_fit_the_contract_of_today() {
    let folders = here("tests/kept").read_dir().expect("the folder is there");
    let folders: Vec<PathBuf> = folders.map(|folder| folder.expect("readable").path()).collect();
    assert!(!folders.is_empty());
    for folder in folders {
        let found = misfits(&files(&folder).expect("readable"), &today()).expect("valid");
        assert!(found.is_empty(), "{}: {found:#?}", folder.display());
    }
}

#[test]
fn a_change_that_an_old_component_would_not_survive_is_found() {
    let first = files(&here("tests/kept/contract-1")).expect("readable");
    let changes = [
        ("a function is gone", "store: func() -> string;", ""),
        ("an answer has another type", "attempt: func() -> u32;", "attempt: func() -> u64;"),
        (
            "a record has one more field",
            "record cancelled { reason: string }",
            "record cancelled { reason: string, at: u64 }",
        ),
        ("an interface is no longer imported", "import random;", ""),
        (
            "an ability is no longer asked for",
            "world with-fence { include imports; export fence; }",
            "world with-fence { include imports; }",
        ),
        ("a world is gone", "world with-fence { include imports; export fence; }", ""),
    ];
    for (what, from, to) in changes {
        let mut changed = today();
        let places: usize = changed.iter().map(|(_, text)| text.matches(from).count()).sum();
        assert_eq!(places, 1, "{what}: {from}");
        for (_, text) in &mut changed {
            *text = text.replace(from, to);
        }
        let found = misfits(&first, &changed).expect("valid");
        assert!(!found.is_empty(), "{what}");
    }
}

#[test]
fn the_reference_is_that_of_today() {
    let made = reference(&today()).expect("valid");
    // The path is absolute, because a relative one would be that of the outer workspace.
    let file = here("../../docs/driver-reference.md");
    expect_file![file].assert_eq(&made);
}
