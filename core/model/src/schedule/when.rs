//! The time of a scheduled action: its text form, and the moments that it means.

use super::calendar::{MonthDay, Period, TimeOfDay, Weekday, YearDay, list, parse_list};
use super::{InvalidSchedule, TimeZoneName, zone};
use crate::Timestamp;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// Longest cron expression. There is room to list every minute of an hour one by one.
const CRON_MAX: usize = 256;
/// The years that a date may have: from the epoch on, with four digits.
const YEARS: std::ops::RangeInclusive<i16> = 1970..=9999;

/// The time of a scheduled action. It is one line of text, the same on the command line, in the API
/// and in the store:
///
/// | written | means |
/// |---|---|
/// | `2026-12-01T02:00` | once, when clocks of the schedule's zone show this |
/// | `2026-12-01T02:00Z`, `2026-12-01T02:00+01:00` | once, at that moment |
/// | `every 6h` (`m`, `h`, `d`) | again and again, that much time apart: a day is 24 hours |
/// | `daily 02:00` | each day |
/// | `weekly mon,thu 02:00` | on these days of the week |
/// | `monthly 1,15,last 02:00` | on these days of the month; a month without that day is left out |
/// | `yearly 12-24 02:00` | each 24 December; 29 February only in leap years |
/// | `cron 0 2 * * 1-5` | minute, hour, day of month, month, day of week, as cron has them |
///
/// All forms but `every` use the local time of the zone. A local time that clocks skip in spring
/// means the first moment after the gap. A local time that they show twice in autumn means the
/// first time. So `cron */10 * * * *` pauses during the repeated hour, and `every 10m` does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum When {
    /// Once.
    Once {
        /// The moment.
        at: Moment,
    },
    /// Repeatedly, counted in elapsed time.
    Every {
        /// The time between two occurrences.
        period: Period,
    },
    /// Each day.
    Daily {
        /// The time of day.
        time: TimeOfDay,
    },
    /// On days of the week.
    Weekly {
        /// The days. If there are none, it never occurs.
        days: BTreeSet<Weekday>,
        /// The time of day.
        time: TimeOfDay,
    },
    /// On days of the month.
    Monthly {
        /// The days. If there are none, it never occurs.
        days: BTreeSet<MonthDay>,
        /// The time of day.
        time: TimeOfDay,
    },
    /// On a day of the year.
    Yearly {
        /// The day.
        day: YearDay,
        /// The time of day.
        time: TimeOfDay,
    },
    /// A cron expression.
    Cron {
        /// The five fields.
        expression: CronExpr,
    },
    /// A text from a row of the store that this version does not understand. It is never due, and
    /// no request can contain it.
    Unread {
        /// The text. It is kept for a version that understands it.
        text: String,
    },
}

/// Reads a time from a row of the store. A text that this version does not understand must not make
/// the whole row unreadable.
pub(super) fn kept<'de, D: Deserializer<'de>>(from: D) -> Result<When, D::Error> {
    let text = String::deserialize(from)?;
    Ok(text.parse().unwrap_or(When::Unread { text }))
}

/// A moment, in one of the two forms that an operator may give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// A moment that is the same in every zone.
    At(Timestamp),
    /// The moment at which clocks of the schedule's zone show this time.
    Local(LocalTime),
}

/// A date and a time of day, to the second. The zone is kept elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalTime(DateTime);

/// A cron expression of five fields that the cron library has accepted. It may still never occur
/// (`0 0 30 2 *`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronExpr(String);

impl CronExpr {
    /// The checked text, with one space between the fields.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn invalid(problem: impl Into<String>) -> InvalidSchedule {
    InvalidSchedule::new("when", problem)
}

impl When {
    /// Once, at that moment.
    #[must_use]
    pub const fn once(at: Timestamp) -> Self {
        Self::Once { at: Moment::At(at) }
    }

    /// Whether it occurs more than once.
    #[must_use]
    pub const fn repeats(&self) -> bool {
        !matches!(self, Self::Once { .. })
    }

    /// The first occurrence after `after`. `every` stays on the grid of `anchor`. None if there is
    /// none that the calendar library can represent.
    pub(super) fn next(
        &self,
        zone: &TimeZone,
        after: Timestamp,
        anchor: Timestamp,
    ) -> Option<Timestamp> {
        match self {
            Self::Once { at } => {
                at.timestamp(zone).filter(|at| *at > after && zone::moment(*at).is_some())
            }
            Self::Every { period } => on_grid(*period, after, anchor),
            Self::Daily { .. }
            | Self::Weekly { .. }
            | Self::Monthly { .. }
            | Self::Yearly { .. }
            | Self::Cron { .. }
            | Self::Unread { .. } => next_local(&self.pattern()?, zone, after),
        }
    }

    /// The calendar forms as a cron pattern of local times; none for the other forms.
    fn pattern(&self) -> Option<Cron> {
        let text = match self {
            Self::Once { .. } | Self::Every { .. } | Self::Unread { .. } => return None,
            Self::Daily { time } => format!("{} * * *", time.cron()),
            Self::Weekly { days, time } => {
                format!("{} * * {}", time.cron(), list(days, |day| *day as u8))
            }
            Self::Monthly { days, time } => {
                format!("{} {} * *", time.cron(), list(days, MonthDay::cron))
            }
            Self::Yearly { day, time } => {
                format!("{} {} {} *", time.cron(), day.day(), day.month())
            }
            Self::Cron { expression } => expression.0.clone(),
        };
        parse_cron(&text).ok()
    }
}

/// The first moment after `after` that is `anchor` or a whole number of periods later.
fn on_grid(period: Period, after: Timestamp, anchor: Timestamp) -> Option<Timestamp> {
    let period = period.millis().0;
    let passed = if anchor > after { 0 } else { after.since(anchor).0 / period + 1 };
    let next = Timestamp(anchor.0.checked_add(passed.checked_mul(period)?)?);
    zone::moment(next).map(|_| next)
}

/// The first moment after `after` at which clocks in `zone` reach a local time of the pattern.
fn next_local(pattern: &Cron, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    let after = zone::moment(after)?;
    let mut local = zone.to_datetime(after);
    loop {
        local = pattern.find_next_occurrence(&local, false).ok()?;
        // If clocks were put back, a local time that they show again was already done. If they
        // skip, several local times mean one moment.
        let at = zone::first_at(zone, local)?;
        if at > after && zone::has_day(zone, local) {
            return zone::timestamp(at);
        }
    }
}

fn parse_cron(text: &str) -> Result<Cron, croner::errors::CronError> {
    CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build().parse(text)
}

impl Moment {
    /// The moment in `zone`. If clocks show the time twice because they are put back: the first. If
    /// they skip it: the first after the gap.
    ///
    /// # Errors
    /// If it is before 1970 or after the year 9999.
    pub fn resolve(self, zone: &TimeZoneName) -> Result<Timestamp, InvalidSchedule> {
        let at = self.timestamp(&zone.rules()?).filter(|at| zone::moment(*at).is_some());
        at.ok_or_else(|| invalid(format!("{self} in {zone} is not between 1970 and 9999")))
    }

    fn timestamp(self, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::At(at) => Some(at),
            Self::Local(local) => zone::first_at(zone, local.0).and_then(zone::timestamp),
        }
    }
}

impl FromStr for When {
    type Err = InvalidSchedule;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            ["every", period] => Ok(Self::Every { period: period.parse()? }),
            ["daily", time] => Ok(Self::Daily { time: time.parse()? }),
            ["weekly", days, time] => {
                Ok(Self::Weekly { days: parse_list(days)?, time: time.parse()? })
            }
            ["monthly", days, time] => {
                Ok(Self::Monthly { days: parse_list(days)?, time: time.parse()? })
            }
            ["yearly", day, time] => Ok(Self::Yearly { day: day.parse()?, time: time.parse()? }),
            ["cron", fields @ ..] => Ok(Self::Cron { expression: fields.join(" ").parse()? }),
            [at] if at.starts_with(|first: char| first.is_ascii_digit()) => {
                Ok(Self::Once { at: at.parse()? })
            }
            _ => Err(invalid(format!(
                "{text:?} is not a time: write 2026-12-01T02:00, every 6h, daily 02:00, weekly mon,thu 02:00, \
                 monthly 1,15,last 02:00, yearly 12-24 02:00 or cron 0 2 * * 1-5"
            ))),
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Once { at } => at.fmt(f),
            Self::Every { period } => write!(f, "every {period}"),
            Self::Daily { time } => write!(f, "daily {time}"),
            Self::Weekly { days, time } => {
                write!(f, "weekly {} {time}", list(days, Weekday::to_string))
            }
            Self::Monthly { days, time } => {
                write!(f, "monthly {} {time}", list(days, MonthDay::to_string))
            }
            Self::Yearly { day, time } => write!(f, "yearly {day} {time}"),
            Self::Cron { expression } => write!(f, "cron {}", expression.0),
            Self::Unread { text } => f.write_str(text),
        }
    }
}

impl TryFrom<String> for When {
    type Error = InvalidSchedule;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<When> for String {
    fn from(when: When) -> Self {
        when.to_string()
    }
}

impl FromStr for Moment {
    type Err = InvalidSchedule;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || {
            invalid(format!(
                "{text:?} is not a date and time: write 2026-12-01T02:00, or with Z or +01:00 after it"
            ))
        };
        let (date, time) = text.split_once('T').ok_or_else(bad)?;
        // The calendar library also accepts zone names in brackets and a date without a time.
        // Refuse both here.
        if date.len() != 10
            || !time.chars().all(|c| c.is_ascii_digit() || matches!(c, ':' | '.' | '+' | '-' | 'Z'))
        {
            return Err(bad());
        }
        if time.contains(['Z', '+', '-']) {
            let at: jiff::Timestamp = text.parse().map_err(|_| bad())?;
            return zone::timestamp(at).map(Self::At).ok_or_else(bad);
        }
        let local: DateTime = text.parse().map_err(|_| bad())?;
        let local = local.with().subsec_nanosecond(0).build().map_err(|_| bad())?;
        if YEARS.contains(&local.year()) { Ok(Self::Local(LocalTime(local))) } else { Err(bad()) }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(at) => match zone::moment(*at) {
                Some(at) => at.fmt(f),
                None => write!(f, "{} ms after 1970", at.0),
            },
            Self::Local(LocalTime(local)) if local.second() == 0 => {
                local.strftime("%Y-%m-%dT%H:%M").fmt(f)
            }
            Self::Local(LocalTime(local)) => local.fmt(f),
        }
    }
}

impl FromStr for CronExpr {
    type Err = InvalidSchedule;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let text = fields.join(" ");
        if fields.len() != 5 || text.len() > CRON_MAX || !text.is_ascii() || text.contains('@') {
            return Err(invalid(format!(
                "{text:?} is not a cron expression: write minute, hour, day of month, month and day of week, \
                 for example 0 2 * * 1-5 or */15 8-17 * * mon-fri"
            )));
        }
        parse_cron(&text)
            .map_err(|error| invalid(format!("{text:?} is not a cron expression: {error}")))?;
        Ok(Self(text))
    }
}
