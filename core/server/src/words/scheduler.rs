//! Why the scheduler does not place a VM, a line for each host.

use super::{Names, claim, host, refusal, resource_refused};
use ostler_engine::{Declined, Waits, WhyNot};
use ostler_model::Unfit;

/// One line.
pub(crate) fn waits(names: &dyn Names, waits: &Waits) -> String {
    match waits {
        Waits::Unreconciled => {
            "it came back with a backup, and may be running somewhere".to_owned()
        }
        Waits::Unseen => {
            "it is moved once it is seen again, or at once as from a fenced host: its host cannot \
             be asked"
                .to_owned()
        }
        Waits::HomeCrowded(most) => {
            format!("its host: {}", why_not(names, &WhyNot::Crowded(*most)))
        }
        Waits::NoStorage => unfit(&Unfit::NoStorage),
        Waits::NoHosts => "there is no host that is on: add one, or switch one on".to_owned(),
        Waits::NotOn(only) => format!("{only}: the one host it asks for is not on"),
        Waits::Host(name, why) => format!("{name}: {}", why_not(names, why)),
        Waits::More(hosts) => {
            format!("and {hosts} more hosts that are too full, cannot be asked or do not fit it")
        }
        Waits::Refused(why) => declined(names, why),
        Waits::WouldGo(id) => format!("{}: has room, and would be chosen now", host(names, *id)),
    }
}

fn why_not(names: &dyn Names, why: &WhyNot) -> String {
    match why {
        WhyNot::Silent(error) => format!("cannot be asked ({error})"),
        WhyNot::Unfit(why) => unfit(why),
        WhyNot::Refused(why) => {
            format!("it was refused there a moment ago: {}", declined(names, why))
        }
        WhyNot::Crowded(most) => format!("{most} VMs move to or from it already"),
        WhyNot::Here => "it is there now".to_owned(),
        WhyNot::OtherDriver { has, needs } => format!("has driver {has}, not {needs}"),
        WhyNot::TooFull { free, needed } => format!(
            "too full (free: {} CPUs and {} MiB; needed: {} CPUs and {} MiB)",
            free.cpus(),
            free.memory_mib,
            needed.cpus(),
            needed.memory_mib
        ),
    }
}

fn declined(names: &dyn Names, why: &Declined) -> String {
    match why {
        Declined::Refused(refused) => refusal(names, refused),
        Declined::Resource(refused) => resource_refused(names, refused),
        Declined::Taken(refused) => claim(names, refused),
        Declined::Failed(error) => error.clone(),
    }
}

/// Why a host does not fit a VM.
pub(super) fn unfit(why: &Unfit) -> String {
    match why {
        Unfit::NoHypervisor => "it has no hypervisor".to_owned(),
        Unfit::NoStorage => "there is no system datastore; add one".to_owned(),
        Unfit::Leftover => {
            "what the VM left there is not put away yet; that is done as soon as the host is seen"
                .to_owned()
        }
        Unfit::OneHypervisor(other) => {
            format!("it is the same hypervisor as host {other}: remove one of the two")
        }
        Unfit::NoBridge(bridge) => format!("it has no bridge {bridge}"),
        Unfit::OneFileSystem(other) => format!(
            "it is reached as host {other} is, so both see the same files in the VM's datastore, \
             which is not marked as shared: add it as shared, or give the hosts transports of \
             their own"
        ),
    }
}
