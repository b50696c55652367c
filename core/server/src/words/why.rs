//! Sentences on what a VM waits for.

use super::{Names, host};
use ostler_engine::{Done, LastError, Summary, WaitsFor};
use ostler_model::{HostId, Millis, Moment, Progress, StepKind};

/// The state and its reason.
pub(crate) fn summary(summary: &Summary) -> String {
    match summary {
        Summary::AtWork { state, operation, verb, undoing, at, of, step } => {
            let rolling = if *undoing { " (rolling back)" } else { "" };
            format!(
                "{state}: operation {operation} ({verb}){rolling}, step {at} of {of}: {}",
                words(*step, "the end")
            )
        }
        Summary::AtRest { state, reason, next } => {
            let planned =
                next.map(|(verb, at)| format!("; next by schedule: {verb} at {}", Moment::At(at)));
            format!("{state}: {}{}", reason.words(), planned.unwrap_or_default())
        }
    }
}

/// All that a VM waits for; none if it waits for nothing. `progress` and `queued` are about the
/// driver call.
pub(crate) fn waits_for(
    names: &dyn Names,
    waits: &[WaitsFor],
    progress: Option<&Progress>,
    queued: Option<Millis>,
) -> Option<String> {
    if waits.is_empty() {
        return None;
    }
    let mut text = waits.iter().map(|waits| event(names, waits)).collect::<Vec<_>>().join("; and ");
    if let Some(Progress { phase, done, total }) = progress {
        text.push_str(&format!("; {phase}: {done} of {total}"));
    }
    if let Some(so_far) = queued {
        text.push_str(&format!(
            "; it is not sent yet: for {so_far} it has waited for earlier calls of this driver and \
             host to end"
        ));
    }
    Some(text)
}

fn event(names: &dyn Names, waits: &WaitsFor) -> String {
    let named = |id: &Option<HostId>| {
        id.map_or_else(|| "the host".to_owned(), |id| format!("host {}", host(names, id)))
    };
    match waits {
        WaitsFor::EarlierCalls { calls, step } => {
            format!("earlier driver calls ({calls}) to return, before {}", words(*step, "the end"))
        }
        WaitsFor::GuestBooted => {
            "the guest to have booted, because a press during boot is lost".to_owned()
        }
        WaitsFor::Driver { call, attempt } => {
            format!("the driver to answer: {}, attempt {attempt}", done(names, call))
        }
        WaitsFor::NextAttempt(call) => format!("the next attempt of: {}", done(names, call)),
        WaitsFor::Confirmation { host, step } => {
            format!("{} to show whether this worked: {}", named(host), words(*step, "the end"))
        }
        WaitsFor::GuestOff => {
            "the guest to switch itself off; the power button was pressed once".to_owned()
        }
        WaitsFor::Arrival { host } => format!("the guest to have arrived at {}", named(host)),
        WaitsFor::Started => "the hypervisor to have started it".to_owned(),
        WaitsFor::StateAfterFailure { host } => {
            format!("{} to show in which state the failed step left the VM", named(host))
        }
        WaitsFor::Answer { host } => format!("{} to answer: it could not be asked", named(host)),
        WaitsFor::Reconciled => {
            "it to be known where this VM is by now: the store was restored from a backup"
                .to_owned()
        }
        WaitsFor::PersonAtDomain { domain, host: id } => {
            format!("a person to look at the domain {domain} on host {}", host(names, *id))
        }
        WaitsFor::PersonAtOwnDomain { host: id } => format!(
            "a person to look at its domain: on host {}, if it has not moved since",
            host(names, *id)
        ),
        WaitsFor::PersonAtGuest { host: id, crashed } => {
            let resume = if *crashed { "" } else { "resume it or " };
            format!(
                "a person to look at the guest on host {}, and to {resume}switch it off without \
                 asking it",
                host(names, *id)
            )
        }
        WaitsFor::Scheduler => "the scheduler to find a host".to_owned(),
        WaitsFor::SchedulerMoves => "the scheduler to move it to another host".to_owned(),
        WaitsFor::Recovery { cold } => {
            let drops = "; resume-cold drops its saved memory and starts it from its disks";
            let cold = if *cold { drops } else { "" };
            format!("somebody to say what becomes of it: recover, or delete{cold}")
        }
        WaitsFor::BothHosts { hosts: [here, other] } => format!(
            "hosts {} and {} both to be seen: a migration ended without a word, and the guest is \
             at one of them. Somebody who knows that it arrived states recover-success, that it \
             did not recover-failure",
            host(names, *here),
            host(names, *other)
        ),
        WaitsFor::Host { host: id } => format!("host {} to be seen", host(names, *id)),
        WaitsFor::Resume => "somebody to resume it. If its saved memory cannot be restored: \
                             resume-cold drops that, and starts it from its disks"
            .to_owned(),
        WaitsFor::Leftovers { hosts } => {
            let hosts: Vec<String> = hosts.iter().map(|id| host(names, *id)).collect();
            format!("host {} to be seen: what it left there is put away then", hosts.join(", "))
        }
    }
}

/// A step with its item, its place and its driver.
fn done(names: &dyn Names, Done { step, item, host: at, driver }: &Done) -> String {
    let item = item.as_ref().map(|item| format!(" [{item}]")).unwrap_or_default();
    let place = match (step, at) {
        (None, _) => String::new(),
        (Some(_), None) => " on the daemon's machine".to_owned(),
        (Some(_), Some(id)) => format!(" on host {}", host(names, *id)),
    };
    let driver =
        driver.as_ref().map(|driver| format!(" through driver {driver}")).unwrap_or_default();
    format!("{}{item}{place}{driver}", words(*step, "the end"))
}

fn words(step: Option<StepKind>, end: &'static str) -> &'static str {
    step.map_or(end, StepKind::words)
}

/// The last error.
pub(crate) fn last_error(error: &LastError) -> String {
    match error {
        LastError::Now(error) => error.told(),
        LastError::Failed { operation, verb, step, undoing, error } => {
            let (step, error) = (words(*step, "its end"), error.told());
            match undoing {
                false => format!("operation {operation} ({verb}) failed while {step}: {error}"),
                true => format!(
                    "operation {operation} ({verb}) failed, and so did its rollback, while {step}: \
                     {error}"
                ),
            }
        }
        LastError::Earlier { operation, verb, step, error } => {
            let verb = verb.map_or_else(|| "create".to_owned(), |verb| verb.to_string());
            let step = step.map(|step| format!(" at step {step}")).unwrap_or_default();
            format!("operation {operation} ({verb}) failed{step}: {error}")
        }
    }
}
