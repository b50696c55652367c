//! The parts of a schedule's text: days, times of day, lengths of time.

use super::InvalidSchedule;
use crate::Millis;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

/// Units of a length of time, longest first.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

fn invalid(problem: impl Into<String>) -> InvalidSchedule {
    InvalidSchedule::new("when", problem)
}

/// A number without a sign.
fn number<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `6h`, `90m`: one number and one unit.
pub(super) fn parse_length(text: &str) -> Option<Millis> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = text.split_at(unit_at);
    let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit)?;
    number::<u64>(count)?.checked_mul(*millis).map(Millis)
}

/// Writes the length in the longest unit that needs no fraction.
pub(super) fn show_length(length: Millis) -> String {
    let fits = |(_, millis): &&(&str, u64)| length.0 != 0 && length.0.is_multiple_of(*millis);
    let (unit, millis) = UNITS.iter().find(fits).unwrap_or(&("m", 60_000));
    format!("{}{unit}", length.0 / millis)
}

/// Writes the items with commas between them.
pub(super) fn list<T, S: fmt::Display>(items: &BTreeSet<T>, show: impl Fn(&T) -> S) -> String {
    let shown: Vec<String> = items.iter().map(|item| show(item).to_string()).collect();
    shown.join(",")
}

/// Reads a list with commas between the items.
pub(super) fn parse_list<T: Ord + FromStr<Err = InvalidSchedule>>(
    text: &str,
) -> Result<BTreeSet<T>, InvalidSchedule> {
    text.split(',').map(str::parse).collect()
}

/// The time between two occurrences: from one minute to a year of 366 days, in whole milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period(Millis);

impl Period {
    /// The shortest period. With less than a minute, an operation would seldom end before the next
    /// one is due.
    pub const MIN: Millis = Millis::secs(60);
    /// The longest period. For a longer time, use a date.
    pub const MAX: Millis = Millis::secs(366 * 86_400);

    /// A period of that length; none if it is out of bounds.
    #[must_use]
    pub const fn new(length: Millis) -> Option<Self> {
        if length.0 < Self::MIN.0 || length.0 > Self::MAX.0 { None } else { Some(Self(length)) }
    }

    /// Its length.
    #[must_use]
    pub const fn millis(self) -> Millis {
        self.0
    }
}

impl FromStr for Period {
    type Err = InvalidSchedule;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_length(text).and_then(Self::new).ok_or_else(|| {
            invalid(format!("{text:?} is not a period: write 1m to 366d, with m, h or d"))
        })
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&show_length(self.0))
    }
}

/// A time of day: hour and minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeOfDay {
    hour: u8,
    minute: u8,
}

impl TimeOfDay {
    /// From 00:00 to 23:59; none beyond.
    #[must_use]
    pub const fn new(hour: u8, minute: u8) -> Option<Self> {
        if hour < 24 && minute < 60 { Some(Self { hour, minute }) } else { None }
    }

    /// The time as cron's first two fields.
    pub(super) fn cron(self) -> String {
        format!("{} {}", self.minute, self.hour)
    }
}

impl FromStr for TimeOfDay {
    type Err = InvalidSchedule;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts =
            text.split_once(':').filter(|(hour, minute)| hour.len() <= 2 && minute.len() == 2);
        parts
            .and_then(|(hour, minute)| Self::new(number(hour)?, number(minute)?))
            .ok_or_else(|| invalid(format!("{text:?} is not a time of day: write 00:00 to 23:59")))
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.hour, self.minute)
    }
}

/// A day of the week.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Display,
    EnumString,
    IntoStaticStr,
    EnumIter,
)]
#[strum(serialize_all = "kebab-case", parse_err_fn = not_a_weekday, parse_err_ty = InvalidSchedule)]
#[repr(u8)]
pub enum Weekday {
    /// Monday.
    Mon = 1,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

fn not_a_weekday(text: &str) -> InvalidSchedule {
    invalid(format!(
        "{text:?} is not a day of the week: use mon, tue, wed, thu, fri, sat and sun, with commas between"
    ))
}

/// A day of the month: 1 to 31, or the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonthDay(u8);

impl MonthDay {
    /// The last day of the month, from 28 to 31.
    pub const LAST: Self = Self(32);

    /// The day with this number, counted from 1; none beyond 31.
    #[must_use]
    pub const fn new(day: u8) -> Option<Self> {
        if day >= 1 && day <= 31 { Some(Self(day)) } else { None }
    }

    /// The day as cron's third field.
    pub(super) fn cron(&self) -> String {
        if *self == Self::LAST { "L".to_owned() } else { self.0.to_string() }
    }
}

impl FromStr for MonthDay {
    type Err = InvalidSchedule;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let day = if text == "last" { Some(Self::LAST) } else { number(text).and_then(Self::new) };
        day.ok_or_else(|| {
            invalid(format!(
                "{text:?} is not a day of the month: use 1 to 31 and last, with commas between"
            ))
        })
    }
}

impl fmt::Display for MonthDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::LAST { f.pad("last") } else { self.0.fmt(f) }
    }
}

/// A day of the year: a month and a day. The day may exist in leap years only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct YearDay {
    month: u8,
    day: u8,
}

impl YearDay {
    /// Both counted from 1; none if no year has that day.
    #[must_use]
    pub fn new(month: u8, day: u8) -> Option<Self> {
        let leap_year =
            jiff::civil::Date::new(2024, i8::try_from(month).ok()?, i8::try_from(day).ok()?);
        leap_year.is_ok().then_some(Self { month, day })
    }

    /// Its month, from 1.
    #[must_use]
    pub const fn month(self) -> u8 {
        self.month
    }

    /// Its day in the month, from 1.
    #[must_use]
    pub const fn day(self) -> u8 {
        self.day
    }
}

impl FromStr for YearDay {
    type Err = InvalidSchedule;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('-');
        parts.and_then(|(month, day)| Self::new(number(month)?, number(day)?)).ok_or_else(|| {
            invalid(format!("{text:?} is not a day of a year: write month-day, 01-01 to 12-31"))
        })
    }
}

impl fmt::Display for YearDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}-{:02}", self.month, self.day)
    }
}
