//! Properties that hold for every schedule, in every zone, at every time.

use super::tests::schedule;
use super::*;
use jiff::civil::DateTime;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, ToSpan};
use proptest::prelude::*;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

fn zones() -> impl Strategy<Value = String> {
    let names: Vec<String> =
        TimeZoneDatabase::bundled().available().map(|name| name.to_string()).collect();
    let known =
        names.into_iter().filter(|name| name.parse::<TimeZoneName>().is_ok()).collect::<Vec<_>>();
    prop::sample::select(known)
}

fn whens() -> impl Strategy<Value = String> {
    let time = || (0..24, 0..60).prop_map(|(hour, minute)| format!("{hour:02}:{minute:02}"));
    let week =
        prop::sample::subsequence(vec!["mon", "tue", "wed", "thu", "fri", "sat", "sun"], 1..7);
    let month = prop::collection::btree_set(1_u8..=31, 1..5);
    prop_oneof![
        (1_u32..3000).prop_map(|minutes| format!("every {minutes}m")),
        time().prop_map(|time| format!("daily {time}")),
        (week, time()).prop_map(|(days, time)| format!("weekly {} {time}", days.join(","))),
        (month, time()).prop_map(|(days, time)| {
            let days: Vec<String> = days.iter().map(ToString::to_string).collect();
            format!("monthly {},last {time}", days.join(","))
        }),
        (1..=12, 1..=28, time())
            .prop_map(|(month, day, time)| format!("yearly {month:02}-{day:02} {time}")),
        (1..60, 0..24).prop_map(|(step, hour)| format!("cron */{step} {hour} * * *")),
        (1..60).prop_map(|step| format!("cron */{step} * * * *")),
    ]
}

/// From 2012 to 2080. No zone has left out a whole day since 2012.
fn moments() -> impl Strategy<Value = Timestamp> {
    (1_325_500_000_000_u64..3_471_300_000_000).prop_map(Timestamp)
}

fn rules(zone: &str) -> TimeZone {
    TimeZoneDatabase::bundled().get(zone).expect(zone)
}

fn local(zone: &TimeZone, at: Timestamp) -> DateTime {
    zone.to_datetime(
        jiff::Timestamp::from_millisecond(i64::try_from(at.0).expect("small")).expect("in bounds"),
    )
}

proptest! {
    #[test]
    fn occurrences_strictly_increase_and_none_between_is_left_out(when in whens(), zone in zones(), now in moments()) {
        let mut made = schedule(&when, &zone);
        made.next = Some(made.first(now).expect("it repeats"));
        let found: Vec<Timestamp> = made.upcoming().take(30).collect();
        prop_assert_eq!(found.len(), 30);
        prop_assert!(found[0] > now);
        for pair in found.windows(2) {
            prop_assert!(pair[0] < pair[1], "{:?}", pair);
            // The next occurrence is the same for every moment before it.
            let mut again = made.clone();
            again.advance(Timestamp(pair[1].0 - 1));
            prop_assert_eq!(again.next, Some(pair[1]));
        }
    }

    #[test]
    fn daily_is_once_for_each_local_day(hour in 0_u8..24, minute in 0_u8..60, zone in zones(), now in moments()) {
        let mut made = schedule(&format!("daily {hour:02}:{minute:02}"), &zone);
        made.next = Some(made.first(now).expect("it repeats"));
        let rules = rules(&zone);
        let asked = jiff::civil::time(hour.cast_signed(), minute.cast_signed(), 0, 0);
        let mut days = made.upcoming().take(400).map(|at| {
            let shown = local(&rules, at);
            // If clocks skip midnight, a run in the skipped time falls on the next day. It still
            // counts for the day before.
            if shown.time() < asked { shown.date().yesterday().expect("in bounds") } else { shown.date() }
        });
        let mut day = days.next().expect("some");
        for next in days {
            prop_assert_eq!(next, day.checked_add(1.day()).expect("in bounds"), "{}", zone);
            day = next;
        }
    }

    #[test]
    fn a_fixed_time_shows_unless_clocks_skip_it(when in whens(), zone in zones(), now in moments()) {
        prop_assume!(!when.starts_with("every"));
        let mut made = schedule(&when, &zone);
        made.next = Some(made.first(now).expect("it repeats"));
        let rules = rules(&zone);
        let utc = schedule(&when, "UTC");
        for at in made.upcoming().take(10) {
            let shown = local(&rules, at);
            let as_utc = shown.to_zoned(TimeZone::UTC).expect("in bounds").timestamp();
            let as_utc = Timestamp(u64::try_from(as_utc.as_millisecond()).expect("after 1970"));
            let matches = utc.first(Timestamp(as_utc.0 - 1)) == Ok(as_utc);
            let before = local(&rules, Timestamp(at.0 - 1));
            let skipped = shown.duration_since(before) > SignedDuration::from_secs(1);
            prop_assert!(matches || skipped, "{when} in {zone}: {shown}");
        }
    }

    #[test]
    fn periods_are_elapsed_time(minutes in 1_u64..10_000, zone in zones(), now in moments()) {
        let mut made = schedule(&format!("every {minutes}m"), &zone);
        made.next = Some(made.first(now).expect("it repeats"));
        for (count, at) in (1..).zip(made.upcoming().take(50)) {
            prop_assert_eq!(at.0, now.0 + count * minutes * MINUTE);
        }
    }

    #[test]
    fn nothing_is_done_twice_and_nothing_in_time_is_left_out(
        when in whens(),
        zone in zones(),
        now in moments(),
        run_once in any::<bool>(),
        waits in prop::collection::vec(1_u64..3 * DAY, 1..60),
    ) {
        let mut made = schedule(&when, &zone);
        made.misfire = if run_once { Misfire::RunOnce } else { Misfire::default() };
        made.next = Some(made.first(now).expect("it repeats"));
        let (mut now, mut last) = (now, now);
        for (count, wait) in (1..).zip(waits) {
            now = now.plus(Millis(wait));
            let stood = made.next.expect("no end");
            match made.due(now) {
                None => prop_assert!(stood > now),
                Some(Due::Fire { planned, latest }) => {
                    prop_assert!(planned > last && planned <= now && planned >= stood);
                    prop_assert!(latest.is_none_or(|latest| now <= latest));
                    made.began(now, OperationId(count));
                    last = planned;
                }
                Some(Due::Missed { planned }) => {
                    prop_assert!(planned > last && !run_once && now.since(planned).0 > HOUR);
                    made.missed(now);
                    last = planned;
                }
            }
            prop_assert_eq!(made.due(now), None);
            prop_assert!(made.next.expect("no end") > now);
        }
    }

    #[test]
    fn no_text_brings_it_down(text in any::<String>(), fields in "[-0-9*/,LW#?+a-z@ ]{0,40}") {
        for text in [text.clone(), format!("cron {text}"), format!("cron {fields}"), format!("every {text}"), fields] {
            if let Ok(when) = text.parse::<When>() {
                prop_assert_eq!(when.to_string().parse::<When>(), Ok(when.clone()));
                let made = Schedule::new(ScheduleId(1), Verb::Boot, when, "");
                if let Ok(first) = made.first(Timestamp(1_800_000_000_000)) {
                    prop_assert!(first > Timestamp(1_800_000_000_000));
                }
            }
        }
        let _ = text.parse::<TimeZoneName>();
        let _ = text.parse::<Misfire>();
    }

    #[test]
    fn no_time_brings_it_down(when in whens(), zone in zones(), now in any::<u64>(), later in any::<u64>()) {
        let mut made = schedule(&when, &zone);
        let first = made.first(Timestamp(now)).ok();
        prop_assert!(first.is_none_or(|first| first.0 > now));
        made.next = Some(Timestamp(now));
        let _ = made.due(Timestamp(later));
        made.missed(Timestamp(later));
        prop_assert!(made.next.is_none_or(|next| next.0 > later.max(now)));
    }
}
