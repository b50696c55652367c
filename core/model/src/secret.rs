//! Secrets of drivers: passwords and tokens that an operator has given to a driver.

use crate::{DriverName, HostId, InvalidName};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The longest name of a secret.
const NAME_MAX: usize = 63;

/// The name of a secret: 1 to 63 lower-case letters, digits and dashes, as the names of commands in
/// a manifest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretName(String);

impl SecretName {
    /// The checked text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SecretName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if (1..=NAME_MAX).contains(&text.len()) && text.chars().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName::secret(text))
        }
    }
}

impl TryFrom<String> for SecretName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SecretName> for String {
    fn from(name: SecretName) -> Self {
        name.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The value of a secret. It is stored, and handed to its driver. It is never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretValue(String);

impl SecretValue {
    /// Keeps `value` out of everything that is printed.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the driver that it was given to.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(..)")
    }
}

/// Which secret it is: one of a driver for all its hosts, or one for a single host. The one of the
/// host comes before the one of the driver.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SecretKey {
    /// The driver that may read it.
    pub driver: DriverName,
    /// The host that it is for. None: all hosts of the driver.
    #[serde(default)]
    pub host: Option<HostId>,
    /// Its name.
    pub name: SecretName,
}

/// The form for logs and events: `password of driver xcp`, `password of driver xcp for host 3`.
impl fmt::Display for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of driver {}", self.name, self.driver)?;
        match self.host {
            Some(host) => write!(f, " for host {host}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_grammar_of_a_manifest() {
        for good in ["password", "api-token-2", "0", &"a".repeat(63)] {
            assert_eq!(good.parse::<SecretName>().expect(good).as_str(), good);
        }
        for bad in ["", "Password", "a b", "a_b", "a.b", "ä", "a\n", "{a}", &"a".repeat(64)] {
            let problem = bad.parse::<SecretName>().expect_err(bad).to_string();
            assert!(problem.contains("1 to 63 lower-case letters"), "{problem}");
        }
    }

    #[test]
    fn a_value_is_never_printed() {
        let value = SecretValue::new("hunter2");
        assert_eq!(value.expose(), "hunter2");
        assert_eq!(format!("{value:?} {:#?}", Some(&value)).matches("hunter2").count(), 0);
    }
}
