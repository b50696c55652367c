//! Makes a new driver from a template. The new crate builds and passes the suite without changes.

use ostler_model::DriverName;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The kind of a new driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PluginKind {
    /// A driver that runs domains.
    Hypervisor,
    /// A driver that moves disks.
    Transfer,
    /// A driver that judges snapshots.
    SnapshotRules,
}

impl FromStr for PluginKind {
    type Err = PlantError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "hypervisor" => Ok(Self::Hypervisor),
            "transfer" => Ok(Self::Transfer),
            "rules" | "snapshot-rules" => Ok(Self::SnapshotRules),
            other => Err(PlantError::Kind { given: other.to_owned() }),
        }
    }
}

/// The reason why a driver could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PlantError {
    /// There is no such kind.
    #[error("{given:?} is no kind of driver: hypervisor, transfer or rules")]
    Kind {
        /// The word that was given.
        given: String,
    },
    /// The name is not valid for a driver.
    #[error(transparent)]
    Name(#[from] ostler_model::InvalidName),
    /// The folder exists already.
    #[error("{path} is there already: choose another name or remove it")]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// The folder cannot be written.
    #[error("{path} cannot be written: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
}

type Files = &'static [(&'static str, &'static str)];

const HYPERVISOR: Files = &[
    ("Cargo.toml", include_str!("../../templates/hypervisor/Cargo.toml.in")),
    ("manifest.toml", include_str!("../../templates/hypervisor/manifest.toml")),
    ("src/lib.rs", include_str!("../../templates/hypervisor/src/lib.rs")),
];
const TRANSFER: Files = &[
    ("Cargo.toml", include_str!("../../templates/transfer/Cargo.toml.in")),
    ("manifest.toml", include_str!("../../templates/transfer/manifest.toml")),
    ("src/lib.rs", include_str!("../../templates/transfer/src/lib.rs")),
];
const RULES: Files = &[
    ("Cargo.toml", include_str!("../../templates/rules/Cargo.toml.in")),
    ("manifest.toml", include_str!("../../templates/rules/manifest.toml")),
    ("src/lib.rs", include_str!("../../templates/rules/src/lib.rs")),
];

/// Makes a driver in the folder `dir/name`. It takes the SDK from the package registry. Answers the
/// folder.
///
/// # Errors
/// The name is not valid, the folder exists already, or it cannot be written.
pub fn new_plugin(dir: &Path, name: &str, kind: PluginKind) -> Result<PathBuf, PlantError> {
    new_plugin_with(dir, name, kind, concat!("version = \"", env!("CARGO_PKG_VERSION"), "\""))
}

/// As [`new_plugin`], but with the SDK from another place. `sdk` is the text in Cargo's braces
/// (`path = "../sdk/rust"`).
///
/// # Errors
/// As [`new_plugin`].
pub fn new_plugin_with(
    dir: &Path,
    name: &str,
    kind: PluginKind,
    sdk: &str,
) -> Result<PathBuf, PlantError> {
    let name: DriverName = name.parse()?;
    let folder = dir.join(name.as_str());
    if folder.exists() {
        return Err(PlantError::Exists { path: folder });
    }
    let files = match kind {
        PluginKind::Hypervisor => HYPERVISOR,
        PluginKind::Transfer => TRANSFER,
        PluginKind::SnapshotRules => RULES,
    };
    for (path, text) in files {
        let text = text
            .replace("@NAME@", name.as_str())
            .replace("@CRATE@", &crate_name(name.as_str()))
            .replace("@SDK@", sdk);
        write(&folder.join(path), &text)?;
    }
    write(&folder.join(".gitignore"), "/target\n")?;
    Ok(folder)
}

/// The name of the crate of the driver `name`. Cargo allows letters, digits, dashes and
/// underscores, but no digit at the beginning.
#[must_use]
pub fn crate_name(name: &str) -> String {
    let plain: String = name.chars().map(|c| if c == '.' { '-' } else { c }).collect();
    if plain.starts_with(|c: char| c.is_ascii_digit()) { format!("driver-{plain}") } else { plain }
}

pub(crate) fn write(path: &Path, text: &str) -> Result<(), PlantError> {
    let failed = |source| PlantError::Write { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    fs::write(path, text).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_laid_down_with_nothing_left_to_fill_in() {
        let folder = tempfile::tempdir().expect("a folder");
        for (word, name) in
            [("hypervisor", "mine"), ("transfer", "my.disks"), ("rules", "8-at-most")]
        {
            let kind: PluginKind = word.parse().expect("a kind");
            let made = new_plugin(folder.path(), name, kind).expect("laid down");
            for file in ["Cargo.toml", "manifest.toml", "src/lib.rs"] {
                let text = fs::read_to_string(made.join(file)).expect("a file");
                assert!(!text.contains('@') || !text.contains("@NAME@"), "{file}");
            }
            let manifest = fs::read(made.join("manifest.toml")).expect("a manifest");
            assert_eq!(ostler_wasm::Manifest::parse(&manifest).expect("valid").name.as_str(), name);
            assert!(matches!(
                new_plugin(folder.path(), name, kind),
                Err(PlantError::Exists { .. })
            ));
        }
        assert!(matches!(
            new_plugin(folder.path(), "../x", PluginKind::Transfer),
            Err(PlantError::Name(_))
        ));
    }
}
