//! Reads inputs. An error names the place, the mistake, and the nearest name that would be right.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// The smallest likeness of a name that is suggested (Jaro-Winkler; 1 means equal). Names below it
/// share too little.
const NEAR: f64 = 0.75;

/// An error in an input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{detail}", at(path))]
pub struct Misfit {
    /// The place: `disks[0].size`. Empty for the whole input.
    pub path: String,
    /// The mistake.
    pub detail: String,
    /// The nearest known name, if the input has an unknown name and a known one is near.
    pub nearest: Option<String>,
}

impl Misfit {
    /// A hint that suggests the nearest name.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        self.nearest.as_ref().map(|name| format!("did you mean {name}?"))
    }
}

fn at(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!("{path}: ") }
}

/// Reads a value as `T`.
///
/// # Errors
/// The first thing that does not fit, with its path and the nearest known name.
pub fn decode<T: DeserializeOwned>(value: Value) -> Result<T, Misfit> {
    serde_path_to_error::deserialize(value).map_err(|err| {
        let path = match err.path().to_string() {
            dot if dot == "." => String::new(),
            path => path,
        };
        misfit(path, &err.into_inner().to_string())
    })
}

/// The name in `known` that is nearest to `given`, if one is near.
#[must_use]
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.to_ascii_lowercase();
    let scored = known.into_iter().map(|name| (strsim::jaro_winkler(&given, name), name));
    scored
        .filter(|(score, _)| *score >= NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// Takes a message of serde apart. serde says "unknown field `a`, expected one of `b`, `c`": the
/// names are between back quotes, the unknown one first.
fn misfit(path: String, message: &str) -> Misfit {
    let detail = message.split(" at line ").next().unwrap_or(message).to_owned();
    let mut quoted = message.split('`').skip(1).step_by(2);
    let nearest = if message.starts_with("unknown field") || message.starts_with("unknown variant")
    {
        quoted.next().and_then(|given| nearest(given, quoted)).map(str::to_owned)
    } else {
        None
    };
    Misfit { path, detail, nearest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::VmSpec;
    use serde_json::json;

    fn complaint(value: Value) -> Misfit {
        decode::<VmSpec>(value).expect_err("does not fit")
    }

    #[test]
    fn an_unknown_field_gets_the_nearest_name() {
        let misfit = complaint(json!({"name": "a", "memory": 1, "memroy": 2}));
        assert_eq!(misfit.nearest.as_deref(), Some("memory"));
        assert!(misfit.to_string().contains("memroy"), "{misfit}");
        assert!(complaint(json!({"name": "a", "memory": 1, "zzz": 2})).nearest.is_none());
    }

    #[test]
    fn the_path_leads_to_the_place() {
        let misfit =
            complaint(json!({"name": "a", "memory": 1, "disks": [{"name": "vda", "imgae": "x"}]}));
        assert_eq!(
            (misfit.path.as_str(), misfit.nearest.as_deref()),
            ("disks[0].imgae", Some("image"))
        );
        let misfit = complaint(json!({"name": "a", "memory": "1 potato"}));
        assert_eq!(misfit.path, "memory");
        assert!(misfit.to_string().contains("MiB"), "{misfit}");
        let misfit = complaint(json!({"name": "a"}));
        assert_eq!((misfit.path.as_str(), misfit.detail.as_str()), ("", "missing field `memory`"));
    }
}
