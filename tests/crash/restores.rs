//! The store is lost and is restored from a backup that was taken under load. Meanwhile the
//! hypervisors kept running. Every guest that ran when the daemon died must keep running, on one
//! host only, with its files, whatever the backup says and whatever is asked afterwards.
//!
//! One host does not answer at first. Any VM might run there, so nothing may be done for any VM of
//! the backup, whatever is asked. Then the daemon is killed once more, and the host answers.
//!
//! `OSTLER_RESTORES` sets the number of restores. With `OSTLER_RESTORE_BY_HAND` set, the backup is
//! only copied over the store, without a restore. This is the negative control: then guests run
//! twice within some rounds, with private and with shared storage.

use crate::hosts::domains;
use crate::load::{Told, answered, load};
use crate::{CONVERGE, HOSTS, KNOBS, set_up, setting};
use ostler_api::{Client, RestoredReply};
use ostler_tests::daemon::{self, Daemon, poll};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How often a backup is restored, unless told otherwise: one half for private and one half for
/// shared storage.
const RESTORES: u64 = 6;
/// How many requests are answered before a backup is made.
const ASKED_BEFORE: std::ops::Range<usize> = 60..240;
/// How many requests are answered after it, in the time that a restore loses.
const ASKED_LOST: std::ops::Range<usize> = 40..320;
/// How many requests must be answered after a restore while a host is silent, and again later,
/// before the guests are counted.
const ASKED_AFTER: usize = 150;
/// How long a host is silent at least. The daemon checks every half second whether all hosts were
/// listed.
const HELD_FOR: Duration = Duration::from_millis(1200);
/// Makes a host fail every call.
const SILENT: &str = r#"{"rules":[{"call":"*","error":"retry","code":"silent"}]}"#;

#[test]
fn an_old_backup_with_private_storage_harms_no_guest() {
    restored(false);
}

#[test]
fn an_old_backup_with_shared_storage_harms_no_guest() {
    restored(true);
}

fn restored(shared: bool) {
    if !daemon::is_built() {
        return;
    }
    let rounds = setting("OSTLER_RESTORES", RESTORES).div_ceil(2);
    let seed = setting("OSTLER_SEED", u64::from(std::process::id()));
    println!("{rounds} restores, OSTLER_SEED={seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut guests = 0;
    for round in 0..rounds {
        let dir = tempfile::tempdir().expect("a folder");
        let (ran, findings) = one_round(dir.path(), shared, &mut rng);
        guests += ran;
        assert!(findings.is_empty(), "restore {round} (OSTLER_SEED={seed}): {findings:#?}");
    }
    println!("{rounds} restores harmed none of {guests} guests");
    assert!(guests > 0, "no guest ran when the daemon was killed");
}

/// One round. Answers how many guests ran when the daemon was killed, and the findings about them.
fn one_round(dir: &Path, shared: bool, rng: &mut SmallRng) -> (usize, Vec<String>) {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let mut daemon = Daemon::start(
        dir,
        &["--log", "error", "--rules", "sim=snapshots-vmware", "--grant", "snapshots-vmware=all"],
    );
    runtime.block_on(set_up(daemon.client(), dir, shared));
    let backup = dir.join("backup");
    let (before, after) = (rng.random_range(ASKED_BEFORE), rng.random_range(ASKED_LOST));
    let seed = rng.random();
    runtime.block_on(async {
        let told = Arc::new(Mutex::new(Told::default()));
        let busy = tokio::spawn(load(daemon.client().clone(), Arc::clone(&told), seed));
        answered(&told, before).await;
        daemon.client().backup(&backup.display().to_string()).await.expect("a backup is made");
        answered(&told, after).await;
        daemon.kill();
        busy.await.expect("the load ends when the daemon is gone");
    });
    let alive = lives(dir);
    let files = files_of(dir, &alive);
    put_back(&daemon, dir, &backup);
    let silent = HOSTS[rng.random_range(0..HOSTS.len())];
    let knobs = |text: &str| {
        std::fs::write(dir.join("simhosts").join(silent).join("knobs"), text).expect("a file")
    };
    knobs(SILENT);
    daemon.up();
    let mut findings = runtime.block_on(async {
        let before = all_but(daemon.client(), silent).await;
        let after = asked(&mut daemon, seed.wrapping_add(1), HELD_FOR).await;
        let mut findings = compare(dir, &alive, &files, true);
        if !by_hand() && (before.total, &before.hosts) != (after.total, &after.hosts) {
            findings.push(format!(
                "reconciled while host {silent} is silent: {before:?}, then {after:?}"
            ));
        }
        findings
    });
    knobs(KNOBS);
    if findings.is_empty() {
        daemon.up();
        runtime.block_on(reconciled(daemon.client()));
        // A VM that the scheduler had to move may have been moved at once, so its host may differ.
        findings = compare(dir, &alive, &files, false);
        // Requests for the VMs must not start a second domain of any.
        runtime.block_on(asked(&mut daemon, seed.wrapping_add(2), Duration::ZERO));
        findings.extend(twice(dir));
    }
    (alive.len(), findings)
}

/// Waits until every host except the silent one was listed. From then on only the silent host holds
/// the VMs up.
async fn all_but(client: &Client, silent: &str) -> RestoredReply {
    poll("all hosts but the silent one to be listed", CONVERGE, async || {
        let restored = client.restored().await.map_err(|error| error.to_string())?;
        if restored.hosts == [silent] || by_hand() { Ok(()) } else { Err(format!("{restored:?}")) }
    })
    .await;
    client.restored().await.expect("is told")
}

/// Sends many random requests for at least this long, then kills the daemon. Answers what was not
/// reconciled just before.
async fn asked(daemon: &mut Daemon, seed: u64, at_least: Duration) -> RestoredReply {
    let began = Instant::now();
    let told = Arc::new(Mutex::new(Told::default()));
    let busy = tokio::spawn(load(daemon.client().clone(), Arc::clone(&told), seed));
    poll("many requests to be answered", CONVERGE, async || {
        let answered = told.lock().expect("whole").answered;
        if answered >= ASKED_AFTER && began.elapsed() >= at_least {
            Ok(())
        } else {
            Err(format!("{answered} were"))
        }
    })
    .await;
    let restored = daemon.client().restored().await.expect("is told");
    daemon.kill();
    busy.await.expect("the load ends when the daemon is gone");
    restored
}

/// Removes the store and restores the backup in its place.
fn put_back(daemon: &Daemon, dir: &Path, backup: &Path) {
    let store = dir.join("data").join("store.redb");
    std::fs::remove_file(&store).expect("the store was there");
    if by_hand() {
        std::fs::copy(backup, &store).expect("the backup can be copied");
    } else {
        daemon.restore(backup);
    }
}

fn by_hand() -> bool {
    std::env::var_os("OSTLER_RESTORE_BY_HAND").is_some()
}

/// Waits until every VM is reconciled. For VMs that only an operator can judge, it states that the
/// record is right; the test has checked this.
async fn reconciled(client: &Client) {
    poll("all VMs to be reconciled", CONVERGE, async || {
        let restored = client.restored().await.map_err(|error| error.to_string())?;
        for vm in restored.vms.iter().filter(|vm| vm.in_doubt) {
            client.accept_record(&vm.id.to_string()).await.map_err(|error| error.to_string())?;
        }
        if restored.waits { Err(format!("{restored:?}")) } else { Ok(()) }
    })
    .await;
}

/// The guests that run, as UUID and host. Guests that are about to power off are left out.
fn lives(dir: &Path) -> BTreeMap<String, String> {
    let all = domains(dir);
    let runs = |(uuid, places): (&String, &Vec<(String, String)>)| {
        let (host, _) = places.iter().find(|(_, power)| power == "running")?;
        let text =
            std::fs::read_to_string(dir.join("simhosts").join(host).join(format!("{uuid}.json")))
                .ok()?;
        let goes_off = serde_json::from_str::<serde_json::Value>(&text)
            .is_ok_and(|domain| domain["off-at-ms"].is_u64());
        (!goes_off).then(|| (uuid.clone(), host.clone()))
    };
    all.iter().filter_map(runs).collect()
}

/// The guests whose folder exists.
fn files_of(dir: &Path, alive: &BTreeMap<String, String>) -> Vec<String> {
    alive.keys().filter(|uuid| dir.join("system/vms").join(uuid).exists()).cloned().collect()
}

/// Checks that every guest still runs with its files, on its host (`in_place`) or on any host.
fn compare(
    dir: &Path,
    alive: &BTreeMap<String, String>,
    files: &[String],
    in_place: bool,
) -> Vec<String> {
    let now = domains(dir);
    let mut findings = twice(dir);
    if by_hand() {
        // Without a restore nothing holds the load back, so it may switch guests off. Only guests
        // that run twice count then.
        return findings;
    }
    for (uuid, host) in alive {
        let runs = |(at, power): &(String, String)| power == "running" && (at == host || !in_place);
        if !now.get(uuid).is_some_and(|places| places.iter().any(runs)) {
            findings.push(format!("{uuid} ran on {host} and was stopped: {:?}", now.get(uuid)));
        }
    }
    let gone = files.iter().filter(|uuid| !dir.join("system/vms").join(uuid).exists());
    findings.extend(gone.map(|uuid| format!("{uuid} runs, and its files were removed")));
    findings
}

fn twice(dir: &Path) -> Vec<String> {
    let alive =
        |places: &[(String, String)]| places.iter().filter(|(_, power)| power == "running").count();
    let all = domains(dir);
    all.iter()
        .filter(|(_, places)| alive(places) > 1)
        .map(|(uuid, places)| format!("{uuid} runs twice: {places:?}"))
        .collect()
}
