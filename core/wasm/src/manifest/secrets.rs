//! The secrets that a manifest lists, and those that its commands are given.

use super::{ENTRIES_MAX, plain_text};
use crate::template::Template;
use ostler_model::SecretName;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// A secret that the driver reads, or that a command of it is given.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretUse {
    /// Its purpose, for people.
    pub about: String,
}

/// The names of the secrets of a command.
pub(super) fn of_command(names: &[String]) -> Result<BTreeSet<SecretName>, String> {
    let mut known = BTreeSet::new();
    for name in names {
        let parsed: SecretName = name.parse().map_err(|error| format!("secrets: {error}"))?;
        if !known.insert(parsed) {
            return Err(format!("secret {name:?} is there twice"));
        }
    }
    if known.len() > ENTRIES_MAX {
        return Err(format!("{} secrets, at most {ENTRIES_MAX} are allowed", known.len()));
    }
    Ok(known)
}

/// Checks the list of secrets, and that commands are given none that is not in it.
pub(super) fn check(
    listed: &BTreeMap<SecretName, SecretUse>,
    commands: &[Template],
    asks: bool,
) -> Result<(), String> {
    if listed.len() > ENTRIES_MAX {
        return Err(format!("secret: {} entries, at most {ENTRIES_MAX} are allowed", listed.len()));
    }
    listed.values().try_for_each(|secret| plain_text("secret", &secret.about))?;
    let given = commands.iter().find(|command| !command.secrets().is_empty());
    if (given.is_some() || !listed.is_empty()) && !asks {
        return Err("it names secrets but does not ask for the capability secrets".to_owned());
    }
    for command in commands {
        let unknown = command.secrets().iter().find(|name| !listed.contains_key(*name));
        if let Some(name) = unknown.filter(|_| !listed.is_empty()) {
            return Err(format!(
                "command {:?}: secret {name} is not among those that the manifest lists",
                command.name()
            ));
        }
    }
    Ok(())
}
