//! A component that was built for an earlier state of the contract loads on this host, and works.
//!
//! Each file of `kept` is the test guest (`tests/guest`), as a landed version built it.

mod support;

use ostler_driver::{DriverKind, Hypervisor};
use ostler_model::Observation;
use ostler_wasm::{Grants, LoadError, LoadedDriver};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use support::{call, files, host, hypervisor, nowhere, options, site, told, vm};

/// The kept components: file and bytes.
fn kept() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kept");
    let files = folder.read_dir().expect("the folder is there");
    let mut paths: Vec<PathBuf> = files.map(|file| file.expect("readable").path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        (path.display().to_string(), std::fs::read(&path).expect("the file is readable"))
    };
    paths.into_iter().map(read).collect()
}

async fn load(name: &str, bytes: Vec<u8>) -> Result<LoadedDriver, LoadError> {
    let manifest = ostler_wasm::inspect(name, &bytes).expect("a component").manifest;
    let mut grants = Grants::all(&manifest);
    // These have no folder of their own: an operator grants them the datastore.
    grants.capabilities.insert("files".to_owned(), ["ds".to_owned()].into());
    host(options()).load_bytes(name, bytes, grants).await
}

#[tokio::test]
async fn components_of_landed_versions_load_and_do_what_they_did() {
    let kept = kept();
    assert!(!kept.is_empty());
    for (name, bytes) in kept {
        let loaded = load(&name, bytes).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        println!("{name}: {}", loaded.info().version);
        let kinds: Vec<&str> = loaded.kinds().iter().map(DriverKind::word).collect();
        assert_eq!(kinds, ["hypervisor", "snapshot-rules"], "{name}");
        works(&hypervisor(&loaded)).await;
    }
}

/// Every capability and every kind of call.
async fn works(driver: &Arc<dyn Hypervisor>) {
    let dir = tempfile::tempdir().expect("a folder");
    let here = |deed: &str| site(dir.path(), deed);
    assert_eq!(driver.observe(&nowhere(""), vm(1)).await, Ok(Observation::Absent));
    assert_eq!(driver.probe(&nowhere("")).await.expect("probed").total.cpu_milli, 1000);
    files(driver, here, dir.path()).await;
    let ran = told(driver, &here("exec show word=w n=7 file=ds:disk")).await;
    let path = dir.path().join("disk").display().to_string();
    assert_eq!(ran, Ok(format!("(Some(0), None, \"w|n=7|{path}|\", \"\")")));
    assert_eq!(told(driver, &nowhere("config answer")).await, Ok("Some(\"42\")".to_owned()));
    assert_eq!(told(driver, &nowhere("random")).await, Ok("(4096, true)".to_owned()));
    let removed = driver.remove(&nowhere(""), &call(1, Duration::from_secs(60))).await;
    assert_eq!(removed.expect("removed").seen, Some(Observation::Absent));
}

/// The control: the same component, asking for a function that the contract does not have.
#[tokio::test]
async fn a_component_that_asks_for_a_function_that_is_gone_does_not_load() {
    for (name, mut bytes) in kept() {
        let (from, to) = (b"sleep-ms", b"sleep-mz");
        let places: Vec<usize> =
            (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
        assert!(!places.is_empty(), "{name}: it does not import {}", String::from_utf8_lossy(from));
        for at in places {
            bytes[at..at + to.len()].copy_from_slice(to);
        }
        let Err(error) = load(&name, bytes).await else { panic!("{name}: loaded") };
        assert!(matches!(error, LoadError::Mismatch { .. }), "{name}: {error}");
    }
}
