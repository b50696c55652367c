//! The rows of VMs, and how those of older versions are read.

use crate::row::Row;
use ostler_model::VmRecord;
use serde_json::{Value, json};

impl Row for VmRecord {
    const TABLE: &'static str = "vm";
    const VERSION: u32 = 2;

    fn upgrade(_from: u32, row: Value) -> Value {
        to_moving(row)
    }
}

/// From version 1 to 2. In version 1 the other host of a migration was a placement, `other`, with
/// two flags beside it, `other_domain` and `files.other`. Without a placement the flags had no
/// meaning: there was no host where something could be looked at, removed or left behind. No
/// decision wrote that.
fn to_moving(mut row: Value) -> Value {
    let take = |fields: &mut Value, field: &str| {
        fields.as_object_mut().and_then(|fields| fields.remove(field)).unwrap_or_default()
    };
    let place = take(&mut row, "other");
    let domain = take(&mut row, "other_domain") == true;
    let files = row.get_mut("files").is_some_and(|files| take(files, "other") == true);
    if !place.is_null() {
        row["moving"] = json!({ "place": place, "domain": domain, "files": files });
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{decode, encode};
    use ostler_model::{Generation, HostId, Move, Placement, Timestamp};

    /// A VM that moves, as version 1 wrote it.
    const OLD: &str = include_str!("../tests/kept/vm-1.json");

    fn place() -> Placement {
        let driver = "sim".parse().expect("a name");
        Placement { host: HostId(1), driver, generation: Generation(2), since: Timestamp(20) }
    }

    /// The row with these fields. None: older still, without the field.
    fn old(place: Option<Value>, domain: Option<bool>, files: Option<bool>) -> VmRecord {
        let mut kept: Value = serde_json::from_str(OLD).expect("is JSON");
        let row = kept["row"].as_object_mut().expect("an object");
        let mut put = |field: &str, value: Option<Value>| match value {
            Some(value) => drop(row.insert(field.to_owned(), value)),
            None => drop(row.remove(field)),
        };
        put("other", place);
        put("other_domain", domain.map(Value::from));
        let at = row["files"].as_object_mut().expect("an object");
        match files {
            Some(files) => drop(at.insert("other".to_owned(), files.into())),
            None => drop(at.remove("other")),
        }
        // The envelope has its version before its row.
        decode(format!("{{\"v\":1,\"row\":{}}}", kept["row"]).as_bytes(), 9).expect("is read")
    }

    #[test]
    fn a_kept_row_of_version_1_is_read() {
        let record: VmRecord = decode(OLD.trim_end().as_bytes(), 9).expect("is read");
        assert_eq!(record.moving, Some(Move::to(place())));
        assert_eq!(record.placement.map(|place| place.host), Some(HostId(2)));
    }

    #[test]
    fn the_flags_of_version_1_become_one_move() {
        let written = serde_json::to_value(place()).expect("encodes");
        for domain in [None, Some(false), Some(true)] {
            for files in [None, Some(false), Some(true)] {
                let read = old(Some(written.clone()), domain, files);
                let (domain, files) = (domain == Some(true), files == Some(true));
                assert_eq!(read.moving, Some(Move { place: place(), domain, files }));
                let again = encode(&read).expect("encodes");
                assert_eq!(decode::<VmRecord>(&again, 9).expect("is read"), read);
                for none in [None, Some(Value::Null)] {
                    let read = old(none, Some(domain), Some(files));
                    assert_eq!(read.moving, None, "flags without a host say nothing");
                }
            }
        }
    }
}
