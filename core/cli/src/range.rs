//! Reads which VMs are meant: ids, names, and ranges of ids.

use crate::Failure;

/// The most VMs of one command. It keeps a typing error such as `1..1000000` from becoming a
/// million requests.
pub(crate) const VMS_MAX: usize = 10_000;

/// Each VM that was named, once, in the given order. Ranges such as `1..5` or `1-5` include both
/// ends.
pub(crate) fn expand(given: &[String]) -> Result<Vec<String>, Failure> {
    let mut seen = std::collections::HashSet::new();
    let mut vms = Vec::new();
    for part in given.iter().flat_map(|text| text.split(',')) {
        let part = part.trim();
        if part.is_empty() {
            return Err(Failure::usage("a VM's name is empty")
                .hint("write ids, names, or ranges such as 1..5"));
        }
        let (from, to) = match ends(part) {
            None => {
                if seen.insert(part.to_owned()) {
                    vms.push(part.to_owned());
                }
                continue;
            }
            Some(Ends::Bad) => {
                return Err(
                    Failure::usage(format!("{part} is no range of ids")).hint("write 1..5 or 1-5")
                );
            }
            Some(Ends::Of(from, to)) => (from, to),
        };
        if from > to {
            return Err(Failure::usage(format!("the range {part} runs backwards"))
                .hint(format!("write {to}..{from}")));
        }
        // The distance is compared, because `to - from + 1` could overflow.
        if to - from >= VMS_MAX as u64 {
            return Err(too_many());
        }
        vms.extend((from..=to).map(|id| id.to_string()).filter(|id| seen.insert(id.clone())));
        if vms.len() > VMS_MAX {
            return Err(too_many());
        }
    }
    if vms.len() > VMS_MAX { Err(too_many()) } else { Ok(vms) }
}

/// The VM of a command that takes only one.
pub(crate) fn one(given: &str) -> Result<&str, Failure> {
    match expand(&[given.to_owned()])?.len() {
        0 | 1 => Ok(given),
        number => Err(Failure::usage(format!("this is about one VM, and {given} are {number}"))
            .hint("name one, by its id or name")),
    }
}

enum Ends {
    Of(u64, u64),
    Bad,
}

/// The ends of a range, if both consist of digits. Any other text is a name, because names may have
/// dots and dashes, too.
fn ends(text: &str) -> Option<Ends> {
    let (from, to) = text.split_once("..").or_else(|| text.split_once('-'))?;
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !(digits(from) && digits(to)) {
        return None;
    }
    Some(match (from.parse(), to.parse()) {
        (Ok(from), Ok(to)) => Ends::Of(from, to),
        _ => Ends::Bad,
    })
}

fn too_many() -> Failure {
    Failure::usage(format!("these are more than {VMS_MAX} VMs")).hint("ask in several parts")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Exit;
    use proptest::prelude::*;

    fn of(given: &[&str]) -> Result<Vec<String>, Failure> {
        expand(&given.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn names_ids_and_ranges_mix() {
        assert_eq!(
            of(&["1..3", "web-1", "2", "7-8", "a..b", "9,10"]).expect("good"),
            ["1", "2", "3", "web-1", "7", "8", "a..b", "9", "10"]
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "5..1",
            "1..1000000",
            "1..99999999999999999999999",
            "0..18446744073709551615",
            "",
            "1,,2",
        ] {
            assert_eq!(of(&[bad]).expect_err(bad).exit, Exit::Usage, "{bad}");
        }
    }

    #[test]
    fn where_one_is_meant_several_are_refused() {
        assert_eq!([one("web-1").expect("a name"), one("7").expect("an id")], ["web-1", "7"]);
        for several in ["1..3", "web,shop"] {
            assert_eq!(one(several).expect_err(several).exit, Exit::Usage);
        }
    }

    proptest! {
        #[test]
        fn a_range_is_all_its_ids(from in 0_u64..1_000_000, length in 0_u64..500) {
            let to = from + length;
            let expected: Vec<String> = (from..=to).map(|id| id.to_string()).collect();
            prop_assert_eq!(&of(&[&format!("{from}..{to}")]).expect("good"), &expected);
            let twice = of(&[&format!("{from}-{to}"), &from.to_string()]).expect("good");
            prop_assert_eq!(&twice, &expected);
        }

        #[test]
        fn whatever_is_typed_has_an_end(given in prop::collection::vec("[0-9a-z.,-]{0,24}", 0..8)) {
            if let Ok(vms) = expand(&given) {
                let unique: std::collections::HashSet<_> = vms.iter().collect();
                prop_assert_eq!(unique.len(), vms.len());
                prop_assert!(vms.len() <= VMS_MAX);
            }
        }
    }
}
