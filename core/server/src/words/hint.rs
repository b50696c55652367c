//! Hints: in words that fit every client, and as they are sent.

use ostler_api::{Advice, nearest};
use ostler_model::{Cause, Hint, Refusal, Verb, VmId};

/// The hint of a refusal as it is sent.
pub(crate) fn advice(hint: &Hint, about: Option<(VmId, Verb)>) -> Advice {
    let states = if let Hint::WorksFrom { states } = hint { states.as_slice() } else { &[] };
    let states = states.iter().map(ToString::to_string).collect();
    let (vm, verb) = about.map_or((None, None), |(vm, verb)| (Some(vm.0), Some(verb.to_string())));
    Advice { code: hint.code().to_owned(), vm, verb, states, near: None }
}

/// The hint of a refusal, in words and as it is sent. If the VM has something that is called nearly
/// as what was asked for, that comes first.
pub(crate) fn of_refusal(refusal: &Refusal) -> (String, Advice) {
    let mut words = hint(&refusal.hint, Some(refusal.verb));
    let mut sent = advice(&refusal.hint, Some((refusal.vm, refusal.verb)));
    if let Cause::NoSnapshot { name, known } = &refusal.cause
        && let Some(near) = nearest(name, known.iter().map(String::as_str))
    {
        words = format!("did you mean {near}? {words}");
        sent.near = Some(near.to_owned());
    }
    (words, sent)
}

/// The hint in words. They have no command line, because each client has its own.
#[allow(clippy::too_many_lines)] // a table
pub(crate) fn hint(hint: &Hint, verb: Option<Verb>) -> String {
    let text = match hint {
        Hint::Wait => "wait for its operation to end",
        Hint::WaitOrHard => {
            "wait for it, or overtake it with a hard verb, which does not ask the guest"
        }
        Hint::WaitOrDelete => {
            "wait for it to end: why the VM waits says what it waits for; only delete overtakes \
             it, and that ends the VM"
        }
        Hint::WaitOrForget => {
            "wait for it: a delete is overtaken by forget only, which is for hosts that are lost"
        }
        Hint::WaitUntilSeen => "wait until that is seen, and ask again",
        Hint::AskAgain => "ask again in a moment",
        Hint::ReadAgain => "read it again and decide anew",
        Hint::WaitOrDeleteBoth => "it is settled once both hosts are seen; delete ends it on both",
        Hint::StateArrival => {
            "it is settled once both are seen; recover-success states that it has arrived, \
             recover-failure that it has not"
        }
        Hint::SeeArguments => "see the API page for its arguments",
        Hint::ChangeRequest => "change what is asked",
        Hint::OtherName => "choose another name",
        Hint::GiveSize => "give cpu, vcpus or memory",
        Hint::GiveAddress => "give one",
        Hint::SnapshotByName => {
            "ask for it by its own name; where that is what another one is called, delete that one \
             first"
        }
        Hint::ShowVm => "the VM's page lists its disks, network cards and snapshots",
        Hint::ListVms => "the list of VMs shows which there are",
        Hint::ListOperations => "the list of the VM's operations shows which there are",
        Hint::CreateNew => "a VM that is done stays done; create a new one",
        Hint::WorksFrom { states } => {
            let states: Vec<String> = states.iter().map(ToString::to_string).collect();
            let verb = verb.map_or_else(|| "it".to_owned(), |verb| verb.to_string());
            return format!("{verb} works from: {}", states.join(", "));
        }
        Hint::SeeWhy => "why the VM waits says what can be done: recover, or delete",
        Hint::ForceResize => {
            "a bare number is MiB: write 2GiB for gigabytes; force takes the memory away all the \
             same"
        }
        Hint::ResizeOff => "poweroff, resize, resume; or create it with more headroom",
        Hint::Deploy => "deploy it",
        Hint::DetachDisk => "detach a disk first",
        Hint::CancelDiskSnapshot => "take that back first: disk-snapshot-cancel",
        Hint::DeleteSnapshots => "delete some first: snapshot-delete",
        Hint::SetHardwareBack => {
            "attach, detach and resize until the VM has the hardware of the snapshot; a disk that \
             is detached is deleted"
        }
        Hint::ResumeOrStop => "resume it, or stop it, then move it",
        Hint::ResumeFirst => "resume it, or suspend it after that",
        Hint::HardOff => "a hard verb does not ask it",
        Hint::ResumeOrHardOff => "resume lets it run on; a hard verb does not ask it",
        Hint::PowerOffFirst => "power it off first (poweroff-hard), or wait until it is seen again",
        Hint::KeepOnHost => "suspend it or power it off (poweroff) instead",
        Hint::RestartOrDelete => "poweroff and resume it, or delete it",
        Hint::NameHost => "name a host that is on, or leave it to the scheduler",
        Hint::ListHosts => "the list of hosts shows which there are",
        Hint::ListWildDomains => "the host's page lists its wild domains",
        Hint::EmptyHost => "migrate them away as from a fenced host, or forget them, and ask again",
        Hint::WaitForSweep => {
            "what VMs left there will be put away, and then it can be removed without stating that \
             it is fenced"
        }
        Hint::OtherHost => "name another host",
        Hint::OtherHostOrRoom => "choose another host, or free some capacity",
        Hint::MakeBridge => {
            "make the bridge on the host, or name another bridge. If it is there, its driver does \
             not see it: for kvm, bridge-check=off in the host's settings"
        }
        Hint::OtherHostOrBridge => {
            "make the bridge on that host, or name another host. If it is there, its driver does \
             not see it: for kvm, bridge-check=off in the host's settings"
        }
        Hint::HostOfSameDriver => "name a host with the same driver",
        Hint::ShowHost => "the host's page shows what the driver can do there",
        Hint::MovePoweredOff => {
            "the host's page shows what its driver can do; migrate-poweroff needs less"
        }
        Hint::BringHostBack => "bring the host back",
        Hint::BringBackOrFence => "bring the host back, or fence it",
        Hint::Fence => {
            "make sure that the host is off, then state that it is fenced; or wait until it is back"
        }
        Hint::MoveStorage => {
            "bring them to the same path on the new host, then state that the storage has moved"
        }
        Hint::MoveUnfenced => "move it without stating that its host is fenced",
        Hint::WaitThenMove => "wait until it is settled, then move it as usual",
        Hint::DeleteOrForget => "delete it; force forgets it all the same",
        Hint::RegisterImage => "register it as an image",
        Hint::ImageReady => "register the image, or wait until it is ready",
        Hint::ListImages => "the list of images shows which there are",
        Hint::ListDatastores => "the list of datastores shows which there are",
        Hint::ShowDatastore => "the datastore's page tells its directory",
        Hint::ListDrivers => "the list of drivers shows which there are",
        Hint::InspectDriver => {
            "the manifest in the driver's file says which capabilities it asks for"
        }
        Hint::NameGrants => {
            "look at what these commands run, and name all grants that the driver is to have"
        }
        Hint::ReplaceDriver => "to put this one in its place, say so: \"replace\": true",
        Hint::ListTokens => {
            "the list of tokens shows which there are; it can be asked for on the daemon's machine"
        }
        Hint::GiveName => "give the VM another name",
        Hint::AcceptChanges => {
            "change it at the hypervisor first, or accept the changes (`accept_changes` in the \
             body)"
        }
        Hint::NameDatastore => "name an image datastore",
        Hint::AddDatastore => "add a system datastore",
        Hint::ListRules => "the list of drivers shows which rules are bound",
        Hint::MendRules => "mend or replace the rules",
        Hint::BindRules => "install rules and bind them to the driver",
        Hint::DeployAndBindRules => "deploy it, and bind rules to the driver of its host",
        Hint::OtherVerb => "schedule another verb",
        Hint::AskThen => "somebody must look at that time: ask for the migration then",
        Hint::ChangeWhen => "change when",
        Hint::ChangePlan => "change what is planned",
        Hint::Unschedule => "take those back that are over: unschedule",
        Hint::ListSchedules => "the list of scheduled actions shows which there are",
        Hint::Reschedule => "reschedule it",
        Hint::SeeMisfire => "its misfire policy says how late it may be",
        Hint::RecoverRetry => "recover-retry sends its step again",
        Hint::RetryOrDelete => "recover-retry goes on, delete goes on and never gives up",
        Hint::RetryOrForce => {
            "recover-retry does it again and verifies; force takes your word for it"
        }
        Hint::ForceRecover => "force takes your word for it",
        Hint::AskAgainOrForce => "ask again, or force takes your word for it",
        Hint::ForceArrival => {
            "make sure of it at the other host, then force takes your word: a VM that runs twice \
             destroys its disks"
        }
        Hint::SeeRestored => {
            "the state of the restore tells which hosts are waited for; somebody who knows can \
             state that the record is right"
        }
        Hint::AcceptRecord => {
            "restore a newer backup; or make sure that this domain is not the VM, and state that \
             the record is right"
        }
    };
    text.to_owned()
}
