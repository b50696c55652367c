//! Tests of the rows of a driver whose file is replaced and put back.

use super::*;
use std::collections::BTreeMap;

fn row(digest: &str) -> DriverRow {
    DriverRow {
        name: "x".parse().expect("a name"),
        file: format!("/x-{digest}.wasm"),
        digest: digest.to_owned(),
        grants: BTreeMap::from([("config".to_owned(), Vec::new())]),
        config: BTreeMap::from([("of".to_owned(), digest.to_owned())]),
        enabled: true,
        added: Timestamp(1),
        on_trial: false,
        earlier: Vec::new(),
    }
}

fn after(new: &str, before: &DriverRow, until: u64, oldest: Option<u64>) -> DriverRow {
    let ids = (OperationId(until), oldest.map(OperationId));
    successor(row(new), Some(before), format!("of-{}", before.digest), ids)
}

fn digests(row: &DriverRow) -> Vec<(&str, u64)> {
    row.earlier.iter().map(|earlier| (earlier.digest.as_str(), earlier.until.0)).collect()
}

#[test]
fn the_file_before_is_kept_and_others_only_while_operations_need_them() {
    let first = successor(row("a"), None, String::new(), (OperationId(5), None));
    assert_eq!((first.on_trial, digests(&first)), (false, vec![]));
    let second = after("b", &first, 10, Some(7));
    assert_eq!((second.on_trial, digests(&second)), (true, vec![("a", 10)]));
    assert_eq!(second.earlier[0].version, "of-a");
    // Operation 7 began with `a`.
    assert_eq!(digests(&after("c", &second, 20, Some(7))), [("b", 20), ("a", 10)]);
    // All operations before 10 have ended, or none is in hand.
    assert_eq!(digests(&after("c", &second, 20, Some(10))), [("b", 20)]);
    assert_eq!(digests(&after("c", &second, 20, None)), [("b", 20)]);
    // All operations go on with `c`.
    assert_eq!(digests(&after("c", &second, 0, Some(7))), [("b", 0)]);
    assert_eq!(digests(&after("b", &second, 0, Some(7))), [("a", 0)]);
    // The same file with other grants.
    let same = after("b", &second, 20, Some(7));
    assert_eq!((same.on_trial, same.added, same.earlier), (true, second.added, second.earlier));
}

#[test]
fn no_more_earlier_files_are_kept_than_may_be() {
    let mut last = row("0");
    for n in 1..20 {
        last = after(&n.to_string(), &last, n * 10, Some(1));
    }
    assert_eq!(last.earlier.len(), EARLIER_MAX);
    assert_eq!(digests(&last)[0], ("18", 190));
}

#[test]
fn the_file_before_comes_back_with_its_grants_and_settings_and_so_does_the_other_one() {
    let second = after("c", &after("b", &row("a"), 10, Some(7)), 20, Some(7));
    let asked = Asked::Daemon { file: "c", why: "crashes" };
    let back_to_b = back(&second, "3".to_owned(), &asked, Timestamp(99)).expect("an earlier");
    assert_eq!((back_to_b.digest.as_str(), back_to_b.config["of"].as_str()), ("b", "b"));
    assert_eq!((back_to_b.added, back_to_b.on_trial), (Timestamp(99), false));
    // Nobody stays on `c`; operation 7 stays on `a`.
    assert_eq!(digests(&back_to_b), [("c", 0), ("a", 10)]);
    assert_eq!(back_to_b.earlier[0].taken_back.as_deref(), Some("crashes"));
    // The daemon does not put back what it took back, and a person may.
    let by_daemon = back(&back_to_b, "2".to_owned(), &asked, Timestamp(100)).expect("an earlier");
    assert_eq!((by_daemon.digest.as_str(), digests(&by_daemon)), ("a", vec![("b", 0), ("c", 0)]));
    let person = Asked::By("eva");
    let again = back(&back_to_b, "2".to_owned(), &person, Timestamp(100)).expect("an earlier");
    assert_eq!((again.digest.as_str(), digests(&again)), ("c", vec![("b", 0), ("a", 10)]));
    assert_eq!(again.earlier[0].taken_back.as_deref(), Some("eva took it back"));
    assert_eq!(back(&row("a"), String::new(), &person, Timestamp(1)), None);
}

#[test]
fn the_last_proven_file_is_kept_while_its_follower_is_on_trial() {
    let fresh = DriverRow { added: now(), ..after("b", &row("a"), 10, None) };
    let third = after("c", &fresh, 20, None);
    assert_eq!(digests(&third), [("b", 20), ("a", 10)]);
    let asked = Asked::Daemon { file: "c", why: "crashes" };
    let second = back(&third, String::new(), &asked, now()).expect("an earlier");
    // `b` is on trial again, so `a` can come back, too.
    assert_eq!((second.digest.as_str(), second.on_trial), ("b", true));
    // Once its trial is over, `a` is not kept.
    assert_eq!(digests(&after("c", &after("b", &row("a"), 10, None), 20, None)), [("b", 20)]);
}
