//! Time zones: they map a local date and time to a moment.

use super::{InvalidSchedule, Moment};
use crate::Timestamp;
use jiff::civil::{DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::str::FromStr;

/// The name of a time zone in IANA's list (`Europe/Berlin`). The zone's rules come with Ostler,
/// never from the machine. So the same schedule runs at the same moment on every machine, also on a
/// machine without zone files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeZoneName(String);

impl TimeZoneName {
    /// The checked text, in IANA's spelling.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The local time of the zone at `at`, with its offset: `2026-12-01T02:00:00+01:00`.
    #[must_use]
    pub fn show(&self, at: Timestamp) -> String {
        match (self.rules(), moment(at)) {
            (Ok(rules), Some(moment)) => {
                moment.to_zoned(rules).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
            }
            _ => Moment::At(at).to_string(),
        }
    }

    /// Its rules.
    pub(super) fn rules(&self) -> Result<TimeZone, InvalidSchedule> {
        let found = TimeZoneDatabase::bundled().get(&self.0).ok().filter(|zone| !zone.is_unknown());
        found.ok_or_else(|| {
            let problem = format!(
                "{:?} is not known: use a name from IANA's list, for example UTC or Europe/Berlin",
                self.0
            );
            InvalidSchedule::new("zone", problem)
        })
    }
}

/// Reads a zone from a row of the store without checking it: a zone that this version does not know
/// must not make the whole row unreadable. A schedule with such a zone is never due; see
/// [`super::Schedule::check`].
pub(super) fn kept<'de, D: Deserializer<'de>>(from: D) -> Result<TimeZoneName, D::Error> {
    String::deserialize(from).map(TimeZoneName)
}

impl Default for TimeZoneName {
    fn default() -> Self {
        Self("UTC".to_owned())
    }
}

impl FromStr for TimeZoneName {
    type Err = InvalidSchedule;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rules = Self(text.to_owned()).rules()?;
        Ok(Self(rules.iana_name().unwrap_or(text).to_owned()))
    }
}

impl TryFrom<String> for TimeZoneName {
    type Error = InvalidSchedule;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TimeZoneName> for String {
    fn from(name: TimeZoneName) -> Self {
        name.0
    }
}

impl fmt::Display for TimeZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Converts to the calendar library's type. None beyond the year 9999.
pub(super) fn moment(at: Timestamp) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_millisecond(i64::try_from(at.0).ok()?).ok()
}

/// Converts to our type. None before 1970.
pub(super) fn timestamp(at: jiff::Timestamp) -> Option<Timestamp> {
    u64::try_from(at.as_millisecond()).ok().map(Timestamp)
}

/// The moment at which clocks in `zone` show `local`. If they show it twice because they are put
/// back: the first time. If they skip it: the first moment after the gap. None if the calendar
/// library cannot represent it.
pub(super) fn first_at(zone: &TimeZone, local: DateTime) -> Option<jiff::Timestamp> {
    let there = zone.to_ambiguous_timestamp(local);
    let AmbiguousOffset::Gap { after, .. } = there.offset() else {
        return there.compatible().ok();
    };
    // Converted with the offset that holds after the gap, a local time inside the gap becomes a
    // moment before it.
    let eve = after.to_timestamp(local).ok()?;
    zone.following(eve).find(|change| change.offset() == after).map(|change| change.timestamp())
}

/// Whether the day of `local` exists in `zone`: Samoa had no 30 December 2011.
pub(super) fn has_day(zone: &TimeZone, local: DateTime) -> bool {
    let start = first_at(zone, local.date().to_datetime(Time::midnight()));
    start.is_some_and(|start| zone.to_datetime(start).date() == local.date())
}
