//! What a migration does next: a table over the states of the domain on both hosts.

use crate::domain_ops::Order;
use crate::stamp::Stamp;
use ostler_model::{DriverError, ErrorKind, Identity, Power};

/// The state of the domain on one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(super) power: Power,
    pub(super) stamp: Option<Stamp>,
    pub(super) work: Work,
}

/// The kind of job that is at work on a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Nothing.
    Nothing,
    /// The domain moves, out or in.
    Migration,
    /// Something else.
    Other,
}

/// The next action of the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// It has moved.
    Done,
    /// A job is at work.
    Await,
    /// No job is at work, but a daemon may be about to take something back.
    Settle,
    /// Remove the domain at the destination.
    ClearThere,
    /// Remove the domain at the source: it runs at the destination.
    ClearHere,
    /// Resume it at the source: it was paused for a move that ended.
    ResumeHere,
    /// Resume it at the destination: it arrived and was left paused.
    ResumeThere,
    /// Send it.
    Send,
}

/// The whole table. `there` was looked at before `here`. So a domain that is seen running in both
/// looks runs on both hosts: it has not moved between the looks.
pub(super) fn decide(
    order: &Order,
    identity: &Identity,
    there: Option<&Standing>,
    here: Option<&Standing>,
    settled: bool,
) -> Result<Next, DriverError> {
    let stamp_here = here.map(|here| order.may_touch_stamped(here.stamp.as_ref())).transpose()?;
    let stamp_there =
        there.map(|there| order.may_touch_stamped(there.stamp.as_ref())).transpose()?;
    let patiently = |next| if settled { next } else { Next::Settle };
    let (Some(there), Some(stamp_there)) = (there, stamp_there) else {
        return from_here(order, here.zip(stamp_here), settled);
    };
    if stamp_there.identity != *identity {
        return match (there.power, here) {
            (Power::Off, Some(_)) => Ok(Next::ClearThere),
            (Power::Off, None) => Err(not_here()),
            (Power::Running | Power::Paused | Power::Crashed, _) => Err(DriverError::refused(
                "older-generation",
                "an older placement of this VM is there: remove it first",
            )),
        };
    }
    let Some(here) = here else {
        return Ok(match there.power {
            // It arrived. Its state since then does not matter.
            Power::Running | Power::Crashed | Power::Off => Next::Done,
            Power::Paused => patiently(Next::ResumeThere),
        });
    };
    if here.work == Work::Migration {
        return Ok(Next::Await);
    }
    match (there.power, here.power) {
        (Power::Running | Power::Crashed, Power::Running) => Err(DriverError::unknown(
            "runs-twice",
            "the domain is seen running on both hosts: look at it, and stop one",
        )),
        (Power::Running | Power::Crashed, Power::Paused | Power::Off | Power::Crashed) => {
            Ok(Next::ClearHere)
        }
        // Its memory arrived only in part, or arrived without this host hearing of it. The guest
        // has not run there.
        (Power::Paused, _) => Ok(patiently(Next::ClearThere)),
        // libvirt makes the definition there when the domain arrives. The domain runs on here, so
        // it did not stay there.
        (Power::Off, Power::Running) => Ok(Next::ClearThere),
        (Power::Off, Power::Off | Power::Crashed) => Ok(Next::ClearHere),
        // The guest may have run there. If it has, resuming its old memory here would destroy its
        // disks. If it has not, removing it here would lose its memory. An operator must decide.
        (Power::Off, Power::Paused) => {
            let detail = "the domain stands still here and is off at its destination, where it may \
                          have run: look at both";
            Err(DriverError::unknown("in-doubt", detail))
        }
    }
}

/// The decision if the destination has no such domain.
fn from_here(
    order: &Order,
    here: Option<(&Standing, Stamp)>,
    settled: bool,
) -> Result<Next, DriverError> {
    let Some((here, stamp)) = here else { return Err(not_here()) };
    let ours = stamp.job.as_ref() == Some(&order.key);
    match (here.work, here.power) {
        (Work::Migration, _) if ours => Ok(Next::Await),
        (Work::Migration | Work::Other, _) => {
            Err(DriverError::retry("busy", "something else is at work on this domain"))
        }
        (Work::Nothing, Power::Running) => Ok(Next::Send),
        (Work::Nothing, Power::Paused) if ours => {
            Ok(if settled { Next::ResumeHere } else { Next::Settle })
        }
        (Work::Nothing, Power::Paused) => Err(DriverError::refused(
            "paused",
            "the domain is paused: resume it first, or suspend it and move it then",
        )),
        (Work::Nothing, Power::Off) => {
            Err(DriverError::new(ErrorKind::Gone, "not-running", "the domain is off"))
        }
        (Work::Nothing, Power::Crashed) => {
            Err(DriverError::refused("crashed", "the guest has crashed: there is nothing to move"))
        }
    }
}

pub(super) fn not_here() -> DriverError {
    DriverError::new(ErrorKind::Gone, "no-domain", "the domain is on neither host")
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
