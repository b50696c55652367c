//! How claims are judged.

use super::*;

fn claim(bound: Bound, amount: Amount) -> Claim {
    Claim {
        holding: Holding { book: Book::Host, key: HostId(1).into(), amount: Some(amount) },
        bound,
    }
}

fn page(own: Option<Amount>, held: Amount) -> Page {
    let limit = Amount([u64::MAX, 10, 10]);
    let terms =
        Terms { called: "one".to_owned(), state: "on".to_owned(), takes: Takes::All, limit };
    Page { terms: Some(terms), own, held, owner: None }
}

#[test]
fn each_part_is_bounded_for_itself_and_what_is_held_already_needs_no_room() {
    let wants = |cpu, memory| claim(Bound::Limit, Amount([1, cpu, memory]));
    assert_eq!(wants(10, 10).judge(&page(None, Amount::default())), Ok(()));
    assert!(matches!(wants(11, 1).judge(&page(None, Amount::default())), Err(Lack::Full { .. })));
    assert!(matches!(wants(1, 11).judge(&page(None, Amount::default())), Err(Lack::Full { .. })));
    let own = Amount([1, 8, 2]);
    let full = page(Some(own), own.plus(Amount([1, 9, 0])));
    assert_eq!(
        wants(8, 10).judge(&full),
        Ok(()),
        "it keeps its CPUs on a host that is too full, and memory is free"
    );
    assert!(matches!(wants(9, 2).judge(&full), Err(Lack::Full { .. })));
    assert_eq!(
        claim(Bound::Open, Amount([1, 99, 99])).judge(&full),
        Ok(()),
        "who may overcommit is not bounded"
    );
}

#[test]
fn a_thing_takes_everybody_or_its_holders_or_nobody() {
    let judged = |takes: Takes, own: Option<Amount>| {
        let mut page = page(own, Amount::default());
        page.terms.as_mut().expect("has terms").takes = takes;
        claim(Bound::Open, Amount::ONE).judge(&page).is_ok()
    };
    let held = Some(Amount::default());
    let all = [Takes::All, Takes::Holders, Takes::Nobody];
    assert_eq!(all.clone().map(|takes| judged(takes, None)), [true, false, false]);
    assert_eq!(all.map(|takes| judged(takes, held)), [true, true, false]);
    assert_eq!(claim(Bound::Open, Amount::ONE).judge(&Page::default()), Err(Lack::Missing));
}

#[test]
fn only_what_has_one_owner_and_is_held_anew_is_claimed_unasked() {
    let mac = |last: &str| Holding {
        book: Book::Mac,
        key: (&format!("52:54:00:00:00:{last}").parse::<MacAddress>().expect("an address")).into(),
        amount: None,
    };
    let room = claim(Bound::Open, Amount::ONE).holding;
    let implied: Vec<Claim> = Claim::implied(&[mac("01")], &[room, mac("01"), mac("02")]).collect();
    assert_eq!(implied, [Claim { holding: mac("02"), bound: Bound::Sole }]);
    let (by, name): (VmId, VmName) = (VmId(7), "web".parse().expect("a name"));
    let owner = Some((by, name.clone()));
    let page = Page { terms: Some(Terms::of_none(&mac("02").key)), owner, ..Page::default() };
    assert_eq!(implied[0].judge(&page), Err(Lack::Taken { by, name }));
}
