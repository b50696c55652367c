//! Kills the real daemon with `kill -9` at random moments under a mixed load, over many `sim` VMs.
//! After each kill every VM must come to rest without help, the hypervisors must have the same
//! domains as the store, the store must be consistent, and the daemon must know everything that it
//! has answered.
//!
//! `restores` restores old backups while the hypervisors kept running.
//!
//! `OSTLER_KILLS` sets the number of kills. `OSTLER_SEED` repeats the choices of a run.

mod hosts;
mod load;
mod restores;

use hosts::domains;
use load::{Told, answered, load};
use ostler_api::{Client, ListFilter, Vm};
use ostler_store::OPERATIONS_KEPT;
use ostler_tests::daemon::{self, Daemon, poll};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often the daemon is killed, unless told otherwise.
const KILLS: u32 = 200;
/// How many VMs live at once.
const VMS: usize = 24;
/// How many requests are answered before a kill.
const ANSWERED: std::ops::Range<usize> = 0..150;
/// How long all VMs together may take to come to rest after a kill.
const CONVERGE: Duration = Duration::from_secs(60);

/// How often the VMs are looked at after a kill, until no VM changes by itself during a look.
const LOOKS: usize = 20;

const HOSTS: [&str; 3] = ["a", "b", "c"];
/// Trouble that a hypervisor may make at any time: slow calls, passing errors, lost answers,
/// crashes of the driver.
const KNOBS: &str = r#"{"rules":[
  {"call":"deploy","delay-ms":30,"percent":50},
  {"call":"save","delay-ms":20,"percent":50},
  {"call":"*","error":"retry","code":"busy","percent":3},
  {"call":"*","error":"unknown","lost":true,"percent":3},
  {"call":"destroy","trap":"after","percent":1}]}"#;

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn killed_at_any_moment_nothing_is_lost_and_nothing_doubled() {
    killed(false);
}

#[test]
fn killed_while_vms_move_between_hosts_that_share_their_storage() {
    killed(true);
}

/// One half of the kills. With `shared`, hosts share their files, so that VMs can move. Otherwise
/// files are copied at stop and deploy.
fn killed(shared: bool) {
    if !daemon::is_built() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let kills = setting("OSTLER_KILLS", u64::from(KILLS)).div_ceil(2);
    let seed = setting("OSTLER_SEED", u64::from(std::process::id()));
    println!("{kills} kills, OSTLER_SEED={seed}");
    let mut daemon = Daemon::start(
        dir.path(),
        &["--log", "error", "--rules", "sim=snapshots-vmware", "--grant", "snapshots-vmware=all"],
    );
    runtime.block_on(set_up(daemon.client(), dir.path(), shared));
    let told = Arc::new(Mutex::new(Told::default()));
    let mut rng = SmallRng::seed_from_u64(seed);
    for round in 0..kills {
        let load = runtime.spawn(load(daemon.client().clone(), Arc::clone(&told), rng.random()));
        runtime.block_on(answered(&told, rng.random_range(ANSWERED)));
        daemon.kill();
        runtime.block_on(load).expect("the load ends when the daemon is gone");
        daemon.up();
        let findings = runtime.block_on(examine(daemon.client(), dir.path(), shared, &told));
        assert!(findings.is_empty(), "after kill {round} (OSTLER_SEED={seed}): {findings:#?}");
    }
    let told = told.lock().expect("whole");
    let findings = runtime.block_on(forgotten(daemon.client(), &told.operations));
    assert!(findings.is_empty(), "at the end (OSTLER_SEED={seed}): {findings:#?}");
    println!(
        "{kills} kills survived; {} VMs and {} operations were answered and are known",
        told.vms.len(),
        told.operations.len()
    );
    println!("accepted: {:?}", told.accepted);
    assert!(
        told.operations.len() as u64 > kills,
        "the load did nothing: {} operations",
        told.operations.len()
    );
    // Some verbs are rarely possible by chance, for example those that need a snapshot of that
    // name. They may be missing. These verbs must not.
    let often = [
        "deploy",
        "stop",
        "resume",
        "disk-attach",
        "nic-attach",
        "resize",
        "snapshot-create",
        "schedule",
        "delete",
    ];
    let moves: &[&str] =
        if shared { &["migrate", "migrate-live", "migrate-poweroff-hard"] } else { &[] };
    let missed: Vec<&&str> =
        often.iter().chain(moves).filter(|verb| !told.accepted.contains_key(**verb)).collect();
    assert!(kills < 50 || missed.is_empty(), "never accepted: {missed:?}");
}

async fn set_up(client: &Client, dir: &Path, shared: bool) {
    daemon::datastores_as(client, dir, shared).await;
    for host in HOSTS {
        let folder = dir.join("simhosts").join(host);
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("knobs"), KNOBS).expect("a file");
        daemon::sim_host(client, host, &[]).await;
    }
}

/// Waits until all VMs rest, and answers them.
async fn rested(client: &Client) -> Vec<Vm> {
    poll("all VMs to come to rest by themselves", CONVERGE, async || {
        // One reading for all conditions: between two, the scheduler may give a pending VM a place,
        // and its start begins.
        let vms = everything(client).await;
        let restless: Vec<String> = vms
            .iter()
            // Pending VMs wait for the scheduler. Leftovers are swept, and unknown VMs are looked
            // for, in the monitor's next round.
            .filter(|vm| {
                vm.operation.is_some()
                    || ["pending", "unknown"].contains(&vm.state.as_ref())
                    || !vm.leftovers.is_empty()
                    || vm.moving.is_some()
            })
            .map(|vm| format!("{} {} {:?}", vm.id, vm.state, vm.operation))
            .collect();
        if restless.is_empty() { Ok(vms) } else { Err(format!("{restless:?}")) }
    })
    .await
}

/// The findings when all VMs rest. A timer or the scheduler may begin an operation at any time, so
/// they only count if no VM has changed meanwhile.
async fn examine(client: &Client, dir: &Path, shared: bool, told: &Mutex<Told>) -> Vec<String> {
    let versions = |vms: &[Vm]| vms.iter().map(|vm| (vm.id, vm.version)).collect::<Vec<_>>();
    for _ in 0..LOOKS {
        let vms = rested(client).await;
        let findings = look(client, &vms, dir, shared, told).await;
        if versions(&vms) == versions(&everything(client).await) {
            told.lock().expect("whole").looked_for_all();
            if !findings.is_empty() {
                explain(client, &vms, &findings).await;
            }
            return findings;
        }
    }
    vec![format!("VMs changed by themselves during each of {LOOKS} looks")]
}

async fn look(
    client: &Client,
    vms: &[Vm],
    dir: &Path,
    shared: bool,
    told: &Mutex<Told>,
) -> Vec<String> {
    let mut findings = client.check().await.expect("the books are checked").findings;
    let (told_vms, told_operations) = {
        let told = told.lock().expect("whole");
        let new = told.operations.range(told.looked_for..).map(|(id, _)| *id).collect::<Vec<_>>();
        (told.vms.clone(), new)
    };
    let known: BTreeSet<u64> = vms.iter().map(|vm| vm.id).collect();
    findings.extend(
        told_vms.difference(&known).map(|vm| format!("VM {vm} was answered and is not known")),
    );
    // The rounds before have looked for the older ones, and the end of the test looks for all that
    // are kept.
    findings.extend(lost(client, told_operations).await);
    findings.extend(compare_domains(vms, dir));
    findings.extend(compare_files(vms, dir, shared));
    findings
}

/// Operations that were answered and are not known.
async fn lost(client: &Client, answered: impl IntoIterator<Item = u64>) -> Vec<String> {
    let mut findings = Vec::new();
    for operation in answered {
        if let Err(error) = client.operation(operation, None).await {
            findings.push(format!("operation {operation} was answered: {error}"));
        }
    }
    findings
}

/// Operations that were answered at any time, that the store has to keep, and that are not known at
/// the end. The store keeps the newest [`OPERATIONS_KEPT`] ended operations of each VM.
async fn forgotten(client: &Client, answered: &BTreeMap<u64, u64>) -> Vec<String> {
    let mut kept: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for vm in answered.values() {
        if !kept.contains_key(vm) {
            let page = client.operations_of(&vm.to_string()).await.expect("the operations of a VM");
            kept.insert(
                *vm,
                page.operations
                    .iter()
                    .filter(|operation| operation.vm == *vm)
                    .map(|operation| operation.id)
                    .collect(),
            );
        }
    }
    let gone = |(id, vm): &(&u64, &u64)| {
        let kept = &kept[vm];
        !kept.contains(id) && kept.range(**id..).count() < OPERATIONS_KEPT
    };
    answered
        .iter()
        .filter(gone)
        .map(|(id, vm)| format!("operation {id} of VM {vm} was answered and is not known"))
        .collect()
}

/// Prints the last operations of the VMs that have findings, so that a failed run can be
/// understood.
async fn explain(client: &Client, vms: &[Vm], findings: &[String]) {
    for vm in vms
        .iter()
        .filter(|vm| findings.iter().any(|finding| finding.starts_with(&format!("VM {} ", vm.id))))
    {
        let operations = client
            .operations_of(&vm.id.to_string())
            .await
            .map(|page| page.operations)
            .unwrap_or_default();
        println!("VM {} {} {}: {:?} seen {:?}", vm.id, vm.uuid, vm.state, vm.reason, vm.seen);
        for operation in operations.iter().take(4) {
            println!("  {}", serde_json::to_string(operation).unwrap_or_default());
        }
    }
}

/// Every VM there ever was, including those that are done.
async fn everything(client: &Client) -> Vec<Vm> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = client
            .vms(&ListFilter { all: true, limit: Some(1000), after, ..ListFilter::default() })
            .await
            .expect("a list");
        for line in &page.vms {
            // For a VM that is done the list has everything that is needed.
            if line.state != "done" {
                found.push(client.vm(&line.id.to_string()).await.expect("a VM"));
            }
        }
        found.extend(page.vms.iter().filter(|line| line.state == "done").map(done_vm));
        match page.next {
            Some(next) => after = Some(next),
            None => return found,
        }
    }
}

fn done_vm(line: &ostler_api::VmSummary) -> Vm {
    // Fields that are left out are empty.
    let vm = serde_json::json!({
        "id": line.id, "uuid": "", "name": line.name, "owner": line.owner, "state": line.state, "since": line.since, "reason": "asked",
        "created": line.created, "version": line.version, "spec": {"name": "x", "memory": "1MiB"},
    });
    serde_json::from_value(vm).expect("a VM")
}

fn compare_domains(vms: &[Vm], dir: &Path) -> Vec<String> {
    let found = domains(dir);
    let mut findings = Vec::new();
    let by_uuid: BTreeMap<&str, &Vm> =
        vms.iter().filter(|vm| vm.state != "done").map(|vm| (vm.uuid.as_str(), vm)).collect();
    for (uuid, places) in &found {
        let alive = places.iter().filter(|(_, power)| power != "off").count();
        if alive > 1 {
            findings.push(format!("{uuid} runs {alive} times: {places:?}"));
        }
        let Some(vm) = by_uuid.get(uuid.as_str()) else {
            findings.push(format!("domain {uuid} is left over: {places:?}"));
            continue;
        };
        let place = vm.placement.as_ref().map(|place| place.host.as_str());
        findings.extend(places.iter().filter(|(host, _)| Some(host.as_str()) != place).map(
            |(host, power)| {
                format!(
                    "VM {} ({}) has a domain ({power}) on {host}, its place is {place:?}",
                    vm.id, vm.state
                )
            },
        ));
    }
    for vm in by_uuid.values() {
        let power =
            found.get(&vm.uuid).and_then(|places| places.first()).map(|(_, power)| power.as_str());
        let fits = match (vm.state.as_ref(), power) {
            ("running", Some("running")) => true,
            ("poweroff" | "suspended", None | Some("off")) => true,
            ("hold" | "stopped" | "undeployed", None) => true,
            // The domain of a failed VM may be in any state, because an operator has to decide.
            ("failed", _) => true,
            _ => false,
        };
        if !fits {
            findings.push(format!("VM {} is {} and its domain is {power:?}", vm.id, vm.state));
        }
    }
    findings
}

/// Checks that folders of files exist only for VMs that may have files there.
fn compare_files(vms: &[Vm], dir: &Path, shared: bool) -> Vec<String> {
    let mut findings = Vec::new();
    // If the storage is shared, files stay where they are when the VM leaves its host.
    let with_hosts: &[&str] = if shared {
        &["running", "poweroff", "suspended", "failed", "stopped", "undeployed"]
    } else {
        &["running", "poweroff", "suspended", "failed"]
    };
    for (top, states) in [("vms", with_hosts), ("home", &["stopped", "undeployed", "failed"][..])] {
        let Ok(folders) = std::fs::read_dir(dir.join("system").join(top)) else { continue };
        for folder in folders.flatten() {
            let uuid = folder.file_name().to_string_lossy().into_owned();
            match vms.iter().find(|vm| vm.uuid == uuid) {
                Some(vm) if states.contains(&vm.state.as_ref()) => {}
                Some(vm) => {
                    findings.push(format!("VM {} is {} and has files in {top}", vm.id, vm.state))
                }
                None => findings.push(format!("files of {uuid} are left over in {top}")),
            }
        }
    }
    findings
}
