//! What a driver used of what it was granted, and what it tried and was denied. It is for the
//! authors of drivers (`ostler plugin test --least`); no daemon has a [`Usage`].
//!
//! A thing is named as grants are: `files`, `exec:convert`, `http:vcenter`. A setting is
//! `config:KEY`, and a secret is `secrets:NAME`.

use crate::manifest::Manifest;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use toml::{Table, Value};

/// The most names that are kept. A driver makes up the names of what it tries.
const NAMES_MAX: usize = 1024;

/// What a driver used, and what it was denied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Used {
    /// What it asked for in its manifest, and used.
    pub used: BTreeSet<String>,
    /// What it tried, and does not ask for in its manifest.
    pub denied: BTreeSet<String>,
}

/// Watches what a driver uses. Clones share everything.
#[derive(Debug, Clone, Default)]
pub struct Usage(Arc<Mutex<Used>>);

impl Usage {
    /// What was used until now.
    #[must_use]
    pub fn told(&self) -> Used {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The driver has used `name`, or tried to.
    pub(crate) fn note(&self, name: &str, granted: bool) {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let names = if granted { &mut used.used } else { &mut used.denied };
        if names.len() < NAMES_MAX {
            names.insert(name.to_owned());
        }
    }
}

/// The parts of a manifest that name something that a driver may use: the table, the key that has
/// the name, and how the thing is named as a grant.
const LISTS: [(&str, &str); 4] =
    [("capability", ""), ("command", "exec:"), ("socket", "socket:"), ("endpoint", "http:")];
const TABLES: [(&str, &str); 2] = [("config", "config:"), ("secret", "secrets:")];

fn name_of(entry: &Value) -> &str {
    entry.get("name").and_then(Value::as_str).unwrap_or_default()
}

/// Everything that a manifest asks for.
#[must_use]
pub fn asked(manifest: &Manifest) -> BTreeSet<String> {
    let capabilities = manifest.capabilities.iter().map(|asked| asked.name.clone());
    let parts = ["exec", "socket", "http"]
        .into_iter()
        .flat_map(|of| manifest.parts(of).into_iter().map(move |part| format!("{of}:{part}")));
    let settings = manifest.config.keys().map(|key| format!("config:{key}"));
    let secrets = manifest.secrets.keys().map(|name| format!("secrets:{name}"));
    capabilities.chain(parts).chain(settings).chain(secrets).collect()
}

/// The part of a manifest that was used, as TOML: capabilities, commands, sockets, endpoints,
/// settings and secrets.
///
/// # Errors
/// The text is no manifest.
pub fn least(manifest: &str, used: &Used) -> Result<String, toml::de::Error> {
    let whole: Table = toml::from_str(manifest)?;
    let mut kept = Table::new();
    for (list, grant) in LISTS {
        let entries = whole.get(list).and_then(Value::as_array).into_iter().flatten();
        let entries: Vec<Value> = entries
            .filter(|entry| used.used.contains(&format!("{grant}{}", name_of(entry))))
            .cloned()
            .collect();
        if !entries.is_empty() {
            kept.insert(list.to_owned(), Value::Array(entries));
        }
    }
    for (table, grant) in TABLES {
        let entries = whole.get(table).and_then(Value::as_table).into_iter().flatten();
        let entries: Table = entries
            .filter(|(name, _)| used.used.contains(&format!("{grant}{name}")))
            .map(|(name, entry)| (name.clone(), entry.clone()))
            .collect();
        if !entries.is_empty() {
            kept.insert(table.to_owned(), Value::Table(entries));
        }
    }
    // A table of texts, lists and tables can always be written.
    Ok(toml::to_string(&kept).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r#"
name = "one"
version = "1.0.0"
summary = "One."
capability = [{ name = "files", why = "disks" }, { name = "exec", why = "tools" }]

[[command]]
name = "make"
program = "/usr/bin/make"
argv = ["{n:int(1..9)}", { optional = ["-q", "{word:word}"] }]

[[command]]
name = "unmake"
program = "/usr/bin/unmake"

[config.place]
about = "Where."

[config.colour]
about = "Of the shed."
"#;

    #[test]
    fn the_least_manifest_has_what_was_used_word_for_word() {
        let usage = Usage::default();
        for name in ["exec", "exec:make", "config:place"] {
            usage.note(name, true);
        }
        usage.note("socket:qmp", false);
        let used = usage.told();
        let text = least(MANIFEST, &used).expect("a manifest");
        let head = "name = \"one\"\nversion = \"1.0.0\"\nsummary = \"One.\"\n";
        let kept = Manifest::parse(format!("{head}{text}").as_bytes()).expect("a whole manifest");
        let whole = Manifest::parse(MANIFEST.as_bytes()).expect("a manifest");
        assert_eq!(asked(&kept), used.used, "{text}");
        assert_eq!(kept.command("make"), whole.command("make"));
        let unused: Vec<String> = asked(&whole).difference(&used.used).cloned().collect();
        assert_eq!(unused, ["config:colour", "exec:unmake", "files"]);
        assert_eq!(used.denied, BTreeSet::from(["socket:qmp".to_owned()]));
    }

    #[test]
    fn names_are_bounded() {
        let usage = Usage::default();
        for number in 0..2 * NAMES_MAX {
            usage.note(&number.to_string(), false);
        }
        assert_eq!(usage.told().denied.len(), NAMES_MAX);
    }
}
