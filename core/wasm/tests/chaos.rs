//! Answers and host calls at random, from seeds: the host never panics, lets no strange value
//! through, and nothing changes outside of the datastore and beside the files of the call.
//!
//! `OSTLER_CHAOS_SECONDS` says how long (20 s if not set), `OSTLER_CHAOS_FROM` which seed is the
//! first (1). A failure names its seed.

mod support;
#[path = "support/web.rs"]
mod web;

use ostler_driver::{Hypervisor, RulesQuestion, SnapshotRules};
use ostler_model::{DriverError, ErrorKind, Observation, State};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{all, asked, call, host, hypervisor, load, nowhere, options, rules, site, told, vm};

/// The setting with the first seed.
const FROM: &str = "OSTLER_CHAOS_FROM";
/// So many seeds are tried however long that takes. From the first on they reach each kind of end
/// of each function.
const AT_LEAST: u64 = 60;
/// The longest texts and lists that get through, by the contract and by `convert`.
const TEXT: usize = 4096;
const NAME: usize = 255;
const ITEMS: usize = 20_000;
const HARDWARE: usize = 1024;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// The seeds to try, one after the other.
fn seeds(at_least: u64) -> impl Iterator<Item = u64> {
    let from = setting(FROM, 1);
    let until = Instant::now() + Duration::from_secs(setting("OSTLER_CHAOS_SECONDS", 20));
    (0..).take_while(move |n| *n < at_least || Instant::now() < until).map(move |n| from + n)
}

/// A text that can be shown: bounded, and without characters that a terminal obeys.
fn shown(text: &str, most: usize) {
    assert!(text.len() <= most, "{} bytes", text.len());
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
}

/// How each function ended, and how often.
#[derive(Default)]
struct Ends(BTreeMap<(&'static str, &'static str), u32>);

impl Ends {
    /// Counts an answer. If it is an error, it must be one that can be told and acted upon.
    fn of<T: Debug>(
        &mut self,
        function: &'static str,
        answer: Result<T, DriverError>,
        check: impl FnOnce(&T),
    ) {
        let end = match &answer {
            Ok(answer) => {
                check(answer);
                "answered"
            }
            Err(error) => {
                shown(&error.detail, TEXT);
                let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
                assert!(error.code.len() <= NAME && error.code.chars().all(plain), "{error:?}");
                if error.code == "driver-lied" { "lied" } else { "failed" }
            }
        };
        *self.0.entry((function, end)).or_default() += 1;
    }
}

async fn one(driver: &Arc<dyn Hypervisor>, rules: &dyn SnapshotRules, seed: u64, ends: &mut Ends) {
    let (site, control) = (nowhere(&format!("chaos {seed}")), call(1, Duration::from_secs(600)));
    ends.of("probe", driver.probe(&site).await, |facts| {
        shown(&facts.hypervisor, NAME);
        assert!(facts.notes.len() <= 100);
        facts.notes.iter().for_each(|note| shown(note, TEXT));
    });
    ends.of("observe", driver.observe(&site, vm(1)).await, |seen| {
        if let Observation::Present(domain) = seen {
            assert_eq!(domain.uuid, vm(1));
            shown(&domain.name, NAME);
        }
    });
    ends.of("list", driver.list(&site).await, |listed| {
        assert!(listed.domains.len() <= ITEMS && listed.unreadable.len() <= ITEMS);
        listed.domains.iter().for_each(|domain| shown(&domain.name, NAME));
    });
    ends.of("remove", driver.remove(&site, &control).await, |outcome| {
        assert!(outcome.state.as_ref().is_none_or(|state| state.data.len() <= 64 * 1024));
    });
    let migrate = driver.migrate().expect("it can");
    ends.of("poll", migrate.poll(&site, &control).await, |_| {});
    let changes = driver.changes().expect("it can");
    ends.of("changes", changes.changes(&site, 1, Duration::ZERO).await, |batch| {
        assert!(batch.vms.len() <= ITEMS);
    });
    let snapshots = driver.snapshots().expect("it can");
    ends.of("snapshots", snapshots.list(&site, vm(1)).await, |names| {
        assert!(names.len() <= HARDWARE);
    });
    let adopt = driver.adopt().expect("it can");
    ends.of("inspect", adopt.inspect(&site, vm(1)).await, |wild| {
        assert!(wild.disks.len() <= HARDWARE && wild.nics.len() <= HARDWARE);
        shown(&wild.name, NAME);
    });
    let console = driver.console().expect("it can");
    ends.of("open", console.open(&site, vm(1), "vnc").await, |endpoint| {
        shown(&endpoint.address, TEXT);
    });
    let question = RulesQuestion {
        verb: format!("chaos-{seed}"),
        state: State::Running,
        disks: Vec::new(),
        snapshots: vec!["a".to_owned(), "b".to_owned()],
        subject: None,
        abilities: Vec::new(),
        now_ms: 0,
    };
    ends.of("judge", rules.judge(&question).await, |verdict| {
        assert_eq!(verdict.fates.len(), 2);
    });
}

#[tokio::test]
async fn no_answer_breaks_the_host() {
    let loaded = load(&host(options()), all()).await;
    let (driver, rules) = (hypervisor(&loaded), rules(&loaded));
    let (mut ends, mut last) = (Ends::default(), 0);
    for seed in seeds(AT_LEAST) {
        last = seed;
        println!("seed {seed}");
        one(&driver, &*rules, seed, &mut ends).await;
    }
    println!("answers at random up to seed {last}: {:?}", ends.0);
    if std::env::var_os(FROM).is_some() {
        return;
    }
    for function in
        ["probe", "observe", "list", "remove", "poll", "changes", "snapshots", "inspect", "open"]
    {
        for end in ["answered", "lied", "failed"] {
            assert!(ends.0.contains_key(&(function, end)), "{function} never {end}: {:?}", ends.0);
        }
    }
}

/// All files below a folder, with their contents. A link is not followed.
fn below(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("listed") {
        let (path, kind) = entry.map(|entry| (entry.path(), entry.file_type())).expect("an entry");
        if kind.expect("a kind").is_dir() {
            files.extend(below(&path));
        } else {
            let content = std::fs::read(&path).unwrap_or_default();
            files.insert(path.display().to_string(), content);
        }
    }
    files
}

#[tokio::test]
async fn no_host_call_breaks_the_host_or_leaves_datastore_and_endpoint() {
    let driver = hypervisor(&load(&host(options()), all()).await);
    let dir = tempfile::tempdir().expect("dir");
    let (outside, inside) = (dir.path().join("outside"), dir.path().join("inside"));
    std::fs::create_dir_all(&outside).expect("made");
    for name in ["passwd", "a", "outside"] {
        std::fs::write(outside.join(name), "secret").expect("written");
    }
    let before = below(&outside);
    let (port, asked) = web::plain().await;
    let url = format!("http://127.0.0.1:{port}/base");
    let mut requests = 0;
    let (mut done, mut cut) = (0, 0);
    for seed in seeds(10) {
        println!("seed {seed}");
        // What the calls before have left is taken away, so that a seed alone does the same.
        let _ = std::fs::remove_dir_all(&inside);
        std::fs::create_dir(&inside).expect("made");
        std::fs::write(inside.join("a"), "content").expect("written");
        std::os::unix::fs::symlink(&outside, inside.join("link")).expect("linked");
        let mut here = site(&inside, &format!("ask {seed} 30"));
        here.config.extend(["url", "other-url"].map(|key| (key.to_owned(), url.clone())));
        match told(&driver, &here).await {
            Ok(_) => done += 1,
            // Arguments of many megabytes end the guest.
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::Unknown, "{error}");
                assert!(["driver-trap", "driver-memory"].contains(&error.code.as_str()), "{error}");
                cut += 1;
            }
        }
        assert_eq!(below(&outside), before, "a file outside of the datastore");
        let names: Vec<_> = std::fs::read_dir(dir.path())
            .expect("listed")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        assert_eq!(names.len(), 2, "{names:?}");
        assert!(
            below(&inside).values().all(|content| content != b"secret"),
            "a file from outside was copied"
        );
        for line in std::mem::take(&mut *asked.lock().expect("not poisoned")) {
            // The method, and the path as the server got it.
            let path = line.split(' ').nth(1).unwrap_or_default();
            let inside =
                path.starts_with("/base") && !path.split(['/', '?']).any(|part| part == "..");
            assert!(inside && line.contains(&format!(" 127.0.0.1:{port} ")), "{line}");
            requests += 1;
        }
    }
    assert!(requests > 0, "no request was sent");
    println!("30 calls at random for each of {} seeds, {cut} of them cut", done + cut);
    assert!(done > 0, "no seed ran to its end");
    assert_eq!(driver.observe(&nowhere(""), vm(1)).await, Ok(Observation::Absent));
}

/// Has the guest make calls at random until a neighbour's file has changed, or all seeds are tried.
/// Answers the seed that did it.
async fn harmed(grants: ostler_wasm::Grants, seeds: impl Iterator<Item = u64>) -> Option<u64> {
    let driver = hypervisor(&load(&host(options()), grants).await);
    let dir = tempfile::tempdir().expect("dir");
    let (own, neighbour) = (dir.path().join("own"), dir.path().join("neighbour"));
    std::fs::create_dir(&neighbour).expect("made");
    std::fs::write(neighbour.join("disk"), "secret").expect("written");
    std::fs::write(dir.path().join("image"), "secret").expect("written");
    let theirs = || {
        let mut files = below(dir.path());
        files.retain(|path, _| !Path::new(path).starts_with(&own));
        files
    };
    let before = theirs();
    for seed in seeds {
        let _ = std::fs::remove_dir_all(&own);
        std::fs::create_dir(&own).expect("made");
        std::fs::write(own.join("a"), "ours").expect("written");
        std::os::unix::fs::symlink("../neighbour", own.join("link")).expect("linked");
        let mut here = site(dir.path(), &format!("ask {seed} 30"));
        here.config.extend(
            [("datastore", "ds"), ("folder", "own")]
                .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        let _ = told(&driver, &here).await;
        let stolen = below(&own).values().any(|content| content == b"secret");
        if stolen || theirs() != before {
            return Some(seed);
        }
    }
    None
}

#[tokio::test]
async fn no_host_call_reaches_a_file_that_the_call_is_not_about() {
    assert_eq!(harmed(asked(), seeds(60)).await, None, "this seed harms a neighbour");
}

/// The negative control: a driver that was granted the whole datastore does harm, and is found.
#[tokio::test]
async fn a_driver_that_may_reach_a_neighbour_is_found() {
    assert!(harmed(all(), 1..=500).await.is_some());
}
