//! The least permissions that a driver needs, as far as a run of the suite shows them.

use crate::Failure;
use ostler_wasm::{Inspection, Package, Used, asked, least, manifest_text};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;

/// The things that a driver used in a run of the suite.
#[derive(Serialize)]
pub(super) struct Least {
    /// The part of its manifest that it used.
    manifest: String,
    /// Asked for by its manifest, and not used.
    unused: Vec<String>,
    /// Tried, and not asked for by its manifest.
    denied: BTreeSet<String>,
}

impl Least {
    /// Compares what was used with what the manifest of this file asks for.
    pub(super) async fn of(
        file: &Path,
        inspection: &Inspection,
        used: Used,
    ) -> Result<Self, Failure> {
        let package = Package::read(file).await.map_err(|err| super::bad_file(&err))?;
        let text = manifest_text(&package.what, &package.bytes);
        let text = text.map_err(|err| super::bad_file(&err))?;
        let manifest = least(&text, &used).map_err(|err| super::bad_file(&err))?;
        let unused = asked(&inspection.manifest).difference(&used.used).cloned().collect();
        Ok(Self { manifest, unused, denied: used.denied })
    }

    /// The text for people. `skipped`: how many checks did not run.
    pub(super) fn shown(&self, skipped: usize) -> String {
        let mut text = String::from("\nThe part of the manifest that was used:\n\n");
        let nothing = "# nothing: no capability is needed\n";
        text.push_str(if self.manifest.is_empty() { nothing } else { &self.manifest });
        let mut list = |title: &str, names: &[&str]| {
            if !names.is_empty() {
                text.push_str(&format!("\n{title}: {}\n", names.join(", ")));
            }
        };
        let unused: Vec<&str> = self.unused.iter().map(String::as_str).collect();
        let denied: Vec<&str> = self.denied.iter().map(String::as_str).collect();
        list("Asked for and not used", &unused);
        list("Tried and not asked for (each try was denied)", &denied);
        if skipped > 0 {
            text.push_str(&format!(
                "\n{skipped} checks were skipped: the driver may need more than this for what they \
                 would do\n"
            ));
        }
        text
    }
}
