//! Texts for people: ages, moments, errors of drivers, and texts of others without control
//! characters.

use ostler_api::{DriverComplaint, Time};
use std::time::{SystemTime, UNIX_EPOCH};

/// The time of this machine's clock.
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A text of others on one line, without characters that control a terminal.
pub(crate) fn clean(text: &str) -> String {
    text.trim_end().chars().map(harmless).collect()
}

const fn harmless(c: char) -> char {
    match c {
        '\n' | '\r' | '\t' => ' ',
        // Control characters, and characters that change the direction of writing.
        '\u{0}'..='\u{1f}'
        | '\u{7f}'..='\u{9f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c => c,
    }
}

/// The error of a driver on one line.
pub(crate) fn complaint(error: &DriverComplaint) -> String {
    match (error.detail.as_str(), error.code.as_str()) {
        ("", code) => format!("[{code}]"),
        // The code `failed` says no more than the detail.
        (detail, "failed") => detail.to_owned(),
        (detail, code) => format!("{detail} [{code}]"),
    }
}

/// A length of time in at most two units: `45s`, `3m12s`, `2h5m`, `3d4h`.
pub(crate) fn span(ms: u64) -> String {
    let two = |big: u64, b: &str, small: u64, s: &str| {
        if small == 0 { format!("{big}{b}") } else { format!("{big}{b}{small}{s}") }
    };
    match ms / 1000 {
        s if s < 60 => format!("{s}s"),
        s if s < 3600 => two(s / 60, "m", s % 60, "s"),
        s if s < 86_400 => two(s / 3600, "h", s / 60 % 60, "m"),
        s => two(s / 86_400, "d", s / 3600 % 24, "h"),
    }
}

/// A measured length of time: `12 ms`, `1.4 s`, `3m12s`.
pub(crate) fn took(ms: u64) -> String {
    match ms {
        ms if ms < 1000 => format!("{ms} ms"),
        ms if ms < 60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        ms => span(ms),
    }
}

/// A measured length of time in microseconds: `80 µs`, `12 ms`.
pub(crate) fn took_us(us: u64) -> String {
    if us < 1000 { format!("{us} µs") } else { took(us.saturating_add(500) / 1000) }
}

/// How long ago a moment is.
pub(crate) fn age(now: Time, then: Time) -> String {
    span(now.since(then))
}

/// A moment, with how far it is from now.
pub(crate) fn moment(now: Time, then: Time) -> String {
    if then > now {
        format!("{then} (in {})", span(then.since(now)))
    } else {
        format!("{then} ({} ago)", age(now, then))
    }
}

/// One line for each note.
pub(crate) fn notes(notes: &[String]) -> String {
    notes.iter().map(|note| format!("  note: {}\n", clean(note))).collect()
}

/// A number with its noun: `1 thing`, `2 things`.
pub(crate) fn count(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_short() {
        let table = [
            (0, "0s"),
            (59_999, "59s"),
            (60_000, "1m"),
            (192_000, "3m12s"),
            (7_500_000, "2h5m"),
            (273_600_000, "3d4h"),
            (86_400_000 * 400, "400d"),
        ];
        for (ms, text) in table {
            assert_eq!(span(ms), text);
        }
        assert_eq!([took(12), took(1234), took(90_000)], ["12 ms", "1.2 s", "1m30s"]);
    }

    #[test]
    fn moments_say_how_far_they_are() {
        assert_eq!(moment(Time(5000), Time(2000)), "1970-01-01T00:00:02.000Z (3s ago)");
        assert_eq!(moment(Time(2000), Time(5000)), "1970-01-01T00:00:05.000Z (in 3s)");
    }
}
