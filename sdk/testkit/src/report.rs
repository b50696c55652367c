//! The report of trying a component.

use ostler_driver_testkit::conformance::{Ended, Report};
use ostler_wasm::Inspection;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The result of the suite for one component.
#[derive(Debug, Clone)]
pub struct TestReport {
    /// The description of the component.
    pub inspection: Inspection,
    /// The capabilities that it was granted.
    pub granted: BTreeSet<String>,
    /// One report for each kind that it exports.
    pub reports: Vec<(&'static str, Report)>,
    /// The first difference between what the driver did and what was recorded. It has ended the run.
    pub differs: Option<String>,
}

impl TestReport {
    /// Whether no rule was broken.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.differs.is_none() && self.reports.iter().all(|(_, report)| report.passed())
    }

    /// The names of checks that failed.
    #[must_use]
    pub fn broken(&self) -> Vec<&'static str> {
        self.reports.iter().flat_map(|(_, report)| report.broken()).collect()
    }

    /// The names of checks that were skipped.
    #[must_use]
    pub fn skipped(&self) -> Vec<&'static str> {
        self.reports.iter().flat_map(|(_, report)| report.skipped()).collect()
    }
}

/// The indent of continued lines.
const INDENT: &str = "        ";
/// The text that the component host writes between a panic's message and its backtrace, and before
/// the reason of a trap.
const BACKTRACE: &str = "error while executing at wasm backtrace:";
const TRAP: &str = "wasm trap: ";
/// The text that the component host writes if a capability was used that is not granted.
const DENIED: &str = "the operator has not granted ";

/// A failure as people want to read it: the message of a panic without its backtrace, the reason of
/// a trap, and all lines indented. The full text stays in [`TestReport::reports`].
fn told(detail: &str) -> String {
    let (message, reason) = match detail.split_once(BACKTRACE) {
        None => (detail, ""),
        Some((message, rest)) if message.contains("panicked at") => {
            (message, rest.rsplit_once("; ").map_or("", |(_, last)| last))
        }
        Some((message, rest)) => (message, rest.rfind(TRAP).map_or(rest, |at| &rest[at..])),
    };
    let lines = message.lines().chain(reason.lines()).map(str::trim_end);
    let lines: Vec<_> = lines
        .filter(|line| !line.is_empty() && !line.starts_with("note: run with `RUST_BACKTRACE"))
        .collect();
    lines.join(&format!("\n{INDENT}      "))
}

/// The capability that was not granted, if a check failed because of that.
fn denied(detail: &str) -> Option<&str> {
    let (_, rest) = detail.split_once(DENIED)?;
    // The name ends at the first other character, which may be a quotation mark.
    rest.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':'))).next()
}

/// Writes the findings for one kind: each check that was run, the skipped checks grouped by their
/// reason, and a hint if grants are missing.
fn write_report(f: &mut fmt::Formatter<'_>, report: &Report) -> fmt::Result {
    let mut skipped: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut missing: BTreeMap<&str, usize> = BTreeMap::new();
    for finding in &report.findings {
        let (check, took) = (finding.check, finding.took.as_millis());
        match &finding.ended {
            Ended::Passed => {
                let note = finding.note.as_deref().unwrap_or_default();
                writeln!(f, "{}", format!("ok      {check:32} {took:>6} ms  {note}").trim_end())?;
            }
            Ended::Failed(detail) => {
                *missing.entry(denied(detail).unwrap_or_default()).or_default() += 1;
                writeln!(f, "FAILED  {check:32} {took:>6} ms")?;
                writeln!(f, "{INDENT}rule: {}\n{INDENT}seen: {}", finding.rule, told(detail))?;
            }
            Ended::Skipped(why) => match skipped.iter_mut().find(|(reason, _)| reason == why) {
                Some((_, checks)) => checks.push(check),
                None => skipped.push((why, vec![check])),
            },
        }
    }
    for (why, checks) in skipped {
        writeln!(f, "skipped {why}: {}", checks.join(", "))?;
    }
    let (all, broken, skipped) =
        (report.findings.len(), report.broken().len(), report.skipped().len());
    writeln!(
        f,
        "{all} checks: {} passed, {broken} failed, {skipped} skipped",
        all - broken - skipped
    )?;
    for (capability, count) in missing.into_iter().filter(|(capability, _)| !capability.is_empty())
    {
        writeln!(
            f,
            "hint: {count} of them failed because {capability} was asked for and is not granted: \
             grant it and look again"
        )?;
    }
    Ok(())
}

impl fmt::Display for TestReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let manifest = &self.inspection.manifest;
        let granted = self.granted.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let granted = if granted.is_empty() { "nothing".to_owned() } else { granted };
        writeln!(f, "{} {}: {}", manifest.name, manifest.version, manifest.summary)?;
        writeln!(f, "granted: {granted}")?;
        for (kind, report) in &self.reports {
            writeln!(f, "\n{kind}")?;
            write_report(f, report)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_without_its_backtrace() {
        let detail = "destroy answered unknown (driver-trap): thread '<unnamed>' (1) panicked at \
                      src/lib.rs:9:5:\nno such thing\nnote: run with `RUST_BACKTRACE=1` \
                      environment variable to display a backtrace\nerror while executing at wasm \
                      backtrace:\n    0:  0x10cad - x.wasm!abort\n    1: 0x5 - x.wasm!y: wasm \
                      trap: wasm `unreachable` instruction executed; stale was to be expected";
        let lines: Vec<_> = detail.lines().take(2).chain(["stale was to be expected"]).collect();
        assert_eq!(told(detail), lines.join("\n              "));
    }

    #[test]
    fn a_trap_without_words_is_told_by_its_reason() {
        let detail = "probe answered: unknown (driver-trap): error while executing at wasm \
                      backtrace:\n    0: 0x1 - x.wasm!f: wasm trap: call stack exhausted";
        assert_eq!(
            told(detail),
            "probe answered: unknown (driver-trap):\n              wasm trap: call stack exhausted"
        );
        assert_eq!(told("list holds it twice"), "list holds it twice");
    }

    #[test]
    fn what_is_not_granted_is_found() {
        let detail = "driver d wanted command \"stop\" in destroy: the operator has not granted \
                      exec; stale was to be expected";
        assert_eq!(denied(detail), Some("exec"));
        assert_eq!(denied("it said \"the operator has not granted exec:stop\""), Some("exec:stop"));
        assert_eq!(denied("list holds it twice"), None);
    }
}
