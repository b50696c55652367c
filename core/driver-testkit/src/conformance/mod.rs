//! The conformance suite: the duties of every driver, as a list of named checks that run against
//! any implementation.
//!
//! Each check names the rule of the contract that it tests. It uses VMs of its own, which are
//! removed afterwards. The caller of the suite supplies a [`Bench`] (or [`TransferBench`]): the
//! site, the specification of a domain, and facts that can be seen from outside of the driver. A
//! check that needs something which the bench cannot supply is skipped, and the report says so.
//!
//! ```text
//!   a check -> Stage: fresh VM, call identities, bounded waits -> the driver
//!           -> passed | failed(detail) | skipped(why)
//! ```

mod abilities;
mod cut_domain;
mod cut_scene;
mod cut_transfer;
mod cuts;
mod epochs;
mod foreign;
mod hardware;
mod hypervisor;
mod jobs;
mod larger;
mod rules;
mod snapshots;
mod stage;
mod transfer;
mod transfer_stage;

#[cfg(test)]
mod bench;
#[cfg(test)]
mod controls;

pub use cuts::{Cut, Cuts, Side, Watched};

use async_trait::async_trait;
use ostler_driver::{
    DomainDisk, DomainNic, DomainSpec, FileRef, Hypervisor, Site, SnapshotRules, Transfer,
};
use ostler_model::{DiskFormat, Identity, VmUuid};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// The longest time for all checks that stop the driver at its calls to the host, unless a bench
/// says otherwise.
pub const CUTS_WITHIN: Duration = Duration::from_secs(120);

/// The environment in which a hypervisor driver is tested.
#[async_trait]
pub trait Bench: Send + Sync {
    /// A host that can be asked, with no domain of the suite on it.
    fn site(&self) -> Site;
    /// A host of the same driver that cannot be asked (a wrong address, a folder that cannot be
    /// read), if there is one.
    fn blind_site(&self) -> Option<Site>;
    /// A domain with that identity that can run here. The disks that it needs are in place.
    async fn domain(&self, identity: Identity) -> DomainSpec;
    /// The place for the memory file of a VM.
    fn recovery(&self, vm: VmUuid) -> FileRef;
    /// A second host of the same driver, which the first one can reach, if there is one.
    fn second_site(&self) -> Option<Site> {
        None
    }
    /// As [`Bench::domain`], but with its files as the second host sees them.
    async fn domain_there(&self, identity: Identity) -> DomainSpec {
        self.domain(identity).await
    }
    /// A disk that is in place and can be plugged into a domain of that VM, in addition to those of
    /// [`Bench::domain`].
    async fn spare_disk(&self, _vm: VmUuid) -> Option<DomainDisk> {
        None
    }
    /// A network card that can be plugged into a domain, in addition to those of [`Bench::domain`].
    fn spare_nic(&self) -> Option<DomainNic> {
        None
    }
    /// The place for the copy of a disk of that VM.
    fn copy_place(&self, _vm: VmUuid) -> Option<FileRef> {
        None
    }
    /// Whether a file is there, seen from outside of the driver.
    async fn is_there(&self, _file: &FileRef) -> Option<bool> {
        None
    }
    /// Makes a running domain of that UUID without a stamp. False if the bench cannot do that.
    async fn make_wild(&self, _vm: VmUuid) -> bool {
        false
    }
    /// How many edge effects (presses, reboots, resets and reverts together) reached the guest, if
    /// that can be seen from outside.
    async fn edges(&self, vm: VmUuid) -> Option<u32>;
    /// Waits until a guest that was just started reacts to the power button.
    async fn guest_ready(&self, _vm: VmUuid) {}
    /// The names of all files that drivers can make here, seen from outside of the driver.
    async fn files(&self) -> Vec<String> {
        Vec::new()
    }
    /// The longest time that a call may take here.
    fn patience(&self) -> Duration;
    /// The sandbox that stops the driver at its calls to the host, if the driver is in one.
    fn cuts(&self) -> Option<Arc<dyn Cuts>> {
        None
    }
    /// The longest time for all checks that stop the driver, together.
    fn cuts_within(&self) -> Duration {
        CUTS_WITHIN
    }
    /// The files that guests boot from directly, if they do.
    fn boots_from(&self) -> Vec<FileRef> {
        Vec::new()
    }
    /// Whether the host holds each effect of the driver to the epoch of its call.
    fn holds_epochs(&self) -> bool {
        false
    }
    /// Whether the check of that name is to be run.
    fn wants(&self, _check: &str) -> bool {
        true
    }
    /// The check of that name begins.
    fn begins(&self, _check: &str) {}
    /// A new identity, for a VM, a store or a folder.
    fn fresh(&self) -> VmUuid {
        VmUuid(Uuid::new_v4())
    }
}

/// The environment in which a transfer driver is tested.
#[async_trait]
pub trait TransferBench: Send + Sync {
    /// A host whose datastores are writable.
    fn site(&self) -> Site;
    /// An image and its format.
    fn image(&self) -> (FileRef, DiskFormat);
    /// An image whose content names a file outside of all datastores, and its format, if the bench
    /// can make one.
    async fn leading_out(&self) -> Option<(FileRef, DiskFormat)> {
        None
    }
    /// A place for a file of that name in that folder.
    fn place(&self, folder: &str, name: &str) -> FileRef;
    /// Leaves a file that was not written to its end.
    async fn leave_partial(&self, file: &FileRef);
    /// Whether the file is the one that [`TransferBench::leave_partial`] left.
    async fn is_partial(&self, file: &FileRef) -> bool;
    /// Whether a file or folder is there, seen from outside of the driver.
    async fn exists(&self, file: &FileRef) -> bool;
    /// All names in the folder of `file`, seen from outside of the driver.
    async fn beside(&self, file: &FileRef) -> Vec<String>;
    /// The size that a guest would see of a disk, in bytes, seen from outside of the driver. None if
    /// it cannot be told.
    async fn guest_size(&self, _file: &FileRef) -> Option<u64> {
        None
    }
    /// The bytes of a file, seen from outside of the driver. None if it is not there.
    async fn content(&self, _file: &FileRef) -> Option<Vec<u8>> {
        None
    }
    /// The longest time that a call may take here.
    fn patience(&self) -> Duration;
    /// The sandbox that stops the driver at its calls to the host, if the driver is in one.
    fn cuts(&self) -> Option<Arc<dyn Cuts>> {
        None
    }
    /// The longest time for all checks that stop the driver, together.
    fn cuts_within(&self) -> Duration {
        CUTS_WITHIN
    }
    /// Whether the check of that name is to be run.
    fn wants(&self, _check: &str) -> bool {
        true
    }
    /// The check of that name begins.
    fn begins(&self, _check: &str) {}
    /// A new identity, for a VM, a store or a folder.
    fn fresh(&self) -> VmUuid {
        VmUuid(Uuid::new_v4())
    }
}

/// Why a check did not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Trouble {
    /// The driver broke the rule.
    Broken(String),
    /// The check needs something that the bench or the driver cannot do.
    Skipped(String),
}

type Verdict = Result<(), Trouble>;
type Running<'a> = Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>;

/// One check, which runs on a stage of type `S`.
struct Check<S> {
    name: &'static str,
    rule: &'static str,
    run: for<'a> fn(&'a S) -> Running<'a>,
}

/// Makes a check of an async function that takes the stage.
macro_rules! check {
    ($name:literal, $rule:expr, $run:path) => {
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
    /// The check could not run.
    Skipped(String),
}

/// One line of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The check.
    pub check: &'static str,
    /// The rule of the contract that it tests.
    pub rule: &'static str,
    /// How it ended.
    pub ended: Ended,
    /// How long it took.
    pub took: Duration,
    /// A remark beside that: how often it has stopped the driver.
    pub note: Option<String>,
}

/// The result of the suite.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// One finding for each check, in the order in which they ran.
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
        self.findings
            .iter()
            .filter(|finding| matches!(finding.ended, Ended::Failed(_)))
            .map(|finding| finding.check)
            .collect()
    }

    /// The names of checks that could not run.
    #[must_use]
    pub fn skipped(&self) -> Vec<&'static str> {
        self.findings
            .iter()
            .filter(|finding| matches!(finding.ended, Ended::Skipped(_)))
            .map(|finding| finding.check)
            .collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            let (mark, check, took) =
                (finding.ended.word(), finding.check, finding.took.as_millis());
            let note = finding.note.as_deref().unwrap_or_default();
            writeln!(f, "{}", format!("{mark:7} {check:32} {took:>6} ms  {note}").trim_end())?;
            match &finding.ended {
                Ended::Passed => {}
                Ended::Failed(detail) => {
                    writeln!(f, "        rule: {}\n        seen: {detail}", finding.rule)?
                }
                Ended::Skipped(why) => writeln!(f, "        {why}")?,
            }
        }
        let (all, broken, skipped) =
            (self.findings.len(), self.broken().len(), self.skipped().len());
        write!(
            f,
            "{all} checks: {} passed, {broken} failed, {skipped} skipped",
            all - broken - skipped
        )
    }
}

impl Ended {
    /// Why the check failed or was skipped.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Passed => None,
            Self::Failed(detail) | Self::Skipped(detail) => Some(detail),
        }
    }

    const fn word(&self) -> &'static str {
        match self {
            Self::Passed => "ok",
            Self::Failed(_) => "FAILED",
            Self::Skipped(_) => "skipped",
        }
    }
}

async fn run_all<S>(
    checks: &[Check<S>],
    stage: &S,
    wants: impl Fn(&str) -> bool,
    begins: impl Fn(&str),
    mut tidy: impl AsyncFnMut(&S) -> Option<String>,
) -> Report {
    let mut report = Report::default();
    for check in checks.iter().filter(|check| wants(check.name)) {
        tracing::info!(target: "ostler::conformance", check = check.name);
        begins(check.name);
        let began = Instant::now();
        let ended = match (check.run)(stage).await {
            Ok(()) => Ended::Passed,
            Err(Trouble::Broken(detail)) => Ended::Failed(detail),
            Err(Trouble::Skipped(why)) => Ended::Skipped(why),
        };
        let note = tidy(stage).await;
        report.findings.push(Finding {
            check: check.name,
            rule: check.rule,
            ended,
            took: began.elapsed(),
            note,
        });
    }
    report
}

/// The checks of the optional abilities of a hypervisor driver.
fn ability_checks() -> Vec<Check<stage::Stage>> {
    [
        abilities::checks(),
        hardware::checks(),
        snapshots::checks(),
        jobs::checks(),
        foreign::ability_checks(),
        epochs::ability_checks(),
        cut_domain::ability_checks(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn hypervisor_checks() -> Vec<Check<stage::Stage>> {
    [
        hypervisor::checks(),
        foreign::checks(),
        epochs::checks(),
        cut_domain::checks(),
        ability_checks(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn transfer_checks() -> Vec<Check<transfer_stage::Stage>> {
    [transfer::checks(), larger::checks(), cut_transfer::checks()].into_iter().flatten().collect()
}

/// How the names of the checks end that need a host that compares epochs.
const EPOCHS: &str = "-holds-epoch";

/// How many of the checks stop the driver, of those that are wanted.
fn count_cuts<S>(checks: &[Check<S>], wants: impl Fn(&str) -> bool) -> usize {
    checks.iter().filter(|check| check.name.ends_with("-cut") && wants(check.name)).count()
}

/// The names of all checks, of all kinds of drivers.
#[must_use]
pub fn names() -> Vec<&'static str> {
    let hypervisor = hypervisor_checks().into_iter().map(|check| check.name);
    let transfer = transfer_checks().into_iter().map(|check| check.name);
    let rules = rules::checks().into_iter().map(|check| check.name);
    hypervisor.chain(transfer).chain(rules).collect()
}

/// Tests a hypervisor driver. The domains that it makes are removed afterwards, unless the driver
/// fails to remove them.
pub async fn hypervisor(driver: Arc<dyn Hypervisor>, bench: Arc<dyn Bench>) -> Report {
    let mut checks = hypervisor_checks();
    checks.retain(|check| bench.holds_epochs() || !check.name.ends_with(EPOCHS));
    let cuts = count_cuts(&checks, |check| bench.wants(check));
    let stage = stage::Stage::new(driver, Arc::clone(&bench), cuts);
    let tidy = async |stage: &stage::Stage| {
        stage.tidy().await;
        stage.cutting.take_note()
    };
    let begins = |check: &str| bench.begins(check);
    run_all(&checks, &stage, |check| bench.wants(check), begins, tidy).await
}

/// Tests a transfer driver. The files that it makes are removed afterwards, unless the driver fails
/// to delete them.
pub async fn transfer(driver: Arc<dyn Transfer>, bench: Arc<dyn TransferBench>) -> Report {
    let checks = transfer_checks();
    let cuts = count_cuts(&checks, |check| bench.wants(check));
    let stage = transfer_stage::Stage::new(driver, Arc::clone(&bench), cuts);
    let tidy = async |stage: &transfer_stage::Stage| {
        stage.tidy().await;
        stage.cutting.take_note()
    };
    let begins = |check: &str| bench.begins(check);
    run_all(&checks, &stage, |check| bench.wants(check), begins, tidy).await
}

/// Tests snapshot rules. `wants`: whether the check of that name is to be run.
pub async fn snapshot_rules(
    driver: Arc<dyn SnapshotRules>,
    wants: impl Fn(&str) -> bool,
) -> Report {
    run_all(&rules::checks(), &driver, wants, |_| {}, async |_: &Arc<dyn SnapshotRules>| None).await
}
