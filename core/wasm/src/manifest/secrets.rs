//! The secrets that a manifest lists, and those that its commands are given.

use super::{ENTRIES_MAX, plain_text};
use crate::endpoint::Endpoint;
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

/// Checks the list of secrets, and that commands and endpoints get none that is not in it. They need
/// no capability of their own; a driver that reads the values itself asks for `secrets` (`reads`).
pub(super) fn check(
    listed: &BTreeMap<SecretName, SecretUse>,
    commands: &[Template],
    endpoints: &[Endpoint],
    reads: bool,
) -> Result<(), String> {
    if listed.len() > ENTRIES_MAX {
        return Err(format!("secret: {} entries, at most {ENTRIES_MAX} are allowed", listed.len()));
    }
    listed.values().try_for_each(|secret| plain_text("secret", &secret.about))?;
    let of_commands = commands.iter().flat_map(|command| {
        command.secrets().iter().map(|name| (format!("command {:?}", command.name()), name))
    });
    let of_endpoints = endpoints.iter().filter_map(|endpoint| {
        let login = endpoint.login.as_ref()?;
        Some((format!("endpoint {:?}", endpoint.name), login.secret()))
    });
    let mut unused: BTreeSet<&SecretName> = listed.keys().collect();
    for (user, name) in of_commands.chain(of_endpoints) {
        if !unused.remove(name) && !listed.is_empty() && !listed.contains_key(name) {
            return Err(format!(
                "{user}: secret {name} is not among those that the manifest lists"
            ));
        }
    }
    match unused.first().filter(|_| !reads) {
        Some(name) => Err(format!(
            "secret {name} is for nobody: no command and no endpoint gets it, and the driver does \
             not ask for the capability secrets"
        )),
        None => Ok(()),
    }
}
