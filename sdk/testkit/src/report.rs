//! What came of it.

use ostler_driver::conformance::Report;
use ostler_wasm::Inspection;
use std::collections::BTreeSet;
use std::fmt;

/// What the suite found of a component.
#[derive(Debug, Clone)]
pub struct TestReport {
    /// What the component says about itself.
    pub inspection: Inspection,
    /// What it was granted.
    pub granted: BTreeSet<String>,
    /// One report for each kind it exports.
    pub reports: Vec<(&'static str, Report)>,
}

impl TestReport {
    /// Whether no rule was broken.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.reports.iter().all(|(_, report)| report.passed())
    }

    /// The names of checks that failed.
    #[must_use]
    pub fn broken(&self) -> Vec<&'static str> {
        self.reports.iter().flat_map(|(_, report)| report.broken()).collect()
    }

    /// The names of checks that could not be tried.
    #[must_use]
    pub fn skipped(&self) -> Vec<&'static str> {
        self.reports.iter().flat_map(|(_, report)| report.skipped()).collect()
    }
}

impl fmt::Display for TestReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let manifest = &self.inspection.manifest;
        let granted = self.granted.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let granted = if granted.is_empty() { "nothing".to_owned() } else { granted };
        writeln!(f, "{} {}: {}", manifest.name, manifest.version, manifest.summary)?;
        writeln!(f, "granted: {granted}")?;
        for (kind, report) in &self.reports {
            writeln!(f, "\n{kind}\n{report}")?;
        }
        Ok(())
    }
}
