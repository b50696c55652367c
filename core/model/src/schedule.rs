//! Scheduled actions of a VM: when the next is due, what is too late, and how the last one went.
//!
//! **Invariant:** nothing here asks what time it is. Whoever decides is woken at `next`, hands in the time, and is told what to do; the
//! same record and the same time always give the same answer, because the rules of time zones come with the program.

mod calendar;
mod when;
mod zone;

#[cfg(test)]
mod tests;

pub use calendar::{MonthDay, Period, TimeOfDay, Weekday, YearDay};
pub use when::{CronExpr, LocalTime, Moment, When};
pub use zone::TimeZoneName;

use crate::{Millis, OperationId, Timestamp, Verb};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Most scheduled actions one VM may have. They are part of its record, which is written as a whole with each commit.
pub const SCHEDULES_MAX: usize = 64;

/// A scheduled action of one VM. Unique within the VM, never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct ScheduleId(pub u32);

impl ScheduleId {
    /// The one after this. Saturates.
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

/// Something to be done to a VM later, once or again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Its id.
    pub id: ScheduleId,
    /// What is asked of the VM.
    pub verb: Verb,
    /// When.
    #[serde(deserialize_with = "when::kept")]
    pub when: When,
    /// The zone whose clocks `when` goes by.
    #[serde(default, deserialize_with = "zone::kept")]
    pub zone: TimeZoneName,
    /// What becomes of a firing that is late.
    #[serde(default)]
    pub misfire: Misfire,
    /// Not before this moment; `every` counts from it.
    #[serde(default)]
    pub from: Option<Timestamp>,
    /// Not after this moment. A firing that was due by then may be late.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// How often at most. What was missed does not count.
    #[serde(default)]
    pub times: Option<u32>,
    /// Who made it.
    pub by: String,
    /// When it is due next; none if it is over.
    pub next: Option<Timestamp>,
    /// How often it was due and begun, or refused.
    pub fired: u32,
    /// How it went last.
    pub state: ScheduleState,
}

/// How the last firing went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ScheduleState {
    /// There was none yet.
    #[default]
    Waiting,
    /// It is under way.
    Running {
        /// Since when.
        at: Timestamp,
        /// As which operation.
        operation: OperationId,
    },
    /// It succeeded.
    Done {
        /// When it ended.
        at: Timestamp,
        /// Which operation that was.
        operation: OperationId,
    },
    /// It was refused, failed or missed.
    Failed {
        /// When.
        at: Timestamp,
        /// Why.
        why: String,
    },
}

/// What becomes of a firing that is late, because the daemon was down or the VM busy. Written `skip 1h` or `run-once`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Misfire {
    /// Done if it is at most this late, else missed: it shows as failed, and the next one stands.
    Skip {
        /// From a minute to 366 days. Below a minute, every firing would be at the mercy of a busy machine.
        grace: Millis,
    },
    /// Done once, however late.
    RunOnce,
}

impl Default for Misfire {
    /// An hour, for one-off and repeated ones alike: it outlasts an upgrade of the daemon or an operation in hand, and what was meant
    /// for the night does not switch off a VM in the morning.
    fn default() -> Self {
        Self::Skip { grace: Millis::secs(3600) }
    }
}

impl Misfire {
    fn check(self) -> Result<(), InvalidSchedule> {
        match self {
            Self::Skip { grace } if Period::new(grace).is_none() => {
                Err(InvalidSchedule::new("misfire", format!("a grace of {} is not from 1m to 366d", calendar::show_length(grace))))
            }
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
            InvalidSchedule::new("misfire", format!("{text:?} is not known: write skip, skip 15m (with m, h or d) or run-once"))
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

/// What is to be done about a schedule now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Do it. Of several that are due at once, this stands for all.
    Fire {
        /// When it was due; of several, the earliest that is not too late.
        planned: Timestamp,
        /// The last moment to begin it, if there is one: a VM that is busy until later has missed it.
        latest: Option<Timestamp>,
    },
    /// It is too late for it: see [`Schedule::missed`].
    Missed {
        /// When it was due.
        planned: Timestamp,
    },
}

/// Why a schedule is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct InvalidSchedule {
    /// The field, as written in a file.
    pub field: String,
    /// What is wrong and what is allowed.
    pub problem: String,
}

impl InvalidSchedule {
    fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

impl Schedule {
    /// In UTC, without end, with the default for what is late. `next` is still to be set, to what [`Self::first`] says.
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

    /// When it is due first, were it made or changed now. Later than now; `every` counts from `from`, or else from now.
    ///
    /// # Errors
    /// It would never be due, or a field is out of its bounds.
    pub fn first(&self, now: Timestamp) -> Result<Timestamp, InvalidSchedule> {
        self.misfire.check()?;
        if self.times.is_some_and(|times| times <= self.fired) {
            return Err(InvalidSchedule::new("times", format!("must be above {}, which is how often it was done", self.fired)));
        }
        let zone = self.zone.rules()?;
        let after = self.from.map_or(now, |from| now.max(Timestamp(from.0.saturating_sub(1))));
        let anchor = match (&self.when, self.from) {
            (_, Some(from)) => from,
            (When::Every { period }, None) => now.plus(period.millis()),
            (_, None) => now,
        };
        let first = self.when.next(&zone, after, anchor).ok_or_else(|| {
            let why = if self.when.repeats() { "never occurs" } else { "is not in the future, or lies before \"from\"" };
            InvalidSchedule::new("when", format!("{} in {} {why}", self.when, self.zone))
        })?;
        match self.until {
            Some(until) if until < first => {
                let problem = format!("{} is before it would be due first, {}", Moment::At(until), Moment::At(first));
                Err(InvalidSchedule::new("until", problem))
            }
            _ => Ok(first),
        }
    }

    /// Whether this version can tell when it is due. One that was made by another may not be.
    ///
    /// # Errors
    /// It does not know the zone, or does not understand the time.
    pub fn check(&self) -> Result<(), InvalidSchedule> {
        self.zone.rules()?;
        match &self.when {
            When::Unread { text } => Err(InvalidSchedule::new("when", format!("{text:?} is not understood by this version"))),
            When::Once { .. }
            | When::Every { .. }
            | When::Daily { .. }
            | When::Weekly { .. }
            | When::Monthly { .. }
            | When::Yearly { .. }
            | When::Cron { .. } => Ok(()),
        }
    }

    /// What is to be done now; nothing while it is not due.
    #[must_use]
    pub fn due(&self, now: Timestamp) -> Option<Due> {
        let next = self.next.filter(|next| *next <= now)?;
        let Misfire::Skip { grace } = self.misfire else {
            return Some(Due::Fire { planned: next, latest: None });
        };
        let oldest = Timestamp(now.0.saturating_sub(grace.0));
        // After a long absence the one that stands in the record is too late, but a later one need not be.
        let planned = if next >= oldest { Some(next) } else { self.after(Timestamp(oldest.0 - 1)) };
        Some(match planned.filter(|planned| *planned <= now) {
            Some(planned) => Due::Fire { planned, latest: Some(planned.plus(grace)) },
            None => Due::Missed { planned: next },
        })
    }

    /// Sets `next` to the first occurrence after both now and the one that stands, or to none if it is over. All between are left out.
    pub fn advance(&mut self, now: Timestamp) {
        let spent = self.times.is_some_and(|times| times <= self.fired);
        self.next = self.next.filter(|_| !spent).and_then(|next| self.after(next.max(now)));
    }

    /// It was due, and the operation has begun.
    pub fn began(&mut self, now: Timestamp, operation: OperationId) {
        self.fired = self.fired.saturating_add(1);
        self.state = ScheduleState::Running { at: now, operation };
        self.advance(now);
    }

    /// It was due, and the VM refused it.
    pub fn refused(&mut self, now: Timestamp, why: impl Into<String>) {
        self.fired = self.fired.saturating_add(1);
        self.state = ScheduleState::Failed { at: now, why: why.into() };
        self.advance(now);
    }

    /// It was due, and it is too late for it now.
    pub fn missed(&mut self, now: Timestamp) {
        let planned = self.next.map_or_else(String::new, |next| format!(": it was due at {}", Moment::At(next)));
        let late = match self.misfire {
            Misfire::Skip { grace } => format!(", more than {} before", calendar::show_length(grace)),
            Misfire::RunOnce => String::new(),
        };
        let why = format!("missed{planned}{late}");
        self.state = ScheduleState::Failed { at: now, why };
        self.advance(now);
    }

    /// The operation that it began has ended, for the reason given if it failed. Whether it was one that
    /// this schedule waited for.
    pub fn ended(&mut self, now: Timestamp, operation: OperationId, outcome: Result<(), String>) -> bool {
        let ours = matches!(self.state, ScheduleState::Running { operation: running, .. } if running == operation);
        if ours {
            self.state = match outcome {
                Ok(()) => ScheduleState::Done { at: now, operation },
                Err(why) => ScheduleState::Failed { at: now, why },
            };
        }
        ours
    }

    /// When it will be due, beginning with `next`; to its end, if it has one. For showing: what is late is not thought of.
    pub fn upcoming(&self) -> impl Iterator<Item = Timestamp> + '_ {
        let left = self.times.map_or(u32::MAX, |times| times.saturating_sub(self.fired));
        std::iter::successors(self.next, |at| self.after(*at)).take(left as usize)
    }

    /// The first occurrence after `at` that is not after its end. Of `every`, on the grid that `next` is on.
    fn after(&self, at: Timestamp) -> Option<Timestamp> {
        let zone = self.zone.rules().ok()?;
        let next = self.when.next(&zone, at, self.next.unwrap_or(at))?;
        self.until.is_none_or(|until| next <= until).then_some(next)
    }
}
