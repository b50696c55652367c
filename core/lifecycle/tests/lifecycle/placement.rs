//! Where a VM can come to, and what the scheduler proposes.

use crate::rig::{Fault, Rig};
use ostler_lifecycle::{Candidate, Decision, Input, Near, Offer, Proposal, Scene, bridge_of_no_host, decide, propose};
use ostler_model::{Args, Capacity, FilesAt, Generation, HostId, Leftover, NicSpec, Placement, RefusalKind, State, Verb, VmRecord};
use std::collections::BTreeMap;

const A: HostId = HostId(1);
const B: HostId = HostId(2);

/// The hosts as a test has them.
#[derive(Default)]
struct Hosts {
    /// Said of a host as a candidate.
    changed: BTreeMap<HostId, fn(&mut Candidate)>,
    refused: BTreeMap<HostId, String>,
    moves: BTreeMap<HostId, usize>,
}

impl Scene for Hosts {
    fn has_storage(&self) -> bool {
        false
    }

    fn candidate(&self, host: HostId) -> Option<Candidate> {
        let near = |at: HostId| Near {
            host: at,
            name: format!("host-{at}").parse().unwrap(),
            one_hypervisor: false,
            one_file_system: false,
        };
        let driver = Some("hyper".parse().unwrap());
        let near = [A, B].map(near).into();
        let mut candidate = Candidate { host, driver, storage: None, twin: None, near, interfaces: None };
        if let Some(change) = self.changed.get(&host) {
            change(&mut candidate);
        }
        Some(candidate)
    }

    fn refused(&self, host: HostId) -> Option<String> {
        self.refused.get(&host).cloned()
    }

    fn moves(&self, host: HostId) -> usize {
        self.moves.get(&host).copied().unwrap_or_default()
    }
}

fn offer(host: HostId, memory_mib: u64) -> Offer {
    Offer {
        host,
        name: format!("host-{host}").parse().unwrap(),
        driver: "hyper".parse().unwrap(),
        live: true,
        free: Capacity { cpu_milli: 64_000, memory_mib },
        silent: None,
    }
}

fn pending(shared: bool) -> VmRecord {
    let mut rig = Rig::new(1, shared, Fault::None);
    rig.record.state = State::Pending;
    let storage = rig.storage();
    rig.record.storage = Some(storage);
    rig.record.clone()
}

fn at(host: HostId) -> Placement {
    Placement { host, driver: "hyper".parse().unwrap(), generation: Generation(1), since: ostler_model::Timestamp(0) }
}

/// One that runs on A and is to be moved.
fn to_move(shared: bool) -> VmRecord {
    VmRecord {
        state: State::Running,
        resched: true,
        placement: Some(at(A)),
        files: FilesAt { host: true, home: false, other: false },
        ..pending(shared)
    }
}

fn waits(record: &VmRecord, offers: &mut [Offer], hosts: &Hosts) -> Vec<String> {
    match propose(record, offers, hosts) {
        Proposal::Wait(lines) => lines.iter().map(ToString::to_string).collect(),
        other => panic!("it does not wait: {other:?}"),
    }
}

#[test]
fn the_first_host_with_room_is_proposed_and_its_room_is_taken() {
    let vm = pending(true);
    let needs = vm.spec.memory_mib;
    let mut offers = [offer(A, needs - 1), offer(B, needs)];
    let hosts = Hosts::default();
    assert_eq!(propose(&vm, &mut offers, &hosts), Proposal::Go { host: B, verb: Verb::Deploy });
    let told = waits(&vm, &mut offers, &hosts);
    assert!(told.iter().all(|line| line.contains("too full")) && told.len() == 2, "{told:?}");
    assert_eq!(propose(&VmRecord { state: State::Hold, ..vm }, &mut [offer(A, 9999)], &hosts), Proposal::Nothing);
}

#[test]
fn a_host_that_would_refuse_the_vm_does_not_keep_the_room_from_the_others() {
    let vm = pending(false);
    let mut hosts = Hosts::default();
    hosts.refused.insert(A, "its image is locked".to_owned());
    let mut offers = [offer(A, 9999), offer(B, 9999)];
    assert_eq!(propose(&vm, &mut offers, &hosts), Proposal::Go { host: B, verb: Verb::Deploy });
    assert_eq!(offers[0].free.memory_mib, 9999);
    hosts.changed.insert(B, |host| host.twin = Some("host-3".parse().unwrap()));
    assert_eq!(
        waits(&vm, &mut offers, &hosts),
        [
            "host-1: it was refused there a moment ago: its image is locked",
            "host-2: it is the same hypervisor as host host-3: remove one of the two"
        ]
    );
}

#[test]
fn a_host_without_the_bridge_of_a_card_is_left_out() {
    let mut vm = pending(true);
    vm.spec.nics = vec![NicSpec { bridge: "br0".to_owned(), mac: None }, NicSpec { bridge: "br1".to_owned(), mac: None }];
    let mut hosts = Hosts::default();
    let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
    hosts.changed.insert(A, |host| host.interfaces = Some(["br0".to_owned()].into()));
    let mut offers = [offer(A, 9999), offer(B, 9999)];
    assert_eq!(propose(&vm, &mut offers, &hosts), Proposal::Go { host: B, verb: Verb::Deploy }, "nobody knows what B has");
    hosts.changed.insert(B, |host| host.interfaces = Some(["br1".to_owned()].into()));
    assert_eq!(waits(&vm, &mut offers, &hosts), ["host-1: it has no bridge br1", "host-2: it has no bridge br0"]);
    let nowhere = |hosts: &[Option<_>]| bridge_of_no_host(&vm.spec.nics, hosts).map(str::to_owned);
    assert_eq!(nowhere(&[names(&["br0"]), names(&["br1"])]).as_deref(), Some("br1"));
    assert_eq!(nowhere(&[names(&["br0"]), names(&["br0", "br1"])]), None);
    assert_eq!(nowhere(&[names(&["br0"]), None]), None, "one host may have it");
    assert_eq!(nowhere(&[]), None, "no host is on yet");
}

#[test]
fn a_vm_moves_live_where_both_hosts_can_and_not_to_where_it_is() {
    let hosts = Hosts::default();
    let moves = |change: fn(&mut VmRecord, &mut [Offer; 2])| {
        let (mut vm, mut offers) = (to_move(true), [offer(A, 9999), offer(B, 9999)]);
        change(&mut vm, &mut offers);
        propose(&vm, &mut offers, &hosts)
    };
    assert_eq!(moves(|_, _| ()), Proposal::Go { host: B, verb: Verb::MigrateLive });
    assert_eq!(moves(|_, offers| offers[0].live = false), Proposal::Go { host: B, verb: Verb::Migrate });
    assert_eq!(moves(|_, offers| offers[1].live = false), Proposal::Go { host: B, verb: Verb::Migrate });
    assert_eq!(moves(|vm, _| vm.state = State::Poweroff), Proposal::Go { host: B, verb: Verb::Migrate });
    let stays = |change: fn(&mut VmRecord, &mut [Offer; 2])| match moves(change) {
        Proposal::Wait(lines) => lines.last().unwrap().to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(stays(|_, offers| offers[1].driver = "other".parse().unwrap()), "host-2: has driver other, not hyper");
    assert_eq!(stays(|_, offers| offers[1].silent = Some("no route".to_owned())), "host-2: cannot be asked (no route)");
    assert!(stays(|vm, _| vm.state = State::Unknown).starts_with("it is moved once it is seen again"));
    assert!(stays(|vm, _| vm.mark_restored(vm.since)).starts_with("it came back with a backup"));
}

#[test]
fn not_more_than_so_many_move_at_one_host() {
    let (vm, mut hosts) = (to_move(true), Hosts::default());
    hosts.moves.insert(B, ostler_lifecycle::MOVES_AT_ONE_HOST);
    assert_eq!(
        waits(&vm, &mut [offer(A, 9999), offer(B, 9999)], &hosts),
        ["host-1: it is there now", "host-2: 8 VMs move to or from it already"]
    );
    // A deployment brings no memory of a running guest.
    assert_eq!(propose(&pending(true), &mut [offer(B, 9999)], &hosts), Proposal::Go { host: B, verb: Verb::Deploy });
    hosts.moves.insert(A, ostler_lifecycle::MOVES_AT_ONE_HOST);
    assert_eq!(waits(&vm, &mut [offer(B, 9999)], &hosts), ["its host: 8 VMs move to or from it already"]);
}

#[test]
fn a_vm_waits_for_the_one_host_it_asks_for() {
    let mut vm = pending(true);
    vm.spec.host = Some("host-3".parse().unwrap());
    assert_eq!(waits(&vm, &mut [offer(A, 9999)], &Hosts::default()), ["host-3: the one host it asks for is not on"]);
    let bare = VmRecord { storage: None, ..vm.clone() };
    assert_eq!(waits(&bare, &mut [], &Hosts::default()), ["there is no system datastore; add one"]);
    assert_eq!(waits(&vm, &mut [], &Hosts::default()), ["there is no host that is on: add one, or switch one on"]);
}

/// The same request to hosts that are known to be unfit in one way each.
#[test]
fn a_request_is_refused_for_the_reasons_that_the_scheduler_passes_a_host_by() {
    let refusal = |vm: &VmRecord, verb: Verb, change: fn(&mut Candidate)| {
        let mut candidate = Hosts::default().candidate(B).unwrap();
        change(&mut candidate);
        let mut facts = Rig::new(1, true, Fault::None).facts(None);
        facts.target = Some(candidate);
        let asked = crate::samples::asked(9, verb, Args::None, B, false);
        match decide(vm, &facts, &Input::Request(asked), vm.since) {
            Err(refusal) => (refusal.kind, refusal.detail),
            Ok(Decision { .. }) => panic!("accepted"),
        }
    };
    let (shared, own) = (to_move(true), to_move(false));
    let same_files = |host: &mut Candidate| host.near[0].one_file_system = true;
    let (kind, detail) = refusal(&own, Verb::Migrate, same_files);
    assert_eq!(kind, RefusalKind::NoHost);
    assert!(detail.starts_with("VM 1: host 2 cannot be used: it is reached as host host-1 is"), "{detail}");
    let (_, detail) = refusal(&shared, Verb::MigrateLive, |host| host.near[0].one_hypervisor = true);
    assert!(detail.contains("it is the same hypervisor as host host-1"), "{detail}");
    let (_, detail) = refusal(&shared, Verb::Migrate, |host| host.driver = None);
    assert!(detail.ends_with("it has no hypervisor"), "{detail}");
    let (_, detail) = refusal(&VmRecord { storage: None, ..pending(true) }, Verb::Deploy, |_| ());
    assert!(detail.ends_with("there is no system datastore; add one"), "{detail}");
    let left = Leftover { place: at(B), files: false };
    let (_, detail) = refusal(&VmRecord { leftovers: vec![left], ..shared }, Verb::Migrate, |_| ());
    assert!(detail.contains("what the VM left there is not put away yet"), "{detail}");
}
