//! The conformance suite: what every driver must do, as a list of named checks against any implementation.
//!
//! Each check names the rule of the contract that it holds against the driver. It is given VMs of its own and takes them away again.
//! Whoever runs the suite supplies a [`Bench`] (or [`TransferBench`]): the site, what a domain is made of, and what can be seen from
//! outside of the driver. What the bench cannot supply is skipped, and said so.
//!
//! ```text
//!   a check -> Stage: fresh VM, call identities, bounded waits -> the driver -> passed | failed(detail) | skipped(why)
//! ```

mod abilities;
mod hardware;
mod hypervisor;
mod jobs;
mod rules;
mod snapshots;
mod stage;
mod transfer;
mod transfer_stage;

#[cfg(test)]
mod bench;
#[cfg(test)]
mod controls;

use crate::{DomainDisk, DomainNic, DomainSpec, FileRef, Hypervisor, Site, SnapshotRules, Transfer};
use async_trait::async_trait;
use ostler_model::{DiskFormat, Identity, VmUuid};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a hypervisor is tried on.
#[async_trait]
pub trait Bench: Send + Sync {
    /// A host that can be asked, with nothing of ours on it.
    fn site(&self) -> Site;
    /// A host of the same driver that cannot be asked (a wrong address, a folder that cannot be read), if there is such.
    fn blind_site(&self) -> Option<Site>;
    /// A domain of that identity that can run here, with whatever disks it needs in place.
    async fn domain(&self, identity: Identity) -> DomainSpec;
    /// Where the recovery file of a VM goes.
    fn recovery(&self, vm: VmUuid) -> FileRef;
    /// A second host of the same driver, which the first one can reach, if there is such.
    fn second_site(&self) -> Option<Site> {
        None
    }
    /// As [`Bench::domain`], with its files as the second host sees them.
    async fn domain_there(&self, identity: Identity) -> DomainSpec {
        self.domain(identity).await
    }
    /// A disk, in place, that a domain of that VM can be given beside those of [`Bench::domain`].
    async fn spare_disk(&self, _vm: VmUuid) -> Option<DomainDisk> {
        None
    }
    /// A network card that a domain can be given beside those of [`Bench::domain`].
    fn spare_nic(&self) -> Option<DomainNic> {
        None
    }
    /// Where the copy of a disk of that VM goes.
    fn copy_place(&self, _vm: VmUuid) -> Option<FileRef> {
        None
    }
    /// Whether a file is there, seen from outside of the driver.
    async fn is_there(&self, _file: &FileRef) -> Option<bool> {
        None
    }
    /// Has a domain of that UUID made by somebody who stamps nothing, and running. False if the bench has no such power.
    async fn make_wild(&self, _vm: VmUuid) -> bool {
        false
    }
    /// How many edges (press, reboot, reset, revert together) reached the guest, if that can be seen from outside.
    async fn edges(&self, vm: VmUuid) -> Option<u32>;
    /// Waits until a guest that was just started hears the power button.
    async fn guest_ready(&self, _vm: VmUuid) {}
    /// The longest a call may take here.
    fn patience(&self) -> Duration;
}

/// What a transfer driver is tried on.
#[async_trait]
pub trait TransferBench: Send + Sync {
    /// A host whose datastores can be written.
    fn site(&self) -> Site;
    /// An image and its format.
    fn image(&self) -> (FileRef, DiskFormat);
    /// An image whose content names a file outside of all datastores, and its format, if the bench can make one.
    async fn leading_out(&self) -> Option<(FileRef, DiskFormat)> {
        None
    }
    /// A place for a file of that name, in a folder of its own.
    fn place(&self, folder: &str, name: &str) -> FileRef;
    /// A file that somebody began to write and did not end.
    async fn leave_partial(&self, file: &FileRef);
    /// Whether the file is the one that [`TransferBench::leave_partial`] left.
    async fn is_partial(&self, file: &FileRef) -> bool;
    /// Whether a file or folder is there, seen from outside of the driver.
    async fn exists(&self, file: &FileRef) -> bool;
    /// All names in the folder of `file`, seen from outside of the driver.
    async fn beside(&self, file: &FileRef) -> Vec<String>;
    /// The longest a call may take here.
    fn patience(&self) -> Duration;
}

/// Why a check did not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Trouble {
    /// The driver broke the rule.
    Broken(String),
    /// The bench or the driver cannot do what the check needs.
    Skipped(String),
}

type Verdict = Result<(), Trouble>;
type Running<'a> = Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>;

/// One check on something of type `S`.
struct Check<S> {
    name: &'static str,
    rule: &'static str,
    run: for<'a> fn(&'a S) -> Running<'a>,
}

/// Makes a check of an async function that takes the stage.
macro_rules! check {
    ($name:literal, $rule:literal, $run:path) => {
        $crate::conformance::Check { name: $name, rule: $rule, run: |stage| Box::pin($run(stage)) }
    };
}
use check;

/// How one check ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The driver keeps the rule.
    Passed,
    /// It does not.
    Failed(String),
    /// It could not be tried.
    Skipped(String),
}

/// One line of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The check.
    pub check: &'static str,
    /// The rule of the contract it holds against the driver.
    pub rule: &'static str,
    /// How it ended.
    pub ended: Ended,
    /// How long it took.
    pub took: Duration,
}

/// What the suite found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// One for each check, in the order they ran.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether no rule was broken.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.broken().is_empty()
    }

    /// The names of checks that failed.
    #[must_use]
    pub fn broken(&self) -> Vec<&'static str> {
        self.findings.iter().filter(|finding| matches!(finding.ended, Ended::Failed(_))).map(|finding| finding.check).collect()
    }

    /// The names of checks that could not be tried.
    #[must_use]
    pub fn skipped(&self) -> Vec<&'static str> {
        self.findings.iter().filter(|finding| matches!(finding.ended, Ended::Skipped(_))).map(|finding| finding.check).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            let (mark, check, took) = (finding.ended.word(), finding.check, finding.took.as_millis());
            writeln!(f, "{mark:7} {check:32} {took:>6} ms")?;
            match &finding.ended {
                Ended::Passed => {}
                Ended::Failed(detail) => writeln!(f, "        rule: {}\n        seen: {detail}", finding.rule)?,
                Ended::Skipped(why) => writeln!(f, "        {why}")?,
            }
        }
        let (all, broken, skipped) = (self.findings.len(), self.broken().len(), self.skipped().len());
        write!(f, "{all} checks: {} passed, {broken} failed, {skipped} skipped", all - broken - skipped)
    }
}

impl Ended {
    const fn word(&self) -> &'static str {
        match self {
            Self::Passed => "ok",
            Self::Failed(_) => "FAILED",
            Self::Skipped(_) => "skipped",
        }
    }
}

async fn run_all<S>(checks: &[Check<S>], stage: &S, mut tidy: impl AsyncFnMut(&S)) -> Report {
    let mut report = Report::default();
    for check in checks {
        let began = Instant::now();
        let ended = match (check.run)(stage).await {
            Ok(()) => Ended::Passed,
            Err(Trouble::Broken(detail)) => Ended::Failed(detail),
            Err(Trouble::Skipped(why)) => Ended::Skipped(why),
        };
        tidy(stage).await;
        report.findings.push(Finding { check: check.name, rule: check.rule, ended, took: began.elapsed() });
    }
    report
}

/// The checks of what a hypervisor driver need not be able to do.
fn ability_checks() -> Vec<Check<stage::Stage>> {
    [abilities::checks(), hardware::checks(), snapshots::checks(), jobs::checks()].into_iter().flatten().collect()
}

/// Tries a hypervisor driver. Domains it makes are gone afterwards, unless the driver does not remove them.
pub async fn hypervisor(driver: Arc<dyn Hypervisor>, bench: Arc<dyn Bench>) -> Report {
    let stage = stage::Stage::new(driver, bench);
    let mut checks = hypervisor::checks();
    checks.extend(ability_checks());
    run_all(&checks, &stage, async |stage: &stage::Stage| stage.tidy().await).await
}

/// Tries a transfer driver. Files it makes are gone afterwards, unless the driver does not delete them.
pub async fn transfer(driver: Arc<dyn Transfer>, bench: Arc<dyn TransferBench>) -> Report {
    let stage = transfer_stage::Stage::new(driver, bench);
    run_all(&transfer::checks(), &stage, async |stage: &transfer_stage::Stage| stage.tidy().await).await
}

/// Tries snapshot rules.
pub async fn snapshot_rules(driver: Arc<dyn SnapshotRules>) -> Report {
    run_all(&rules::checks(), &driver, async |_: &Arc<dyn SnapshotRules>| {}).await
}
