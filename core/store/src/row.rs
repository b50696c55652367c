//! The envelope of every row: valid JSON with the version of the row, `{"v":1,"row":{...}}`.
//!
//! The prefix is parsed by hand. So a row of the newest version needs only one pass of the JSON
//! parser, and no copy. An older row is read as a JSON tree and goes through [`Row::upgrade`], one
//! version at a time.

use crate::error::RowError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt::Display;

const HEAD: &[u8] = b"{\"v\":";
const MIDDLE: &[u8] = b",\"row\":";

/// A type that is stored as a row.
pub(crate) trait Row: Serialize + DeserializeOwned {
    /// The name of the table, for messages.
    const TABLE: &'static str;
    /// The version in which rows are written.
    const VERSION: u32 = 1;

    /// Turns a row of version `from` into one of version `from + 1`.
    fn upgrade(_from: u32, row: Value) -> Value {
        row
    }
}

/// The bytes of a row in its envelope.
pub(crate) fn encode<R: Row>(row: &R) -> Result<Vec<u8>, RowError> {
    let mut bytes = Vec::with_capacity(512);
    bytes.extend_from_slice(HEAD);
    bytes.extend_from_slice(R::VERSION.to_string().as_bytes());
    bytes.extend_from_slice(MIDDLE);
    serde_json::to_writer(&mut bytes, row)
        .map_err(|source| RowError::Encode { table: R::TABLE, source })?;
    bytes.push(b'}');
    Ok(bytes)
}

/// Reads a row. `key` is for messages only.
pub(crate) fn decode<R: Row>(bytes: &[u8], key: impl Display) -> Result<R, RowError> {
    let Some((version, content)) = open(bytes) else {
        return Err(RowError::NotARow { table: R::TABLE, key: key.to_string() });
    };
    if version > R::VERSION {
        return Err(RowError::Newer {
            table: R::TABLE,
            key: key.to_string(),
            found: version,
            ours: R::VERSION,
        });
    }
    let parsed = if version == R::VERSION {
        serde_json::from_slice(content)
    } else {
        serde_json::from_slice(content).and_then(|mut row: Value| {
            for from in version..R::VERSION {
                row = R::upgrade(from, row);
            }
            serde_json::from_value(row)
        })
    };
    parsed.map_err(|source| RowError::Content { table: R::TABLE, key: key.to_string(), source })
}

/// The version and the content of a row.
fn open(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let rest = bytes.strip_prefix(HEAD)?;
    let digits = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    let version = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
    let content = rest[digits..].strip_prefix(MIDDLE)?.strip_suffix(b"}")?;
    Some((version, content))
}

/// Bytes inside a row. They are kept as text if they are UTF-8 (most answers are JSON), and as
/// hexadecimal otherwise.
pub(crate) mod bytes {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::fmt::Write;

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Kept<'a> {
        Text(std::borrow::Cow<'a, str>),
        Hex(String),
    }

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Kept::Text(text.into()).serialize(to),
            Err(_) => Kept::Hex(hex(bytes)).serialize(to),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        match Kept::deserialize(from)? {
            Kept::Text(text) => Ok(text.into_owned().into_bytes()),
            Kept::Hex(text) => {
                unhex(&text).ok_or_else(|| serde::de::Error::custom("not hexadecimal"))
            }
        }
    }

    pub(crate) fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing into a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    fn unhex(text: &str) -> Option<Vec<u8>> {
        let digits = text.as_bytes();
        if !digits.len().is_multiple_of(2) {
            return None;
        }
        let digit =
            |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
        digits.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Thing {
        now: u32,
        #[serde(with = "bytes")]
        blob: Vec<u8>,
    }

    impl Row for Thing {
        const TABLE: &'static str = "thing";
        const VERSION: u32 = 3;

        fn upgrade(from: u32, mut row: Value) -> Value {
            if from == 1 {
                row["now"] = row["before"].clone();
            } else {
                row["blob"] = serde_json::json!({"text": "new in 3"});
            }
            row
        }
    }

    #[test]
    fn a_row_comes_back_and_is_plain_json() {
        for blob in [b"text".to_vec(), vec![0xff, 0x00, 0x1a], vec![]] {
            let thing = Thing { now: 7, blob };
            let kept = encode(&thing).expect("encodes");
            assert_eq!(serde_json::from_slice::<Value>(&kept).expect("is JSON")["v"], 3);
            assert_eq!(decode::<Thing>(&kept, 1).expect("decodes"), thing);
        }
    }

    #[test]
    fn an_old_row_is_upgraded_step_by_step() {
        let thing: Thing = decode(br#"{"v":1,"row":{"before":4}}"#, 1).expect("upgrades");
        assert_eq!(thing, Thing { now: 4, blob: b"new in 3".to_vec() });
    }

    #[test]
    fn a_newer_or_foreign_row_is_refused_in_words() {
        let newer = decode::<Thing>(br#"{"v":4,"row":{}}"#, "k").expect_err("newer");
        assert!(newer.to_string().contains("version 4"), "{newer}");
        for foreign in [&b""[..], b"{}", b"{\"v\":,\"row\":1}", b"{\"v\":1,\"row\":1", b"\xff\xff"]
        {
            assert!(matches!(
                decode::<Thing>(foreign, "k"),
                Err(RowError::NotARow { .. } | RowError::Content { .. })
            ));
        }
    }
}
