//! Secrets of drivers. A value is sent to the daemon, and never back.

use crate::Time;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::fmt;
use utoipa::ToSchema;

/// The body of `PUT /v1/drivers/{driver}/secrets/{name}` and `PUT /v1/hosts/{host}/secrets/{name}`.
/// Neither its `Debug` nor an error in reading it tells the value.
#[derive(Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct NewSecret {
    /// The value: 1 byte to 16 KiB. It is kept as it is, with blanks and line breaks.
    #[schema(write_only)]
    pub value: String,
}

impl fmt::Debug for NewSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewSecret { value: .. }")
    }
}

/// Reads it by hand: an error of a derived reader repeats what it was given.
impl<'de> Deserialize<'de> for NewSecret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        const FIELDS: &[&str] = &["value"];
        let Value::Object(fields) = Value::deserialize(from)? else {
            return Err(D::Error::custom("the body must be an object with the field `value`"));
        };
        let mut value = None;
        for (field, given) in fields {
            match (field.as_str(), given) {
                ("value", Value::String(text)) => value = Some(text),
                ("value", _) => return Err(D::Error::custom("value must be a text")),
                (other, _) => return Err(D::Error::unknown_field(other, FIELDS)),
            }
        }
        value.map(|value| Self { value }).ok_or_else(|| D::Error::missing_field("value"))
    }
}

/// A secret that is set, without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Secret {
    /// Its name.
    pub name: String,
    /// When its value was set.
    pub set: Time,
}

/// A secret of a driver, without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DriverSecret {
    /// Its name.
    pub name: String,
    /// Its purpose, if the driver's manifest lists it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// Whether it is set for all hosts of the driver. A host may have its own.
    pub set: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode;
    use serde_json::json;

    #[test]
    fn no_error_and_no_debug_output_tells_a_value() {
        for wrong in [
            json!("hunter2"),
            json!(["hunter2"]),
            json!({ "value": ["hunter2"] }),
            json!({ "value": { "hunter2": 1 } }),
            json!({ "value": 123_456_789 }),
            json!({ "valeu": "hunter2" }),
            json!({ "value": "hunter2", "more": "hunter2" }),
            json!({}),
        ] {
            let error = decode::<NewSecret>(wrong.clone()).expect_err("does not fit");
            let told = format!("{error} {error:?} {:?}", error.hint());
            assert!(!told.contains("hunter2") && !told.contains("123456789"), "{wrong}: {told}");
            assert!(told.contains("value"), "{wrong}: {told}");
        }
        let good: NewSecret = decode(json!({ "value": "hunter2" })).expect("fits");
        assert_eq!(good.value, "hunter2");
        assert!(!format!("{good:?}").contains("hunter2"));
    }
}
