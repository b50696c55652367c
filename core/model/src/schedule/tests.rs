//! How schedules are written and read, late runs, and the end of a schedule.

use super::*;

pub(super) fn at(text: &str) -> Timestamp {
    Timestamp(
        u64::try_from(text.parse::<jiff::Timestamp>().expect(text).as_millisecond()).expect(text),
    )
}

pub(super) fn show(at: Timestamp) -> String {
    Moment::At(at).to_string()
}

pub(super) fn schedule(when: &str, zone: &str) -> Schedule {
    let mut made = Schedule::new(ScheduleId(1), Verb::Poweroff, when.parse().expect(when), "admin");
    made.zone = zone.parse().expect(zone);
    made
}

/// A schedule as a record holds it.
fn armed(when: &str, zone: &str, now: &str) -> Schedule {
    let mut made = schedule(when, zone);
    made.next = Some(made.first(at(now)).expect(when));
    made
}

pub(super) fn next(when: &str, zone: &str, now: &str, count: usize) -> Vec<String> {
    armed(when, zone, now).upcoming().take(count).map(show).collect()
}

#[test]
fn every_form_reads_back_as_it_is_shown() {
    for (given, shown) in [
        ("2026-12-01T02:00", "2026-12-01T02:00"),
        ("2026-12-01T02:00:00", "2026-12-01T02:00"),
        ("2026-12-01T02:00:30", "2026-12-01T02:00:30"),
        ("2026-12-01T02:00Z", "2026-12-01T02:00:00Z"),
        ("2026-12-01T02:00+01:00", "2026-12-01T01:00:00Z"),
        ("every 6h", "every 6h"),
        ("every 90m", "every 90m"),
        ("every 120m", "every 2h"),
        ("every 366d", "every 366d"),
        ("every 60s", "every 1m"),
        ("every 61s", "every 61s"),
        ("daily 2:05", "daily 02:05"),
        (" daily  23:59 ", "daily 23:59"),
        ("weekly thu,mon,thu 02:00", "weekly mon,thu 02:00"),
        ("monthly last,15,1 02:00", "monthly 1,15,last 02:00"),
        ("yearly 2-29 00:00", "yearly 02-29 00:00"),
        ("cron 0  2 * * 1-5", "cron 0 2 * * 1-5"),
        ("cron */10 8-17 1,15 jan-mar mon#1", "cron */10 8-17 1,15 jan-mar mon#1"),
    ] {
        let when: When = given.parse().expect(given);
        assert_eq!(when.to_string(), shown);
        assert_eq!(shown.parse::<When>().as_ref(), Ok(&when));
        let json = serde_json::to_string(&when).expect("a string");
        assert_eq!(json, format!("{shown:?}"));
        assert_eq!(serde_json::from_str::<When>(&json).expect("valid"), when);
    }
}

#[test]
fn what_is_not_a_time_is_refused_with_what_is() {
    for (bad, word) in [
        ("", "daily 02:00"),
        ("tomorrow", "daily 02:00"),
        ("daily", "daily 02:00"),
        ("daily 02:00 03:00", "daily 02:00"),
        ("daily 24:00", "00:00 to 23:59"),
        ("daily 02:60", "00:00 to 23:59"),
        ("daily 02:5", "00:00 to 23:59"),
        ("daily +2:05", "00:00 to 23:59"),
        ("every 59s", "1m to 366d"),
        ("every 367d", "1m to 366d"),
        ("every 0h", "1m to 366d"),
        ("every -1h", "1m to 366d"),
        ("every 1.5h", "1m to 366d"),
        ("every 6", "1m to 366d"),
        ("every h", "1m to 366d"),
        ("every 99999999999999999999d", "1m to 366d"),
        ("every 213503982335d", "1m to 366d"),
        ("weekly monday 02:00", "mon, tue"),
        ("weekly mon,,tue 02:00", "mon, tue"),
        ("monthly 0 02:00", "1 to 31"),
        ("monthly 32 02:00", "1 to 31"),
        ("monthly +1 02:00", "1 to 31"),
        ("yearly 02-30 02:00", "12-31"),
        ("yearly 13-01 02:00", "12-31"),
        ("yearly 1 02:00", "12-31"),
        ("2026-12-01", "2026-12-01T02:00"),
        ("2026-13-01T02:00", "2026-12-01T02:00"),
        ("2026-02-29T02:00", "2026-12-01T02:00"),
        ("2026-12-01T25:00", "2026-12-01T02:00"),
        ("2026-12-01T02:00[Europe/Berlin]", "2026-12-01T02:00"),
        ("1969-12-31T02:00", "2026-12-01T02:00"),
        ("1969-12-31T02:00Z", "2026-12-01T02:00"),
        ("cron", "minute, hour"),
        ("cron * * * *", "minute, hour"),
        ("cron * * * * * *", "minute, hour"),
        ("cron @daily", "minute, hour"),
        ("cron 60 * * * *", "60 * * * *"),
        ("cron 0 24 * * *", "0 24 * * *"),
        ("cron 0 0 0 * *", "0 0 0 * *"),
        ("cron 0 0 * 13 *", "0 0 * 13 *"),
        ("cron 0 0 * * 8", "0 0 * * 8"),
        ("cron */0 * * * *", "*/0"),
        ("cron 5-1 * * * *", "5-1"),
        ("cron a b c d e", "a b c d e"),
        ("cron ä * * * *", "minute, hour"),
    ] {
        let refused = bad.parse::<When>().expect_err(bad);
        assert!(refused.problem.contains(word), "{bad}: {refused}");
        assert_eq!(refused.field, "when");
        assert!(serde_json::from_value::<When>(bad.into()).is_err(), "{bad}");
    }
}

#[test]
fn a_zone_is_one_of_the_list() {
    assert_eq!(TimeZoneName::default().as_str(), "UTC");
    assert_eq!("europe/berlin".parse::<TimeZoneName>().expect("listed").as_str(), "Europe/Berlin");
    for bad in ["", "Berlin", "Europe/Berlin ", "+01:00", "../etc/localtime", "Etc/Unknown"] {
        let refused = bad.parse::<TimeZoneName>().expect_err(bad);
        assert!(refused.to_string().starts_with("zone: "), "{refused}");
        assert!(serde_json::from_value::<TimeZoneName>(bad.into()).is_err(), "{bad}");
    }
}

#[test]
fn what_would_never_be_due_is_refused() {
    let now = at("2026-12-01T02:00:00Z");
    for (when, field, word) in [
        ("2026-12-01T02:00", "when", "not in the future"),
        ("2020-12-01T02:00Z", "when", "not in the future"),
        ("cron 0 0 30 2 *", "when", "never occurs"),
        ("cron 0 0 31 4,6 *", "when", "never occurs"),
    ] {
        let refused = schedule(when, "UTC").first(now).expect_err(when);
        assert_eq!(refused.field, field);
        assert!(refused.problem.contains(word), "{refused}");
    }
    let no_days = When::Weekly {
        days: std::collections::BTreeSet::new(),
        time: TimeOfDay::new(2, 0).expect("valid"),
    };
    let mut daily = Schedule { when: no_days, ..schedule("daily 02:00", "UTC") };
    assert_eq!(daily.first(now).expect_err("no day").field, "when");

    daily.when = "daily 02:00".parse().expect("valid");
    daily.until = Some(at("2026-12-02T01:59:59Z"));
    assert_eq!(daily.first(now).expect_err("over").field, "until");
    daily.until = Some(at("2026-12-02T02:00:00Z"));
    assert_eq!(daily.first(now), Ok(at("2026-12-02T02:00:00Z")));
    daily.times = Some(0);
    assert_eq!(daily.first(now).expect_err("no times").field, "times");
    (daily.times, daily.fired) = (Some(3), 3);
    assert_eq!(daily.first(now).expect_err("done").field, "times");
    daily.times = None;
    for grace in [Millis(0), Millis::secs(59), Millis::secs(367 * 86_400), Millis(u64::MAX)] {
        daily.misfire = Misfire::Skip { grace };
        assert_eq!(daily.first(now).expect_err("grace").field, "misfire");
    }
    for far in [Timestamp(u64::MAX), Timestamp(u64::MAX / 2)] {
        for when in ["daily 02:00", "every 1h", "cron * * * * *"] {
            assert_eq!(
                schedule(when, "Europe/Berlin").first(far).expect_err("no calendar").field,
                "when"
            );
        }
    }
}

#[test]
fn a_late_one_is_done_within_its_grace_and_missed_after() {
    let daily = armed("daily 02:00", "UTC", "2026-12-01T00:00:00Z");
    let fire = |day: &str| Due::Fire {
        planned: at(&format!("2026-12-{day}T02:00:00Z")),
        latest: Some(at(&format!("2026-12-{day}T03:00:00Z"))),
    };
    let missed = Due::Missed { planned: at("2026-12-01T02:00:00Z") };
    for (now, expected) in [
        ("2026-12-01T01:59:59.999Z", None),
        ("2026-12-01T02:00:00Z", Some(fire("01"))),
        ("2026-12-01T03:00:00Z", Some(fire("01"))),
        ("2026-12-01T03:00:00.001Z", Some(missed)),
        ("2026-12-02T01:59:59.999Z", Some(missed)),
        // After days without the daemon, the first is too late, but the third is not, so it is
        // done.
        ("2026-12-03T02:10:00Z", Some(fire("03"))),
        ("2026-12-03T03:10:00Z", Some(missed)),
    ] {
        assert_eq!(daily.due(at(now)), expected, "{now}");
    }
    let mut late = Schedule { misfire: Misfire::RunOnce, ..daily };
    let now = at("2026-12-05T09:00:00Z");
    assert_eq!(
        late.due(now),
        Some(Due::Fire { planned: at("2026-12-01T02:00:00Z"), latest: None })
    );
    late.began(now, OperationId(7));
    assert_eq!(late.due(now), None);
    assert_eq!(late.next, Some(at("2026-12-06T02:00:00Z")), "five that were missed are done once");
}

fn told(text: &str) -> NotDone {
    NotDone::Told(text.to_owned())
}

#[test]
fn how_it_went_is_kept_until_the_next() {
    let mut daily = armed("daily 02:00", "UTC", "2026-12-01T00:00:00Z");
    let (due, done) = (at("2026-12-01T02:00:00Z"), at("2026-12-01T02:01:00Z"));
    daily.began(due, OperationId(7));
    assert_eq!((daily.fired, daily.next), (1, Some(at("2026-12-02T02:00:00Z"))));
    assert!(!daily.ended(done, OperationId(8), Ok(())), "another's operation");
    assert_eq!(daily.state, ScheduleState::Running { at: due, operation: OperationId(7) });
    assert!(daily.ended(done, OperationId(7), Ok(())));
    assert_eq!(daily.state, ScheduleState::Done { at: done, operation: OperationId(7) });
    assert!(!daily.ended(done, OperationId(7), Err(told("late word"))), "it has ended already");

    daily.began(at("2026-12-02T02:00:00Z"), OperationId(9));
    assert!(daily.ended(done, OperationId(9), Err(told("host down"))));
    assert_eq!(daily.state, ScheduleState::Failed { at: done, why: told("host down") });

    let now = at("2026-12-03T09:00:00Z");
    daily.missed(now);
    let why = NotDone::Missed {
        planned: Some(at("2026-12-03T02:00:00Z")),
        grace: Some(Millis::secs(3600)),
    };
    assert_eq!(daily.state, ScheduleState::Failed { at: now, why });
    assert_eq!(
        (daily.fired, daily.next),
        (2, Some(at("2026-12-04T02:00:00Z"))),
        "what was missed does not count"
    );
    daily.refused(at("2026-12-04T02:00:00Z"), told("not allowed in state done"));
    assert_eq!(daily.fired, 3);

    let json = serde_json::to_string(&daily).expect("JSON");
    assert_eq!(serde_json::from_str::<Schedule>(&json).expect("its own"), daily);
}

#[test]
fn it_ends_by_count_by_date_or_with_its_one_time() {
    let now = at("2026-12-01T02:00:00Z");
    let mut once = armed("2026-12-01T02:00", "UTC", "2026-11-01T00:00:00Z");
    let mut late = once.clone();
    once.began(now, OperationId(1));
    assert_eq!(once.next, None);
    assert_eq!(once.due(Timestamp(u64::MAX)), None);
    late.missed(at("2026-12-01T04:00:00Z"));
    assert_eq!((late.next, late.fired), (None, 0));
    once.advance(now);
    assert_eq!(once.next, None, "what is over stays so");

    let mut twice = armed("every 1h", "UTC", "2026-12-01T00:00:00Z");
    twice.times = Some(2);
    assert_eq!(twice.upcoming().count(), 2);
    twice.began(at("2026-12-01T01:00:00Z"), OperationId(1));
    assert_eq!(twice.upcoming().count(), 1);
    twice.began(at("2026-12-01T02:00:00Z"), OperationId(2));
    assert_eq!(twice.next, None);

    let mut until = armed("daily 02:00", "UTC", "2026-11-30T00:00:00Z");
    until.until = Some(now);
    assert_eq!(
        until.upcoming().map(show).collect::<Vec<_>>(),
        ["2026-11-30T02:00:00Z", "2026-12-01T02:00:00Z"]
    );
    until.advance(at("2026-11-30T02:00:00Z"));
    assert!(
        matches!(until.due(at("2026-12-01T02:30:00Z")), Some(Due::Fire { .. })),
        "its last may be late"
    );
    until.advance(at("2026-12-01T02:30:00Z"));
    assert_eq!(until.next, None);
}

#[test]
fn late_ones_read_back_as_they_are_shown() {
    for (given, shown) in [
        ("skip", "skip 1h"),
        ("skip 60m", "skip 1h"),
        ("skip  90m", "skip 90m"),
        ("run-once", "run-once"),
    ] {
        let misfire: Misfire = given.parse().expect(given);
        assert_eq!(misfire.to_string(), shown);
        assert_eq!(shown.parse(), Ok(misfire));
    }
    for bad in ["", "skip 0m", "skip 59s", "skip 367d", "skip 1h 2h", "never", "run-once 1h"] {
        assert_eq!(bad.parse::<Misfire>().expect_err(bad).field, "misfire");
    }
}

#[test]
fn a_moment_is_read_and_shown_in_its_zone() {
    let berlin: TimeZoneName = "Europe/Berlin".parse().expect("listed");
    let resolve = |text: &str| text.parse::<Moment>().expect(text).resolve(&berlin).expect(text);
    assert_eq!(berlin.show(resolve("2026-12-01T02:00")), "2026-12-01T02:00:00+01:00");
    assert_eq!(berlin.show(resolve("2026-07-01T02:00Z")), "2026-07-01T04:00:00+02:00");
    assert_eq!(berlin.show(resolve("2026-03-29T02:30")), "2026-03-29T03:00:00+02:00");
    assert!(
        "1970-01-01T00:30".parse::<Moment>().expect("a date").resolve(&berlin).is_err(),
        "1969 in UTC"
    );
    let never =
        Schedule { when: When::once(Timestamp(u64::MAX)), ..schedule("daily 02:00", "UTC") };
    assert!(never.first(Timestamp(0)).is_err(), "it could not be read back");
}

#[test]
#[allow(clippy::disallowed_methods, reason = "the test has a clock, the model has none")]
fn the_longest_search_is_short() {
    // An expression that never matches must not hold up a decision.
    let began = std::time::Instant::now();
    assert!(
        schedule("cron 0 0 31 2,4,6,9,11 *", "Europe/Berlin")
            .first(at("2026-01-01T00:00:00Z"))
            .is_err()
    );
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
}

/// A row that another version has written, with values that this version does not accept.
#[test]
fn what_is_not_understood_is_kept_and_never_due() {
    let schedule = |when: &str, zone: &str| {
        let mut schedule = Schedule::new(
            ScheduleId(1),
            Verb::Poweroff,
            "daily 02:00".parse().expect("valid"),
            "operator",
        );
        schedule.next = Some(Timestamp(1000));
        let mut row = serde_json::to_value(&schedule).expect("encodes");
        row["when"] = when.into();
        row["zone"] = zone.into();
        (serde_json::from_value::<Schedule>(row.clone()).expect("decodes"), row)
    };
    for (when, zone, field) in [
        ("daily 02:00", "Mars/Olympus", "zone"),
        ("cron 0 2 * * 99", "UTC", "when"),
        ("at dawn", "UTC", "when"),
    ] {
        let (mut kept, row) = schedule(when, zone);
        assert_eq!(serde_json::to_value(&kept).expect("encodes"), row, "kept as it is");
        assert_eq!(kept.check().expect_err("not understood").field, field);
        assert_eq!(
            (kept.when.to_string(), kept.zone.to_string()),
            (when.to_owned(), zone.to_owned())
        );
        kept.refused(Timestamp(2000), told("no"));
        assert_eq!(kept.next, None, "{when} in {zone}");
    }
    assert_eq!(schedule("daily 02:00", "Europe/Berlin").0.check(), Ok(()));
}
