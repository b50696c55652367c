//! Occurrences in real zones.

use super::tests::{at, next, schedule, show};

/// When, in which zone, seen from when, and the next occurrences.
const CALENDAR: &[(&str, &str, &str, &[&str])] = &[
    (
        "daily 02:00",
        "UTC",
        "2026-12-30T02:00:00Z",
        &["2026-12-31T02:00:00Z", "2027-01-01T02:00:00Z"],
    ),
    ("daily 02:00", "Asia/Kolkata", "2026-12-30T00:00:00Z", &["2026-12-30T20:30:00Z"]),
    (
        "weekly mon,thu 02:00",
        "UTC",
        "2026-12-01T00:00:00Z",
        &["2026-12-03T02:00:00Z", "2026-12-07T02:00:00Z"],
    ),
    (
        "weekly sun 00:00",
        "UTC",
        "2026-12-01T00:00:00Z",
        &["2026-12-06T00:00:00Z", "2026-12-13T00:00:00Z"],
    ),
    (
        "monthly 31 02:00",
        "UTC",
        "2026-03-31T02:00:00Z",
        &["2026-05-31T02:00:00Z", "2026-07-31T02:00:00Z"],
    ),
    (
        "monthly last 02:00",
        "UTC",
        "2026-12-01T00:00:00Z",
        &["2026-12-31T02:00:00Z", "2027-01-31T02:00:00Z"],
    ),
    (
        "monthly last 02:00",
        "UTC",
        "2028-02-01T00:00:00Z",
        &["2028-02-29T02:00:00Z", "2028-03-31T02:00:00Z"],
    ),
    (
        "monthly 28,last 02:00",
        "UTC",
        "2027-02-01T00:00:00Z",
        &["2027-02-28T02:00:00Z", "2027-03-28T02:00:00Z"],
    ),
    (
        "yearly 02-29 12:00",
        "UTC",
        "2026-01-01T00:00:00Z",
        &["2028-02-29T12:00:00Z", "2032-02-29T12:00:00Z"],
    ),
    ("yearly 02-29 12:00", "UTC", "2097-01-01T00:00:00Z", &["2104-02-29T12:00:00Z"]),
    (
        "cron 0 2 * * 1-5",
        "UTC",
        "2026-12-04T02:00:00Z",
        &["2026-12-07T02:00:00Z", "2026-12-08T02:00:00Z"],
    ),
    (
        "cron 0 2 13 * fri",
        "UTC",
        "2026-12-05T00:00:00Z",
        &["2026-12-11T02:00:00Z", "2026-12-13T02:00:00Z"],
    ),
    ("cron 0 2 * * 7", "UTC", "2026-12-01T00:00:00Z", &["2026-12-06T02:00:00Z"]),
    (
        "every 90m",
        "UTC",
        "2026-12-01T00:00:07.250Z",
        &["2026-12-01T01:30:07.25Z", "2026-12-01T03:00:07.25Z"],
    ),
    ("2026-12-01T02:00", "America/New_York", "2026-12-01T02:00:00Z", &["2026-12-01T07:00:00Z"]),
    ("2026-12-01T02:00Z", "America/New_York", "2026-12-01T00:00:00Z", &["2026-12-01T02:00:00Z"]),
    ("daily 02:00", "UTC", "2026-12-01T01:59:59.999Z", &["2026-12-01T02:00:00Z"]),
];

#[test]
fn occurrences_are_where_the_calendar_has_them() {
    for (when, zone, now, expected) in CALENDAR {
        assert_eq!(next(when, zone, now, expected.len()), *expected, "{when} in {zone}");
    }
}

#[test]
fn a_local_time_that_is_skipped_means_the_first_moment_after() {
    // Berlin goes from 02:00 to 03:00 on 29 March 2026, at 01:00 UTC.
    let eve = "2026-03-28T12:00:00Z";
    for (when, expected) in [
        ("daily 02:30", vec!["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]),
        ("daily 02:00", vec!["2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"]),
        ("daily 03:00", vec!["2026-03-29T01:00:00Z", "2026-03-30T01:00:00Z"]),
        ("daily 01:59", vec!["2026-03-29T00:59:00Z", "2026-03-29T23:59:00Z"]),
        ("weekly sun 02:30", vec!["2026-03-29T01:00:00Z", "2026-04-05T00:30:00Z"]),
        (
            "cron */20 2,3 * * *",
            vec!["2026-03-29T01:00:00Z", "2026-03-29T01:20:00Z", "2026-03-29T01:40:00Z"],
        ),
        (
            "cron 30 2,3 * * *",
            vec!["2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"],
        ),
        ("2026-03-29T02:30", vec!["2026-03-29T01:00:00Z"]),
    ] {
        assert_eq!(next(when, "Europe/Berlin", eve, expected.len()), expected, "{when}");
    }
    // Clocks skip half an hour at Lord Howe, midnight in Nuuk, and a whole day in Samoa, which a
    // repeated schedule leaves out.
    assert_eq!(
        next("daily 02:15", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", 1),
        ["2026-10-03T15:30:00Z"]
    );
    let nuuk = ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"];
    assert_eq!(next("daily 23:30", "America/Nuuk", "2026-03-28T12:00:00Z", 2), nuuk);
    let samoa = ["2011-12-29T12:00:00Z", "2011-12-30T12:00:00Z"];
    assert_eq!(next("daily 02:00", "Pacific/Apia", "2011-12-29T00:00:00Z", 2), samoa);
    assert_eq!(
        next("2011-12-30T02:00", "Pacific/Apia", "2011-12-29T00:00:00Z", 1),
        ["2011-12-30T10:00:00Z"]
    );
}

#[test]
fn a_local_time_that_comes_twice_means_the_first() {
    // Berlin goes from 03:00 back to 02:00 on 25 October 2026, at 01:00 UTC.
    for (when, now, expected) in [
        (
            "daily 02:30",
            "2026-10-24T12:00:00Z",
            vec!["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
        ),
        // Between the two, and within the second hour, it is already done.
        ("daily 02:30", "2026-10-25T00:30:00Z", vec!["2026-10-26T01:30:00Z"]),
        ("daily 02:30", "2026-10-25T01:15:00Z", vec!["2026-10-26T01:30:00Z"]),
        ("daily 03:00", "2026-10-25T00:30:00Z", vec!["2026-10-25T02:00:00Z"]),
        (
            "cron 30 * * * *",
            "2026-10-25T00:00:00Z",
            vec!["2026-10-25T00:30:00Z", "2026-10-25T02:30:00Z"],
        ),
        (
            "every 30m",
            "2026-10-25T00:30:00Z",
            vec!["2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00Z"],
        ),
        ("2026-10-25T02:30", "2026-10-24T12:00:00Z", vec!["2026-10-25T00:30:00Z"]),
    ] {
        assert_eq!(
            next(when, "Europe/Berlin", now, expected.len()),
            expected,
            "{when} after {now}"
        );
    }
}

#[test]
fn days_are_elapsed_time_for_every_and_clock_time_for_daily() {
    let now = "2026-03-28T01:00:00Z";
    assert_eq!(
        next("every 1d", "Europe/Berlin", now, 2),
        ["2026-03-29T01:00:00Z", "2026-03-30T01:00:00Z"]
    );
    assert_eq!(
        next("daily 02:00", "Europe/Berlin", now, 2),
        ["2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"]
    );
    // With a start, it is due on the grid of the start, and at the start itself.
    let mut from = schedule("every 6h", "UTC");
    from.from = Some(at("2026-12-01T02:00:00Z"));
    assert_eq!(
        from.first(at("2026-11-01T00:00:00Z")).map(show),
        Ok("2026-12-01T02:00:00Z".to_owned())
    );
    assert_eq!(
        from.first(at("2026-12-01T02:00:00Z")).map(show),
        Ok("2026-12-01T08:00:00Z".to_owned())
    );
    assert_eq!(
        from.first(at("2026-12-03T09:30:00Z")).map(show),
        Ok("2026-12-03T14:00:00Z".to_owned())
    );
    from.when = "daily 02:00".parse().expect("valid");
    assert_eq!(
        from.first(at("2026-11-01T00:00:00Z")).map(show),
        Ok("2026-12-01T02:00:00Z".to_owned())
    );
}
