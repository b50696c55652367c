//! Grants of drivers: which capabilities an operator gives to a component, of those that its
//! manifest asks for, and what becomes of them when another file takes the driver's place.

use ostler_api::Upgrade;
use ostler_driver::{DriverInfo, DriverOrigin};
use ostler_model::{DatastoreName, DriverName, Timestamp};
use ostler_store::DriverRow;
use ostler_wasm::Manifest;
use std::collections::{BTreeMap, BTreeSet};

/// Why a driver does not get the grants.
#[derive(Debug, thiserror::Error)]
pub enum GrantProblem {
    /// The driver does not ask for the grant.
    #[error("driver {driver} does not ask for {grant}; it asks for: {asks}")]
    NotAsked {
        /// The driver.
        driver: DriverName,
        /// The grant of the operator.
        grant: String,
        /// The capabilities that its manifest asks for.
        asks: String,
    },
    /// Commands, sockets or endpoints that were granted for the file before are others in the new
    /// file.
    #[error(
        "driver {driver}: these were granted and are something else in the new file: {}",
        .grants.join(", ")
    )]
    PartsChanged {
        /// The driver.
        driver: DriverName,
        /// The grants: `exec:NAME`, `socket:NAME`, `http:NAME`.
        grants: Vec<String>,
    },
}

/// Capabilities, each with the list of what exactly is allowed: for `exec`, `socket` and `http` the
/// names of commands, sockets and endpoints.
type Granted = BTreeMap<String, Vec<String>>;

/// Translates words like `files`, `exec`, `exec:info` and `all` for this manifest: into
/// capabilities, and for those that have parts into the names of these.
pub(crate) fn granted(manifest: &Manifest, words: &[String]) -> Result<Granted, GrantProblem> {
    let parts = |capability: &str| -> Vec<String> {
        manifest.parts(capability).into_iter().map(str::to_owned).collect()
    };
    let mut granted: Granted = BTreeMap::new();
    for word in words {
        let (capability, part) =
            word.split_once(':').map_or((word.as_str(), None), |(left, right)| (left, Some(right)));
        match (capability, part) {
            ("all", None) => {
                for asked in &manifest.capabilities {
                    granted.entry(asked.name.clone()).or_default().extend(parts(&asked.name));
                }
            }
            (asked, Some(name))
                if manifest.asks(asked) && parts(asked).iter().any(|part| part == name) =>
            {
                granted.entry(asked.to_owned()).or_default().push(name.to_owned());
            }
            // A whole datastore, which no manifest names.
            ("files", Some(name))
                if manifest.asks("files") && name.parse::<DatastoreName>().is_ok() =>
            {
                granted.entry("files".to_owned()).or_default().push(name.to_owned());
            }
            (asked, None) if manifest.asks(asked) => {
                let parts = parts(asked);
                granted.entry(asked.to_owned()).or_default().extend(parts);
            }
            (_, None | Some(_)) => {
                let asks: Vec<&str> =
                    manifest.capabilities.iter().map(|asked| asked.name.as_str()).collect();
                let asks = if asks.is_empty() { "nothing".to_owned() } else { asks.join(", ") };
                return Err(GrantProblem::NotAsked {
                    driver: manifest.name.clone(),
                    grant: word.clone(),
                    asks,
                });
            }
        }
    }
    Ok(granted)
}

/// The grants of a component that takes the place of `before`, if the operator names none: those
/// that were given and that it still asks for. `old`: the manifest of the file before, if it is
/// still there.
///
/// # Errors
/// If a command that was granted runs something else in the new file, or a socket or an endpoint is
/// another one.
/// The operator has granted that program with these arguments, and not whatever has its name.
pub(crate) fn carried(
    before: &DriverRow,
    old: Option<&Manifest>,
    new: &Manifest,
) -> Result<Granted, GrantProblem> {
    let (mut kept, mut changed) = (Granted::new(), Vec::new());
    for (capability, allowed) in &before.grants {
        if !new.asks(capability) {
            continue;
        }
        let here: &mut Vec<String> = kept.entry(capability.clone()).or_default();
        if capability == "files" {
            // Datastores are the operator's, and not the file's.
            here.extend(allowed.iter().cloned());
            continue;
        }
        // What the new file does not have is not asked for any more.
        let asked = new.parts(capability);
        for name in allowed.iter().filter(|name| asked.contains(&name.as_str())) {
            if old.is_some_and(|old| old.part_is_same(new, capability, name)) {
                here.push(name.clone());
            } else {
                changed.push(format!("{capability}:{name}"));
            }
        }
    }
    if changed.is_empty() {
        Ok(kept)
    } else {
        Err(GrantProblem::PartsChanged { driver: new.name.clone(), grants: changed })
    }
}

/// The same grants, as the host of components takes them.
pub(crate) fn for_host(granted: &Granted) -> BTreeMap<String, BTreeSet<String>> {
    let parts = |parts: &Vec<String>| parts.iter().cloned().collect();
    granted.iter().map(|(capability, all)| (capability.clone(), parts(all))).collect()
}

/// The grants of a loaded component that nobody added: it comes from the plugin directory. None if
/// the driver is built in.
pub(crate) fn of_loaded(info: &DriverInfo) -> Option<DriverRow> {
    let DriverOrigin::Component { digest, granted, .. } = &info.origin else { return None };
    let mut grants = Granted::new();
    for word in granted {
        let (capability, part) = word
            .split_once(':')
            .map_or((word.as_str(), None), |(of, part)| (of, Some(part.to_owned())));
        grants.entry(capability.to_owned()).or_default().extend(part);
    }
    Some(DriverRow {
        name: info.name.clone(),
        file: String::new(),
        digest: digest.clone(),
        grants,
        config: BTreeMap::new(),
        enabled: true,
        added: Timestamp(0),
        on_trial: false,
        earlier: Vec::new(),
    })
}

/// The difference between the grants of two files of one driver.
pub(crate) fn difference(before: &DriverRow, now: &DriverRow) -> Upgrade {
    let words = |row: &DriverRow| -> BTreeSet<String> {
        // A capability with parts lets a driver do nothing without one of them.
        let of = |(capability, allowed): (&String, &Vec<String>)| -> Vec<String> {
            let parts = allowed.iter().map(|name| format!("{capability}:{name}"));
            match capability.as_str() {
                "exec" | "socket" | "http" => parts.collect(),
                other => std::iter::once(other.to_owned()).chain(parts).collect(),
            }
        };
        row.grants.iter().flat_map(of).collect()
    };
    let (old, new) = (words(before), words(now));
    Upgrade {
        from: before.digest.clone(),
        kept: old.intersection(&new).cloned().collect(),
        granted: new.difference(&old).cloned().collect(),
        revoked: old.difference(&new).cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = r#"
        name = "x"
        version = "1.0.0"
        summary = "s"
        [[capability]]
        name = "config"
        why = "w"
        [[capability]]
        name = "exec"
        why = "w"
        [[command]]
        name = "info"
        program = "/usr/bin/qemu-img"
        argv = ["info", "{disk:path}"]
        [[command]]
        name = "check"
        program = "/usr/bin/qemu-img"
        argv = ["check", "{disk:path}"]
    "#;

    fn manifest(text: &str) -> Manifest {
        Manifest::parse(text.as_bytes()).expect("a manifest")
    }

    fn row(digest: &str, grants: Granted) -> DriverRow {
        DriverRow {
            name: "x".parse().expect("a name"),
            file: format!("/x-{digest}.wasm"),
            digest: digest.to_owned(),
            grants,
            config: BTreeMap::new(),
            enabled: true,
            added: Timestamp(1),
            on_trial: false,
            earlier: Vec::new(),
        }
    }

    fn all() -> DriverRow {
        row("a", granted(&manifest(ONE), &["all".to_owned()]).expect("asked for"))
    }

    #[test]
    fn grants_that_are_still_asked_for_are_kept() {
        let before = all();
        let kept = |new: &str| carried(&before, Some(&manifest(ONE)), &manifest(new));
        assert_eq!(kept(ONE).expect("the same"), before.grants);
        // Another version asks for more, and no longer for `check`.
        let other = ONE.replace("\"check\"", "\"mend\"").replace(
            "name = \"config\"\n        why = \"w\"",
            "name = \"files\"\n        why = \"w\"",
        );
        let now = row("b", kept(&other).expect("kept"));
        assert_eq!(now.grants, BTreeMap::from([("exec".to_owned(), vec!["info".to_owned()])]));
        assert_eq!(
            difference(&before, &now),
            Upgrade {
                from: "a".to_owned(),
                kept: vec!["exec:info".to_owned()],
                granted: vec![],
                revoked: vec!["config".to_owned(), "exec:check".to_owned()],
            }
        );
    }

    #[test]
    fn a_command_that_runs_something_else_is_not_kept_by_its_name() {
        let before = all();
        let other = manifest(&ONE.replace("\"info\", \"{disk", "\"convert\", \"{disk"));
        let one = manifest(ONE);
        for old in [Some(&one), None] {
            let grants = match carried(&before, old, &other) {
                Err(GrantProblem::PartsChanged { grants, .. }) => grants,
                other => panic!("{other:?}"),
            };
            // Without the file before, nothing can be compared.
            let changed =
                if old.is_some() { vec!["exec:info"] } else { vec!["exec:info", "exec:check"] };
            assert_eq!(grants, changed);
        }
    }

    #[test]
    fn a_command_that_is_given_other_secrets_is_not_kept_by_its_name() {
        let given = |secrets: &str| {
            let argv = "argv = [\"info\"";
            let text = ONE.replace(argv, &format!("secrets = [{secrets}]\n{argv}"));
            manifest(&(text + "[[capability]]\nname = \"secrets\"\nwhy = \"w\"\n"))
        };
        let one = given("\"password\"");
        let before = row("a", granted(&one, &["all".to_owned()]).expect("asked for"));
        let same = carried(&before, Some(&one), &given("\"password\"")).expect("the same");
        assert_eq!(same, before.grants);
        for secrets in ["", "\"token\"", "\"password\", \"token\""] {
            let carried = carried(&before, Some(&one), &given(secrets));
            let Err(GrantProblem::PartsChanged { grants, .. }) = carried else {
                panic!("{secrets}: {carried:?}")
            };
            assert_eq!(grants, ["exec:info"], "{secrets}");
        }
    }
}
