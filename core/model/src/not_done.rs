//! What came of a scheduled action, as data. It is stored with the VM and in the event feed.
//!
//! Earlier versions stored a sentence. Such rows stay readable: the sentence is kept as it is
//! ([`NotDone::Told`]). A reason that only a newer version knows is read as a sentence that says
//! so, because one unknown reason must not make a VM unreadable.

use crate::{DriverError, Millis, OperationId, Refusal, Timestamp, Verb};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

/// Shown in the place of a reason that a newer version has written.
const NEWER: &str = "for a reason that this version of Ostler does not know";

/// The reason why a scheduled action was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", from = "Stored<NotDoneKnown>")]
pub enum NotDone {
    /// The VM refused it.
    Refused(Refusal),
    /// It was too late to begin.
    Missed {
        /// When it was due.
        planned: Option<Timestamp>,
        /// How late it may be, if there is a limit.
        grace: Option<Millis>,
    },
    /// Its operation failed.
    Failed(DriverError),
    /// Its operation was overtaken by this one.
    Overtaken(OperationId),
    /// A sentence of an earlier version.
    #[serde(untagged)]
    Told(String),
}

/// What happened when a scheduled action was due, for its event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", from = "Stored<CameKnown>")]
pub enum Came {
    /// It began, and is this operation; or the VM was so already.
    Began {
        /// The verb.
        verb: Verb,
        /// The operation; none if nothing was left to do.
        operation: Option<OperationId>,
    },
    /// Its operation is done.
    Done(OperationId),
    /// It was not done.
    NotDone(NotDone),
    /// A sentence of an earlier version.
    #[serde(untagged)]
    Told(String),
}

/// A row as it may be stored: a sentence of an earlier version, a reason, or something that only a
/// newer version knows.
#[derive(Deserialize)]
#[serde(untagged)]
enum Stored<T> {
    Told(String),
    Known(T),
    Newer(IgnoredAny),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum NotDoneKnown {
    Refused(Refusal),
    Missed { planned: Option<Timestamp>, grace: Option<Millis> },
    Failed(DriverError),
    Overtaken(OperationId),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum CameKnown {
    Began { verb: Verb, operation: Option<OperationId> },
    Done(OperationId),
    NotDone(NotDone),
}

impl From<Stored<NotDoneKnown>> for NotDone {
    fn from(stored: Stored<NotDoneKnown>) -> Self {
        match stored {
            Stored::Told(text) => Self::Told(text),
            Stored::Known(NotDoneKnown::Refused(refusal)) => Self::Refused(refusal),
            Stored::Known(NotDoneKnown::Missed { planned, grace }) => {
                Self::Missed { planned, grace }
            }
            Stored::Known(NotDoneKnown::Failed(error)) => Self::Failed(error),
            Stored::Known(NotDoneKnown::Overtaken(by)) => Self::Overtaken(by),
            Stored::Newer(_) => Self::Told(NEWER.to_owned()),
        }
    }
}

impl From<Stored<CameKnown>> for Came {
    fn from(stored: Stored<CameKnown>) -> Self {
        match stored {
            Stored::Told(text) => Self::Told(text),
            Stored::Known(CameKnown::Began { verb, operation }) => Self::Began { verb, operation },
            Stored::Known(CameKnown::Done(operation)) => Self::Done(operation),
            Stored::Known(CameKnown::NotDone(why)) => Self::NotDone(why),
            Stored::Newer(_) => Self::Told(NEWER.to_owned()),
        }
    }
}

impl From<NotDone> for Came {
    fn from(why: NotDone) -> Self {
        Self::NotDone(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cause, EventKind, Hint, HostId, RefusalKind, ScheduleState, VmId};
    use serde_json::{Value, from_value, json, to_value};

    fn refusal() -> Refusal {
        let cause = Cause::NoSuchHost { host: HostId(3) };
        Refusal {
            kind: RefusalKind::NoHost,
            verb: Verb::Deploy,
            vm: VmId(7),
            cause,
            hint: Hint::ListHosts,
        }
    }

    #[test]
    fn rows_of_earlier_versions_are_read_as_they_were_told() {
        let state: ScheduleState = from_value(
            json!({ "kind": "failed", "at": 5, "why": "no-host: VM 7: there is no host 3" }),
        )
        .expect("an old row");
        let why = NotDone::Told("no-host: VM 7: there is no host 3".to_owned());
        assert_eq!(state, ScheduleState::Failed { at: Timestamp(5), why });
        let old = json!({ "kind": "scheduled", "schedule": 1, "outcome": "failed", "detail": "host down" });
        let event: EventKind = from_value(old).expect("an old row");
        let came = Came::Told("host down".to_owned());
        assert_eq!(
            event,
            EventKind::Scheduled { schedule: 1, outcome: "failed".to_owned(), detail: came }
        );
    }

    #[test]
    fn every_reason_is_read_back() {
        let reasons = [
            NotDone::Refused(refusal()),
            NotDone::Missed { planned: Some(Timestamp(4)), grace: None },
            NotDone::Failed(DriverError::retry("no-memory", "host full")),
            NotDone::Overtaken(OperationId(9)),
            NotDone::Told("no".to_owned()),
        ];
        let back =
            |came: &Came| from_value::<Came>(to_value(came).expect("is written")).expect("is read");
        for why in reasons {
            assert_eq!(
                from_value::<NotDone>(to_value(&why).expect("is written")).expect("is read"),
                why
            );
            // A sentence of an earlier version is told of the whole.
            let told = matches!(why, NotDone::Told(_));
            let came = Came::NotDone(why);
            assert_eq!(back(&came), came, "told: {told}");
        }
        for came in [
            Came::Began { verb: Verb::Stop, operation: None },
            Came::Done(OperationId(2)),
            Came::Told("x".to_owned()),
        ] {
            assert_eq!(back(&came), came);
        }
    }

    #[test]
    fn a_reason_of_a_newer_version_does_not_make_a_vm_unreadable() {
        let mut newer = to_value(NotDone::Refused(refusal())).expect("is written");
        newer["refused"]["cause"] = json!({ "phase-of-the-moon": { "moon": 3 } });
        let why: NotDone = from_value(newer).expect("is read");
        assert_eq!(why, NotDone::Told(NEWER.to_owned()));
        assert_eq!(
            from_value::<Came>(json!({ "eaten": [1, Value::Null] })).expect("is read"),
            Came::Told(NEWER.to_owned())
        );
    }
}
