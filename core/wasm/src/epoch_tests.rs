//! The epoch on this machine, and the script of far ends, which must agree.

use super::*;
use std::process::{Command, Stdio};

const SCRIPT: &str = include_str!("transport/epoch.sh");
const STORE: StoreId = StoreId(uuid::Uuid::from_u128(7));

/// Two ways to hold a call to its epoch.
#[derive(Debug, Clone, Copy)]
enum Way {
    Here,
    Script,
}

fn charge(folder: &Path, epoch: u64) -> Charge {
    Charge {
        store: STORE,
        epoch: Epoch(epoch),
        host: "h1".parse().expect("a name"),
        folder: self::folder(folder).expect("absolute"),
        unkept: Arc::default(),
        lost: Arc::default(),
    }
}

/// The answer in the words of the script.
fn hold(way: Way, folder: &Path, epoch: u64) -> String {
    let charge = charge(folder, epoch);
    match way {
        Way::Here => match charge.hold() {
            Ok(()) if charge.unkept.note(&charge.host).is_some() => "unkept".to_owned(),
            Ok(()) => "ok".to_owned(),
            Err(NotHeld::Superseded { seen, .. }) => format!("stale {seen}"),
            Err(NotHeld::Busy(_)) => "busy".to_owned(),
        },
        Way::Script => {
            let script = format!("{SCRIPT}\nhold_epoch \"$1\"; printf %s \"$held\"");
            let line = charge.line();
            let ran = Command::new("/bin/sh")
                .args(["-c", &script, "test", &line])
                .env_remove("HOME")
                .stdin(Stdio::null())
                .output()
                .expect("sh runs");
            assert_eq!(String::from_utf8_lossy(&ran.stderr), "");
            String::from_utf8(ran.stdout).expect("text")
        }
    }
}

#[test]
fn the_highest_epoch_stays_whoever_has_kept_it() {
    for (first, then) in [
        (Way::Here, Way::Here),
        (Way::Here, Way::Script),
        (Way::Script, Way::Here),
        (Way::Script, Way::Script),
    ] {
        let dir = tempfile::tempdir().expect("dir");
        let folder = dir.path().join("with a blank/epochs");
        let kept = || std::fs::read_to_string(folder.join(STORE.to_string())).expect("kept");
        assert_eq!(hold(first, &folder, 9), "ok", "{first:?}");
        assert_eq!(hold(then, &folder, 9), "ok", "{then:?}");
        assert_eq!(hold(then, &folder, 8), "stale 9", "{then:?}");
        assert_eq!(kept(), "9\n");
        assert_eq!(hold(then, &folder, 1_700_000_000), "ok", "{then:?}");
        assert_eq!(hold(first, &folder, 10), "stale 1700000000", "{first:?}");
        assert_eq!(kept(), "1700000000\n");
        assert_eq!(std::fs::read_dir(&folder).expect("folder").count(), 1, "no draft is left");
    }
}

#[test]
fn of_many_at_once_the_highest_stays() {
    for way in [Way::Here, Way::Script] {
        let dir = tempfile::tempdir().expect("dir");
        std::thread::scope(|all| {
            for epoch in 1..=16 {
                let folder = dir.path();
                all.spawn(move || hold(way, folder, epoch));
            }
        });
        let kept = std::fs::read_to_string(dir.path().join(STORE.to_string())).expect("kept");
        assert_eq!(kept, "16\n", "{way:?}");
    }
}

#[test]
fn a_host_that_cannot_keep_an_epoch_is_told_and_works() {
    let dir = tempfile::tempdir().expect("dir");
    // No folder can be made below a file, not even by root.
    std::fs::write(dir.path().join("file"), "").expect("written");
    let folder = dir.path().join("file/epochs");
    assert_eq!(hold(Way::Script, &folder, 9), "unkept");
    assert_eq!(charge(&folder, 9).raise(std::slice::from_ref(&folder)), Ok(false));
}

#[test]
fn a_lock_that_others_hold_is_not_waited_for_without_end() {
    let dir = tempfile::tempdir().expect("dir");
    let lock = File::open(dir.path()).expect("opened");
    flock(&lock, FlockOperation::LockExclusive).expect("locked");
    std::thread::scope(|both| {
        for way in [Way::Here, Way::Script] {
            let folder = dir.path();
            both.spawn(move || assert_eq!(hold(way, folder, 9), "busy", "{way:?}"));
        }
    });
}

#[test]
fn what_is_told_says_what_to_do() {
    let told = charge(Path::new("/e"), 3).superseded(8).to_string();
    for word in ["h1", "epoch 8", "epoch 3", "ostlerd --epoch 9"] {
        assert!(told.contains(word), "{word}: {told}");
    }
    assert!(folder(Path::new("relative")).is_err() && folder(Path::new("/a\nb")).is_err());
}
