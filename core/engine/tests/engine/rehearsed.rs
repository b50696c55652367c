//! What a dry run answers is what the act then answers: for random requests of random VMs in a
//! world that does not move meanwhile.

use crate::support::{ALPHA, BETA, World, spec, until};
use ostler_driver_testkit::fake::Op;
use ostler_engine::{ActionRequest, EngineError, Preview, Replied};
use ostler_model::*;
use std::collections::BTreeSet;

/// Numbers that are the same each time (xorshift, Marsaglia 2003).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(end).expect("small")).expect("small")
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

const VERBS: &[Verb] = &[
    Verb::Deploy,
    Verb::Deploy,
    Verb::Suspend,
    Verb::Resume,
    Verb::Resume,
    Verb::Stop,
    Verb::Poweroff,
    Verb::PoweroffHard,
    Verb::Undeploy,
    Verb::Reboot,
    Verb::Migrate,
    Verb::MigrateLive,
    Verb::Hold,
    Verb::Release,
    Verb::Resched,
    Verb::Unresched,
    Verb::DiskAttach,
    Verb::DiskDetach,
    Verb::NicAttach,
    Verb::NicAttach,
    Verb::NicDetach,
    Verb::SnapshotCreate,
    Verb::SnapshotRevert,
    Verb::SnapshotDelete,
    Verb::DiskSnapshot,
    Verb::Resize,
    Verb::Rename,
    Verb::RecoverRetry,
    Verb::Delete,
];

fn args(chance: &mut Chance, world: &World, record: &VmRecord, verb: Verb) -> Args {
    let others =
        world.vms().into_iter().filter(|other| other.id != record.id && other.state != State::Done);
    let theirs: Vec<MacAddress> =
        others.flat_map(|other| other.macs_held().collect::<Vec<_>>()).collect();
    match verb {
        Verb::DiskAttach => Args::NewDisk {
            name: None,
            source: DiskSource::Blank { size_mib: 1 },
            format: DiskFormat::Qcow2,
            read_only: false,
        },
        Verb::DiskDetach => {
            Args::Disk { name: chance.pick(&["vda", "vdb", "data"]).parse().expect("a name") }
        }
        Verb::NicAttach => {
            let taken =
                (!theirs.is_empty() && chance.below(2) == 0).then(|| chance.pick(&theirs).clone());
            Args::NewNic(NicSpec { bridge: "br0".to_owned(), mac: taken })
        }
        Verb::NicDetach if !record.spec.nics.is_empty() => Args::Nic { mac: record.mac_of(0) },
        Verb::SnapshotCreate => Args::NewSnapshot { label: String::new() },
        Verb::SnapshotRevert | Verb::SnapshotDelete => Args::Snapshot { name: "none".to_owned() },
        // The second of that name is refused by the store.
        Verb::DiskSnapshot => Args::NewImage {
            disk: "data".parse().expect("a name"),
            image: chance.pick(&["one", "two"]).parse().expect("a name"),
            datastore: None,
        },
        Verb::Resize => {
            let memory = [
                record.spec.memory_mib / 2,
                record.spec.memory_mib * 2,
                record.spec.memory_mib * 8,
            ];
            Args::Size { cpu_milli: None, vcpus: None, memory_mib: Some(*chance.pick(&memory)) }
        }
        Verb::Rename => {
            Args::Name { name: format!("vm-{}", chance.below(100)).parse().expect("a name") }
        }
        _ => Args::None,
    }
}

fn agree(foreseen: &Result<Preview, EngineError>, came: &Result<Replied, EngineError>) -> bool {
    match (foreseen, came) {
        (Ok(Preview { refused: Some(foreseen), .. }), Err(EngineError::Refused(refused))) => {
            foreseen == refused
        }
        (Err(EngineError::Resource(foreseen)), Err(EngineError::Resource(refused))) => {
            foreseen == refused
        }
        (Err(EngineError::Taken(foreseen)), Err(EngineError::Taken(refused))) => {
            foreseen == refused
        }
        (Ok(Preview { refused: None, destroys, overtakes, .. }), Ok(Replied { answer, .. })) => {
            *destroys == answer.destroys && *overtakes == answer.overtook
        }
        (_, _) => false,
    }
}

/// VMs that claim much of a host's memory, and network addresses.
async fn populate(world: &World, memory_mib: u64) {
    for (number, share) in [8, 2, 2, 2].into_iter().enumerate() {
        let nic = NicSpec {
            bridge: "br0".to_owned(),
            mac: Some(format!("52:54:00:00:00:0{number}").parse().expect("an address")),
        };
        let spec = VmSpec {
            memory_mib: memory_mib / share,
            nics: vec![nic],
            ..spec(&format!("vm-{number}"))
        };
        world.create(spec, true).await.expect("creates");
    }
}

/// A request of a random kind. None if it would end the VM that is busy all the time.
fn asked(
    chance: &mut Chance,
    world: &World,
    record: &VmRecord,
    busy: VmId,
) -> Option<ActionRequest> {
    let verb = *chance.pick(VERBS);
    if record.id == busy && verb == Verb::Delete {
        return None;
    }
    let host = [Some(ALPHA), Some(BETA), Some(HostId(77)), None][chance.below(4)];
    Some(ActionRequest {
        host: host.filter(|_| verb == Verb::Deploy || verb.is_migration()),
        args: args(chance, world, record, verb),
        enforce: chance.below(4) > 0,
        // It may be looked at meanwhile: then neither answer counts.
        if_version: Some(record.version),
        ..ActionRequest::of(verb, "test")
    })
}

/// Asks twice: whether it would be done, and to do it. Answers how it went, or None if the VM was
/// changed meanwhile.
async fn ask_twice(
    world: &World,
    record: &VmRecord,
    asked: &ActionRequest,
) -> Option<Result<Replied, EngineError>> {
    let foreseen = world.engine.preview(record.id, asked.clone()).await;
    let came = world.engine.act(record.id, asked.clone(), None).await;
    let moved = |refusal: &Refusal| refusal.kind == RefusalKind::VersionMismatch;
    if matches!(&foreseen, Ok(Preview { refused: Some(refusal), .. }) if moved(refusal))
        || matches!(&came, Err(EngineError::Refused(refusal)) if moved(refusal))
    {
        return None;
    }
    let state = record.state;
    assert!(agree(&foreseen, &came), "{asked:#?} of {state:?}: {foreseen:#?}, then {came:#?}");
    Some(came)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dry_run_answers_is_what_the_act_then_answers() {
    let world = World::new().await;
    let read = || world.engine.store().read().expect("reads");
    let room = read().host(BETA).expect("reads").expect("is there").total;
    populate(&world, room.memory_mib).await;
    // One is busy all the time: it waits for its driver.
    let busy = world.held("busy").await;
    let gate = world.fake.on(Op::Save).times(1).hold();
    world.succeeds(busy, Verb::Deploy).await;
    world.act(busy, Verb::Suspend).await.expect("accepted");
    gate.reached(1).await;
    let settled = || read().active_vms().expect("reads").iter().all(|vm| *vm == busy);
    let (mut refused, mut accepted) = (BTreeSet::new(), 0);
    let mut chance = Chance(7);
    for _ in 0..600 {
        until("all but one to rest", settled).await;
        let vms: Vec<VmRecord> =
            world.vms().into_iter().filter(|vm| vm.state != State::Done).collect();
        if vms.len() < 4 {
            let more = VmSpec { memory_mib: room.memory_mib / 2, ..spec("more") };
            world.create(more, true).await.expect("creates");
            continue;
        }
        let record = chance.pick(&vms);
        let Some(asked) = asked(&mut chance, &world, record, busy) else { continue };
        let Some(came) = ask_twice(&world, record, &asked).await else { continue };
        match came {
            Ok(_) => accepted += 1,
            Err(EngineError::Refused(refusal)) => drop(refused.insert(refusal.kind.to_string())),
            Err(EngineError::Taken(_)) => drop(refused.insert("mac-taken".to_owned())),
            Err(error) => drop(refused.insert(error.to_string().chars().take(15).collect())),
        }
    }
    gate.open();
    let all: Vec<&str> = refused.iter().map(String::as_str).collect();
    assert!(accepted > 100, "{accepted} were accepted");
    for kind in ["busy", "no-capacity", "no-host", "wrong-state", "mac-taken"] {
        assert!(all.contains(&kind), "none was refused as {kind}: {all:?}");
    }
}
