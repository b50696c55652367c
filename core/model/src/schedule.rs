//! Scheduled actions of a VM: when the next one is due, when it is too late, and how the last one
//! went.
//!
//! **Invariant:** nothing here asks for the current time. The caller is woken at `next`, passes the
//! time, and gets the action to do. The same record and the same time always give the same answer,
//! because the rules of time zones come with the program.

mod calendar;
mod when;
mod zone;

#[cfg(test)]
mod occurrences;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use calendar::{MonthDay, Period, TimeOfDay, Weekday, YearDay};
pub use when::{CronExpr, LocalTime, Moment, When};
pub use zone::TimeZoneName;

use crate::{Millis, NotDone, OperationId, Timestamp, Verb};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Most scheduled actions of one VM. They are part of its record, and each commit writes the whole
/// record.
pub const SCHEDULES_MAX: usize = 64;

/// The number of a scheduled action. Unique within the VM, never used again.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct ScheduleId(pub u32);

impl ScheduleId {
    /// The next number. Saturates.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for ScheduleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ScheduleId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// The schedule of an action that is done to a VM later, once or repeatedly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Its id.
    pub id: ScheduleId,
    /// The verb that is asked of the VM.
    pub verb: Verb,
    /// When it is due.
    #[serde(deserialize_with = "when::kept")]
    pub when: When,
    /// The time zone in which `when` is read.
    #[serde(default, deserialize_with = "zone::kept")]
    pub zone: TimeZoneName,
    /// How a late run is handled.
    #[serde(default)]
    pub misfire: Misfire,
    /// It is not due before this moment. `every` counts from this moment.
    #[serde(default)]
    pub from: Option<Timestamp>,
    /// It is not due after this moment. A run that was due by then may still begin late.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// How often it runs at most. Missed runs do not count.
    #[serde(default)]
    pub times: Option<u32>,
    /// Who made it.
    pub by: String,
    /// When it is due next; none if it has ended.
    pub next: Option<Timestamp>,
    /// How often it was begun or refused.
    pub fired: u32,
    /// How the last run went.
    pub state: ScheduleState,
}

/// How the last run went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ScheduleState {
    /// There was no run yet.
    #[default]
    Waiting,
    /// It is running.
    Running {
        /// When it began.
        at: Timestamp,
        /// The operation that runs.
        operation: OperationId,
    },
    /// It succeeded.
    Done {
        /// When it ended.
        at: Timestamp,
        /// The operation that succeeded.
        operation: OperationId,
    },
    /// It was refused, failed or missed.
    Failed {
        /// When it was refused, failed or was missed.
        at: Timestamp,
        /// The reason.
        why: NotDone,
    },
}

/// How a late run is handled. A run is late if the daemon was down or the VM was busy. Written
/// `skip 1h` or `run-once`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Misfire {
    /// It is done if it is at most this late. Otherwise it is missed: it shows as failed, and the
    /// next run stays due.
    Skip {
        /// From one minute to 366 days. With less than a minute, any delay on a busy machine would
        /// make a run count as missed.
        grace: Millis,
    },
    /// It is done once, even if it is very late.
    RunOnce,
}

impl Default for Misfire {
    /// One hour, for schedules that run once and for repeated ones. This is longer than an upgrade
    /// of the daemon or a running operation. It is short enough that an action for the night does
    /// not switch off a VM in the morning.
    fn default() -> Self {
        Self::Skip { grace: Millis::secs(3600) }
    }
}

impl Misfire {
    fn check(self) -> Result<(), InvalidSchedule> {
        match self {
            Self::Skip { grace } if Period::new(grace).is_none() => Err(InvalidSchedule::new(
                "misfire",
                format!("a grace of {} is not from 1m to 366d", calendar::show_length(grace)),
            )),
            Self::Skip { .. } | Self::RunOnce => Ok(()),
        }
    }
}

impl FromStr for Misfire {
    type Err = InvalidSchedule;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let misfire = match words.as_slice() {
            ["run-once"] => Some(Self::RunOnce),
            ["skip"] => Some(Self::default()),
            ["skip", grace] => calendar::parse_length(grace).map(|grace| Self::Skip { grace }),
            _ => None,
        };
        let misfire = misfire.ok_or_else(|| {
            InvalidSchedule::new(
                "misfire",
                format!("{text:?} is not known: write skip, skip 15m (with m, h or d) or run-once"),
            )
        })?;
        misfire.check()?;
        Ok(misfire)
    }
}

impl fmt::Display for Misfire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skip { grace } => write!(f, "skip {}", calendar::show_length(*grace)),
            Self::RunOnce => f.write_str("run-once"),
        }
    }
}

/// The action that a schedule needs now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Run the action. If several runs are due at once, this one run stands for all.
    Fire {
        /// When it was due; if several runs are due, the earliest that is not too late.
        planned: Timestamp,
        /// The last moment to begin it, if there is one. If the VM is busy for longer, the run is
        /// missed.
        latest: Option<Timestamp>,
    },
    /// It is too late for the run: call [`Schedule::missed`].
    Missed {
        /// When it was due.
        planned: Timestamp,
    },
}

/// Why a schedule is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct InvalidSchedule {
    /// The field, as written in a file.
    pub field: String,
    /// The problem, and the values that are allowed.
    pub problem: String,
}

impl InvalidSchedule {
    fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

impl Schedule {
    /// A schedule in UTC, without an end, with the default for late runs. The caller must set
    /// `next` to the result of [`Self::first`].
    #[must_use]
    pub fn new(id: ScheduleId, verb: Verb, when: When, by: impl Into<String>) -> Self {
        Self {
            id,
            verb,
            when,
            zone: TimeZoneName::default(),
            misfire: Misfire::default(),
            from: None,
            until: None,
            times: None,
            by: by.into(),
            next: None,
            fired: 0,
            state: ScheduleState::default(),
        }
    }

    /// When it would be due first if it were made or changed now. This is later than `now`. `every`
    /// counts from `from`, or else from `now`.
    ///
    /// # Errors
    /// If it would never be due, or a field is out of its bounds.
    pub fn first(&self, now: Timestamp) -> Result<Timestamp, InvalidSchedule> {
        self.misfire.check()?;
        if self.times.is_some_and(|times| times <= self.fired) {
            return Err(InvalidSchedule::new(
                "times",
                format!("must be above {}, which is how often it was done", self.fired),
            ));
        }
        let zone = self.zone.rules()?;
        let after = self.from.map_or(now, |from| now.max(Timestamp(from.0.saturating_sub(1))));
        let anchor = match (&self.when, self.from) {
            (_, Some(from)) => from,
            (When::Every { period }, None) => now.plus(period.millis()),
            (_, None) => now,
        };
        let first = self.when.next(&zone, after, anchor).ok_or_else(|| {
            let why = if self.when.repeats() {
                "never occurs"
            } else {
                "is not in the future, or lies before \"from\""
            };
            InvalidSchedule::new("when", format!("{} in {} {why}", self.when, self.zone))
        })?;
        match self.until {
            Some(until) if until < first => {
                let problem = format!(
                    "{} is before it would be due first, {}",
                    Moment::At(until),
                    Moment::At(first)
                );
                Err(InvalidSchedule::new("until", problem))
            }
            _ => Ok(first),
        }
    }

    /// Checks that this version of Ostler can tell when it is due. A schedule that another version
    /// wrote may not be understood.
    ///
    /// # Errors
    /// If this version does not know the zone, or does not understand the time.
    pub fn check(&self) -> Result<(), InvalidSchedule> {
        self.zone.rules()?;
        match &self.when {
            When::Unread { text } => Err(InvalidSchedule::new(
                "when",
                format!("{text:?} is not understood by this version"),
            )),
            When::Once { .. }
            | When::Every { .. }
            | When::Daily { .. }
            | When::Weekly { .. }
            | When::Monthly { .. }
            | When::Yearly { .. }
            | When::Cron { .. } => Ok(()),
        }
    }

    /// The action that it needs now; none while it is not due.
    #[must_use]
    pub fn due(&self, now: Timestamp) -> Option<Due> {
        let next = self.next.filter(|next| *next <= now)?;
        let Misfire::Skip { grace } = self.misfire else {
            return Some(Due::Fire { planned: next, latest: None });
        };
        let oldest = Timestamp(now.0.saturating_sub(grace.0));
        // After the daemon was down for long, the run in the record is too late, but a later run
        // may not be.
        let planned = if next >= oldest { Some(next) } else { self.after(Timestamp(oldest.0 - 1)) };
        Some(match planned.filter(|planned| *planned <= now) {
            Some(planned) => Due::Fire { planned, latest: Some(planned.plus(grace)) },
            None => Due::Missed { planned: next },
        })
    }

    /// Sets `next` to the first occurrence after both `now` and the old `next`, or to none if the
    /// schedule has ended. Occurrences between the two are skipped.
    pub fn advance(&mut self, now: Timestamp) {
        let spent = self.times.is_some_and(|times| times <= self.fired);
        self.next = self.next.filter(|_| !spent).and_then(|next| self.after(next.max(now)));
    }

    /// Notes that it was due and that the operation has begun.
    pub fn began(&mut self, now: Timestamp, operation: OperationId) {
        self.fired = self.fired.saturating_add(1);
        self.state = ScheduleState::Running { at: now, operation };
        self.advance(now);
    }

    /// Notes that it was due and that the VM refused it.
    pub fn refused(&mut self, now: Timestamp, why: NotDone) {
        self.fired = self.fired.saturating_add(1);
        self.state = ScheduleState::Failed { at: now, why };
        self.advance(now);
    }

    /// Notes that it was due and that it is too late for it now.
    pub fn missed(&mut self, now: Timestamp) {
        let grace = match self.misfire {
            Misfire::Skip { grace } => Some(grace),
            Misfire::RunOnce => None,
        };
        self.state =
            ScheduleState::Failed { at: now, why: NotDone::Missed { planned: self.next, grace } };
        self.advance(now);
    }

    /// Notes that an operation has ended; `outcome` holds the reason if it failed. Returns whether
    /// this schedule waited for that operation.
    pub fn ended(
        &mut self,
        now: Timestamp,
        operation: OperationId,
        outcome: Result<(), NotDone>,
    ) -> bool {
        let ours = matches!(self.state, ScheduleState::Running { operation: running, .. } if running == operation);
        if ours {
            self.state = match outcome {
                Ok(()) => ScheduleState::Done { at: now, operation },
                Err(why) => ScheduleState::Failed { at: now, why },
            };
        }
        ours
    }

    /// The moments at which it will be due, beginning with `next`, up to its end if it has one. For
    /// display only: late runs are not considered.
    pub fn upcoming(&self) -> impl Iterator<Item = Timestamp> + '_ {
        let left = self.times.map_or(u32::MAX, |times| times.saturating_sub(self.fired));
        std::iter::successors(self.next, |at| self.after(*at)).take(left as usize)
    }

    /// The first occurrence after `at` that is not after the schedule's end. `every` stays on the
    /// grid of `next`.
    fn after(&self, at: Timestamp) -> Option<Timestamp> {
        let zone = self.zone.rules().ok()?;
        let next = self.when.next(&zone, at, self.next.unwrap_or(at))?;
        self.until.is_none_or(|until| next <= until).then_some(next)
    }
}
