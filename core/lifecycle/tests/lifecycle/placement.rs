//! Where a VM can come to, and what the scheduler proposes.

use crate::rig::{Fault, Rig};
use ostler_lifecycle::{
    Candidate, Decision, Declined, Input, Near, NotCreated, Offer, Proposal, Reachable, Scene,
    Waits, WhyNot, bridges_are_somewhere, decide, propose,
};
use ostler_model::{
    Args, Capacity, Cause, FilesAt, Generation, HostId, Leftover, NicSpec, Placement, RefusalKind,
    State, Unfit, Verb, VmRecord,
};
use std::collections::BTreeMap;
use std::sync::Arc;

const A: HostId = HostId(1);
const B: HostId = HostId(2);

/// The hosts as a test has them.
#[derive(Default)]
struct Hosts {
    /// Said of a host as a candidate.
    changed: BTreeMap<HostId, fn(&mut Candidate)>,
    refused: BTreeMap<HostId, Declined>,
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
        let mut candidate =
            Candidate { host, driver, storage: None, twin: None, near, interfaces: None };
        if let Some(change) = self.changed.get(&host) {
            change(&mut candidate);
        }
        Some(candidate)
    }

    fn refused(&self, host: HostId) -> Option<Declined> {
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
    Placement {
        host,
        driver: "hyper".parse().unwrap(),
        generation: Generation(1),
        since: ostler_model::Timestamp(0),
    }
}

/// One that runs on A and is to be moved.
fn to_move(shared: bool) -> VmRecord {
    VmRecord {
        state: State::Running,
        resched: true,
        placement: Some(at(A)),
        files: FilesAt { host: true, home: false },
        ..pending(shared)
    }
}

fn waits(record: &VmRecord, offers: &mut [Offer], hosts: &Hosts) -> Vec<Waits> {
    match propose(record, offers, hosts) {
        Proposal::Wait(lines) => lines,
        other => panic!("it does not wait: {other:?}"),
    }
}

fn at_host(name: &str, why: WhyNot) -> Waits {
    Waits::Host(name.parse().unwrap(), why)
}

#[test]
fn the_first_host_with_room_is_proposed_and_its_room_is_taken() {
    let vm = pending(true);
    let needs = vm.spec.memory_mib;
    let mut offers = [offer(A, needs - 1), offer(B, needs)];
    let hosts = Hosts::default();
    assert_eq!(propose(&vm, &mut offers, &hosts), Proposal::Go { host: B, verb: Verb::Deploy });
    let told = waits(&vm, &mut offers, &hosts);
    assert!(
        told.iter().all(|line| matches!(line, Waits::Host(_, WhyNot::TooFull { .. })))
            && told.len() == 2,
        "{told:?}"
    );
    assert_eq!(
        propose(&VmRecord { state: State::Hold, ..vm }, &mut [offer(A, 9999)], &hosts),
        Proposal::Nothing
    );
}

#[test]
fn a_host_that_would_refuse_the_vm_does_not_keep_the_room_from_the_others() {
    let vm = pending(false);
    let mut hosts = Hosts::default();
    let locked = Declined::Failed("its image is locked".to_owned());
    hosts.refused.insert(A, locked.clone());
    let mut offers = [offer(A, 9999), offer(B, 9999)];
    assert_eq!(propose(&vm, &mut offers, &hosts), Proposal::Go { host: B, verb: Verb::Deploy });
    assert_eq!(offers[0].free.memory_mib, 9999);
    hosts.changed.insert(B, |host| host.twin = Some("host-3".parse().unwrap()));
    assert_eq!(
        waits(&vm, &mut offers, &hosts),
        [
            at_host("host-1", WhyNot::Refused(locked)),
            at_host("host-2", WhyNot::Unfit(Unfit::OneHypervisor("host-3".parse().unwrap())))
        ]
    );
}

#[test]
fn a_host_without_the_bridge_of_a_card_is_left_out() {
    let mut vm = pending(true);
    vm.spec.nics = vec![
        NicSpec { bridge: "br0".to_owned(), mac: None },
        NicSpec { bridge: "br1".to_owned(), mac: None },
    ];
    let mut hosts = Hosts::default();
    let names = |names: &[&str]| Arc::new(names.iter().map(|name| (*name).to_owned()).collect());
    hosts.changed.insert(A, |host| host.interfaces = Some(Arc::new(["br0".to_owned()].into())));
    let mut offers = [offer(A, 9999), offer(B, 9999)];
    assert_eq!(
        propose(&vm, &mut offers, &hosts),
        Proposal::Go { host: B, verb: Verb::Deploy },
        "nobody knows what B has"
    );
    hosts.changed.insert(B, |host| host.interfaces = Some(Arc::new(["br1".to_owned()].into())));
    let lacks =
        |host: &str, bridge: &str| at_host(host, WhyNot::Unfit(Unfit::NoBridge(bridge.to_owned())));
    assert_eq!(waits(&vm, &mut offers, &hosts), [lacks("host-1", "br1"), lacks("host-2", "br0")]);
    let hosts = |hosts: &[Option<&[&str]>]| -> Vec<Reachable> {
        let at = |(at, known): (usize, &Option<&[&str]>)| {
            (format!("host-{at}").parse().unwrap(), known.map(names))
        };
        hosts.iter().enumerate().map(at).collect()
    };
    let somewhere = |known: &[Option<&[&str]>]| bridges_are_somewhere(&vm.spec.nics, &hosts(known));
    let one = NotCreated::NoBridge { bridge: "br1".to_owned(), host: "host-0".parse().unwrap() };
    assert_eq!(somewhere(&[Some(&["br0"])]), Err(one));
    let two = NotCreated::NoBridgeAnywhere { bridge: "br1".to_owned(), hosts: 2 };
    assert_eq!(somewhere(&[Some(&["br0"]), Some(&["br1"])]), Err(two));
    assert_eq!(somewhere(&[Some(&["br0"]), Some(&["br0", "br1"])]), Ok(()));
    assert_eq!(somewhere(&[Some(&["br0"]), None]), Ok(()), "one host may have it");
    assert_eq!(somewhere(&[]), Ok(()), "no host is on yet");
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
    assert_eq!(
        moves(|_, offers| offers[0].live = false),
        Proposal::Go { host: B, verb: Verb::Migrate }
    );
    assert_eq!(
        moves(|_, offers| offers[1].live = false),
        Proposal::Go { host: B, verb: Verb::Migrate }
    );
    assert_eq!(
        moves(|vm, _| vm.state = State::Poweroff),
        Proposal::Go { host: B, verb: Verb::Migrate }
    );
    let stays = |change: fn(&mut VmRecord, &mut [Offer; 2])| match moves(change) {
        Proposal::Wait(lines) => lines.last().unwrap().clone(),
        other => panic!("{other:?}"),
    };
    let other =
        WhyNot::OtherDriver { has: "other".parse().unwrap(), needs: "hyper".parse().unwrap() };
    assert_eq!(
        stays(|_, offers| offers[1].driver = "other".parse().unwrap()),
        at_host("host-2", other)
    );
    let silent = WhyNot::Silent("no route".to_owned());
    assert_eq!(
        stays(|_, offers| offers[1].silent = Some("no route".to_owned())),
        at_host("host-2", silent)
    );
    assert_eq!(stays(|vm, _| vm.state = State::Unknown), Waits::Unseen);
    assert_eq!(stays(|vm, _| vm.mark_restored(vm.since)), Waits::Unreconciled);
}

#[test]
fn not_more_than_so_many_move_at_one_host() {
    let (vm, mut hosts) = (to_move(true), Hosts::default());
    hosts.moves.insert(B, ostler_lifecycle::MOVES_AT_ONE_HOST);
    assert_eq!(
        waits(&vm, &mut [offer(A, 9999), offer(B, 9999)], &hosts),
        [at_host("host-1", WhyNot::Here), at_host("host-2", WhyNot::Crowded(8))]
    );
    // A deployment brings no memory of a running guest.
    assert_eq!(
        propose(&pending(true), &mut [offer(B, 9999)], &hosts),
        Proposal::Go { host: B, verb: Verb::Deploy }
    );
    hosts.moves.insert(A, ostler_lifecycle::MOVES_AT_ONE_HOST);
    assert_eq!(waits(&vm, &mut [offer(B, 9999)], &hosts), [Waits::HomeCrowded(8)]);
}

#[test]
fn a_vm_waits_for_the_one_host_it_asks_for() {
    let mut vm = pending(true);
    vm.spec.host = Some("host-3".parse().unwrap());
    assert_eq!(
        waits(&vm, &mut [offer(A, 9999)], &Hosts::default()),
        [Waits::NotOn("host-3".parse().unwrap())]
    );
    let bare = VmRecord { storage: None, ..vm.clone() };
    assert_eq!(waits(&bare, &mut [], &Hosts::default()), [Waits::NoStorage]);
    assert_eq!(waits(&vm, &mut [], &Hosts::default()), [Waits::NoHosts]);
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
            Err(refusal) => (refusal.kind, refusal.cause),
            Ok(Decision { .. }) => panic!("accepted"),
        }
    };
    let (shared, own) = (to_move(true), to_move(false));
    let same_files = |host: &mut Candidate| host.near[0].one_file_system = true;
    let unfit = |why| (RefusalKind::NoHost, Cause::HostUnfit { host: B, why });
    let one = || "host-1".parse().unwrap();
    assert_eq!(refusal(&own, Verb::Migrate, same_files), unfit(Unfit::OneFileSystem(one())));
    let same_hypervisor =
        refusal(&shared, Verb::MigrateLive, |host| host.near[0].one_hypervisor = true);
    assert_eq!(same_hypervisor, unfit(Unfit::OneHypervisor(one())));
    assert_eq!(
        refusal(&shared, Verb::Migrate, |host| host.driver = None),
        unfit(Unfit::NoHypervisor)
    );
    let bare = VmRecord { storage: None, ..pending(true) };
    assert_eq!(refusal(&bare, Verb::Deploy, |_| ()), unfit(Unfit::NoStorage));
    let left = Leftover { place: at(B), files: false };
    assert_eq!(
        refusal(&VmRecord { leftovers: vec![left], ..shared }, Verb::Migrate, |_| ()),
        unfit(Unfit::Leftover)
    );
}
