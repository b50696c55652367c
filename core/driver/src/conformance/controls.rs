//! Negative controls: the suite must be green over the fake, and each deliberate fault must turn exactly the named checks red.

use super::bench::FakeBench;
use crate::fake::Fake;
use crate::{
    CallControl, ChangeBatch, DomainMetrics, DomainSpec, FileRef, Hypervisor, JobStatus, Listed, RulesQuestion, RulesVerdict, Site,
    SnapshotFate, SnapshotRules, Transfer, TransferJob, Verdict,
};
use async_trait::async_trait;
use ostler_model::{
    Ability, CallResult, DriverError, ErrorKind, Generation, HostFacts, Observation, Outcome, Power, StepNo, VmUuid,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    ForgetsGeneration,
    PressesTwice,
    DoesNotStampEdges,
    SaysAbsentWhenBlind,
    DeployFailsIfThere,
    DeployReplacesForeign,
    RemoveFailsIfGone,
    ForgetsIdentityInList,
    TellsOfBefore,
    RestoresRunning,
    RestoreStartsAnew,
    UnpauseSucceedsIfOff,
    SaveFailsIfOff,
    ClaimsAbility,
    HangsWhenCancelled,
    TellsOfNoChange,
    ForgetsMetrics,
}

/// The fake with one fault.
struct Faulty {
    inner: Fake,
    fault: Fault,
    count: AtomicU64,
}

impl Faulty {
    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// The call as the faulty driver understands it.
    fn twist(&self, call: &CallControl, edge: bool) -> CallControl {
        let mut call = call.clone();
        if self.is(Fault::ForgetsGeneration) {
            call.context.generation = Generation(u64::MAX);
        }
        if self.is(Fault::PressesTwice) && edge && call.context.attempt > 1 {
            call.context.key.step = StepNo(1_000_000 + self.count.fetch_add(1, Ordering::Relaxed));
        }
        call
    }

    fn tell(&self, result: CallResult) -> CallResult {
        let mut outcome = result?;
        if self.is(Fault::TellsOfBefore) {
            outcome.seen = Some(Observation::Absent);
        }
        Ok(outcome)
    }

    fn edge_seen(&self, observation: Observation) -> Observation {
        match observation {
            Observation::Present(mut domain) if self.is(Fault::DoesNotStampEdges) => {
                domain.last_edge = None;
                Observation::Present(domain)
            }
            other => other,
        }
    }
}

#[async_trait]
impl Hypervisor for Faulty {
    fn abilities(&self) -> &[Ability] {
        self.inner.abilities()
    }
    async fn probe(&self, site: &Site) -> Result<HostFacts, DriverError> {
        let mut facts = self.inner.probe(site).await?;
        if self.is(Fault::ClaimsAbility) {
            facts.abilities.push(Ability::Fence);
        }
        Ok(facts)
    }
    async fn deploy(&self, site: &Site, call: &CallControl, domain: &DomainSpec) -> CallResult {
        let call = self.twist(call, false);
        let there = self.inner.observe(site, domain.identity.vm).await;
        if self.is(Fault::HangsWhenCancelled) && call.cancel.is_cancelled() {
            std::future::pending::<()>().await;
        }
        match there {
            Ok(Observation::Present(found)) if self.is(Fault::DeployFailsIfThere) && found.power == Power::Running => {
                let own = found.identity.is_some_and(|identity| identity == domain.identity);
                if own {
                    return Err(DriverError::refused("exists", "it is there already"));
                }
            }
            Ok(Observation::Present(found)) if self.is(Fault::DeployReplacesForeign) => {
                if found.identity.is_some_and(|identity| identity.store != domain.identity.store) {
                    self.inner.remove(site, &call).await?;
                }
            }
            Ok(_) | Err(_) => {}
        }
        self.tell(self.inner.deploy(site, &call, domain).await)
    }
    async fn press_power(&self, site: &Site, call: &CallControl) -> CallResult {
        self.inner.press_power(site, &self.twist(call, true)).await
    }
    async fn destroy(&self, site: &Site, call: &CallControl) -> CallResult {
        self.tell(self.inner.destroy(site, &self.twist(call, false)).await)
    }
    async fn remove(&self, site: &Site, call: &CallControl) -> CallResult {
        let there = self.inner.observe(site, call.context.key.vm).await;
        if self.is(Fault::RemoveFailsIfGone) && there == Ok(Observation::Absent) {
            return Err(DriverError::new(ErrorKind::Gone, "gone", "there is no such domain"));
        }
        self.tell(self.inner.remove(site, &self.twist(call, false)).await)
    }
    async fn reboot(&self, site: &Site, call: &CallControl) -> CallResult {
        self.inner.reboot(site, &self.twist(call, true)).await
    }
    async fn reset(&self, site: &Site, call: &CallControl) -> CallResult {
        self.inner.reset(site, &self.twist(call, true)).await
    }
    async fn save(&self, site: &Site, call: &CallControl, file: &FileRef) -> CallResult {
        let there = self.inner.observe(site, call.context.key.vm).await;
        if self.is(Fault::SaveFailsIfOff) && matches!(&there, Ok(Observation::Present(domain)) if domain.power == Power::Off) {
            return Err(DriverError::new(ErrorKind::Gone, "off", "it is off"));
        }
        self.inner.save(site, &self.twist(call, false), file).await
    }
    async fn restore(&self, site: &Site, call: &CallControl, domain: &DomainSpec, file: &FileRef) -> CallResult {
        let call = self.twist(call, false);
        let result = self.inner.restore(site, &call, domain, file).await;
        match result {
            Ok(_) if self.is(Fault::RestoresRunning) => self.inner.unpause(site, &call).await,
            Err(error) if self.is(Fault::RestoreStartsAnew) && error.kind == ErrorKind::Gone => {
                self.inner.deploy(site, &call, domain).await
            }
            other => other,
        }
    }
    async fn unpause(&self, site: &Site, call: &CallControl) -> CallResult {
        let result = self.inner.unpause(site, &self.twist(call, false)).await;
        match result {
            Err(error) if self.is(Fault::UnpauseSucceedsIfOff) && error.kind == ErrorKind::Gone => Ok(Outcome::default()),
            other => other,
        }
    }
    async fn observe(&self, site: &Site, vm: VmUuid) -> Result<Observation, DriverError> {
        match self.inner.observe(site, vm).await {
            Err(error) if self.is(Fault::SaysAbsentWhenBlind) && error.code == "unreachable" => Ok(Observation::Absent),
            result => result.map(|seen| self.edge_seen(seen)),
        }
    }
    async fn list(&self, site: &Site) -> Result<Listed, DriverError> {
        let mut listed = self.inner.list(site).await?;
        if self.is(Fault::ForgetsIdentityInList) {
            listed.domains.iter_mut().for_each(|domain| domain.identity = None);
        }
        Ok(listed)
    }
    async fn changes(&self, site: &Site, cursor: u64, wait: Duration) -> Result<ChangeBatch, DriverError> {
        let mut batch = self.inner.changes(site, cursor, wait).await?;
        if self.is(Fault::TellsOfNoChange) {
            batch.vms.clear();
        }
        Ok(batch)
    }
    async fn metrics(&self, site: &Site) -> Result<Vec<DomainMetrics>, DriverError> {
        let samples = self.inner.metrics(site).await?;
        Ok(if self.is(Fault::ForgetsMetrics) { Vec::new() } else { samples })
    }
}

#[tokio::test]
async fn the_fake_is_conformant() {
    let bench = FakeBench::new();
    let report = super::hypervisor(Arc::new(bench.0.clone()), Arc::new(bench)).await;
    assert!(report.passed() && report.skipped().is_empty(), "{report}");
}

#[tokio::test]
async fn a_driver_without_abilities_is_conformant() {
    let bench = FakeBench(Fake::with_abilities(&[]));
    bench.0.cut_off(ostler_model::HostId(2), true);
    let report = super::hypervisor(Arc::new(bench.0.clone()), Arc::new(bench)).await;
    assert!(report.passed(), "{report}");
    assert_eq!(report.skipped().len(), super::abilities::checks().len());
}

#[tokio::test]
async fn each_fault_turns_its_checks_red_and_no_others() {
    let faults: &[(Fault, &[&str])] = &[
        (
            Fault::ForgetsGeneration,
            &["deploy-fences", "destroy-fences", "remove-fences", "press-fences", "reboot-fences", "save-fences", "restore-fences"],
        ),
        (Fault::PressesTwice, &["press-once", "reboot-once", "reset-once"]),
        (Fault::DoesNotStampEdges, &["press-once", "reboot-once", "reset-once"]),
        (Fault::SaysAbsentWhenBlind, &["blind-never-absent"]),
        (Fault::DeployFailsIfThere, &["deploy-twice", "deploy-lost-answer", "cancelled-ends"]),
        (Fault::DeployReplacesForeign, &["deploy-leaves-foreign"]),
        (Fault::RemoveFailsIfGone, &["remove-twice", "remove-lost-answer"]),
        (Fault::ForgetsIdentityInList, &["list-has-ours"]),
        (Fault::TellsOfBefore, &["answer-is-a-look", "cancelled-ends"]),
        (Fault::RestoresRunning, &["save-lost-answer", "restore-paused", "restore-fences", "unpause-twice"]),
        (Fault::RestoreStartsAnew, &["restore-needs-memory"]),
        (Fault::UnpauseSucceedsIfOff, &["unpause-off-is-gone"]),
        (Fault::SaveFailsIfOff, &["save-twice", "save-lost-answer"]),
        (Fault::ClaimsAbility, &["probe-answers"]),
        (Fault::HangsWhenCancelled, &["cancelled-ends"]),
        (Fault::TellsOfNoChange, &["changes-wake"]),
        (Fault::ForgetsMetrics, &["metrics-tell-of-running"]),
    ];
    for (fault, expected) in faults {
        let bench = FakeBench::new();
        let driver = Faulty { inner: bench.0.clone(), fault: *fault, count: AtomicU64::new(0) };
        let report = super::hypervisor(Arc::new(driver), Arc::new(bench)).await;
        assert_eq!(report.broken(), *expected, "{fault:?}\n{report}");
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TransferFault {
    KeepsPartial,
    FailsIfThere,
    LosesSource,
    NeedsSource,
    SaysDoneOfNothing,
    DeleteFailsIfGone,
    AbortFails,
}

struct FaultyTransfer {
    inner: Fake,
    fault: TransferFault,
}

impl FaultyTransfer {
    fn there(&self, file: &FileRef) -> bool {
        self.inner.file(file.host, &file.datastore, &file.path).is_some()
    }
}

#[async_trait]
impl Transfer for FaultyTransfer {
    async fn begin(&self, site: &Site, call: &CallControl, job: &TransferJob) -> Result<JobStatus, DriverError> {
        let done = Ok(JobStatus::Done(Outcome::default()));
        match (self.fault, job) {
            (TransferFault::KeepsPartial, TransferJob::Prepare { target, .. }) if self.there(target) => return done,
            (TransferFault::FailsIfThere, TransferJob::Prepare { target, .. }) if self.there(target) => {
                return Err(DriverError::refused("exists", "it is there already"));
            }
            (TransferFault::LosesSource, TransferJob::Copy { from, .. }) => {
                let result = self.inner.begin(site, call, job).await;
                self.inner.begin(site, call, &TransferJob::Delete { target: from.clone() }).await?;
                return result;
            }
            (TransferFault::NeedsSource, TransferJob::Copy { from, .. }) if !self.there(from) => {
                return Err(DriverError::new(ErrorKind::Gone, "no-source", "the source is gone"));
            }
            (TransferFault::SaysDoneOfNothing, TransferJob::Copy { from, .. }) if !self.there(from) => return done,
            (TransferFault::DeleteFailsIfGone, TransferJob::Delete { target })
                if !self.there(target) && target.path.as_str().ends_with("disk") =>
            {
                return Err(DriverError::new(ErrorKind::Gone, "gone", "it is gone"));
            }
            _ => {}
        }
        self.inner.begin(site, call, job).await
    }
    async fn poll(&self, site: &Site, call: &CallControl) -> Result<JobStatus, DriverError> {
        self.inner.poll(site, call).await
    }
    async fn abort(&self, site: &Site, call: &CallControl) -> Result<(), DriverError> {
        if self.fault == TransferFault::AbortFails {
            return Err(DriverError::unknown("who-knows", "it may be at work"));
        }
        self.inner.abort(site, call).await
    }
}

#[tokio::test]
async fn the_fakes_transfer_is_conformant_short_and_long() {
    for polls in [0, 3] {
        let bench = FakeBench::new();
        bench.0.long_jobs(polls);
        let report = super::transfer(Arc::new(bench.0.clone()), Arc::new(bench)).await;
        assert!(report.passed() && report.skipped().is_empty(), "{report}");
    }
}

#[tokio::test]
async fn each_transfer_fault_turns_its_checks_red_and_no_others() {
    let faults: &[(TransferFault, &[&str])] = &[
        (TransferFault::KeepsPartial, &["prepare-replaces-partial"]),
        (
            TransferFault::FailsIfThere,
            &["prepare-twice", "prepare-replaces-partial", "prepare-lost-answer", "copy-overlay", "abort-stops"],
        ),
        (TransferFault::LosesSource, &["copy-keeps-source"]),
        (TransferFault::NeedsSource, &["copy-source-gone"]),
        (TransferFault::SaysDoneOfNothing, &["copy-nothing"]),
        (TransferFault::DeleteFailsIfGone, &["delete-twice"]),
        (TransferFault::AbortFails, &["abort-stops"]),
    ];
    for (fault, expected) in faults {
        let bench = FakeBench::new();
        let driver = FaultyTransfer { inner: bench.0.clone(), fault: *fault };
        let report = super::transfer(Arc::new(driver), Arc::new(bench)).await;
        assert_eq!(report.broken(), *expected, "{fault:?}\n{report}");
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RulesFault {
    None,
    Moody,
    ForgetsOne,
    HoldsUpDelete,
    SaysNotWhy,
    Slow,
}

struct FaultyRules {
    fault: RulesFault,
    asked: AtomicU64,
}

#[async_trait]
impl SnapshotRules for FaultyRules {
    async fn judge(&self, question: &RulesQuestion) -> Result<RulesVerdict, DriverError> {
        let odd = self.asked.fetch_add(1, Ordering::Relaxed) % 2 == 1;
        let refuse = |reason: &str| Verdict::Refused { reason: reason.to_owned() };
        let mut verdict = Verdict::Allowed;
        let mut fates = vec![SnapshotFate::Keep; question.snapshots.len()];
        match self.fault {
            RulesFault::Moody if odd => fates.fill(SnapshotFate::Hide),
            RulesFault::ForgetsOne => fates.truncate(2),
            RulesFault::HoldsUpDelete if question.verb == "delete" => verdict = refuse("not now"),
            RulesFault::SaysNotWhy if question.verb == "snapshot-create" => verdict = refuse(" "),
            RulesFault::Slow if question.verb == "snapshot-create" && question.snapshots.len() == 3 => {
                tokio::time::sleep(Duration::from_millis(101)).await;
            }
            _ => {}
        }
        Ok(RulesVerdict { verdict, fates })
    }
}

#[tokio::test]
async fn each_fault_of_rules_turns_its_checks_red_and_no_others() {
    let faults: &[(RulesFault, &[&str])] = &[
        (RulesFault::None, &[]),
        (RulesFault::Moody, &["rules-are-pure"]),
        (RulesFault::ForgetsOne, &["rules-one-fate-each"]),
        (RulesFault::HoldsUpDelete, &["rules-judge-snapshots-only"]),
        (RulesFault::SaysNotWhy, &["rules-say-why"]),
        (RulesFault::Slow, &["rules-are-quick"]),
    ];
    for (fault, expected) in faults {
        let report = super::snapshot_rules(Arc::new(FaultyRules { fault: *fault, asked: AtomicU64::new(0) })).await;
        assert_eq!(report.broken(), *expected, "{fault:?}\n{report}");
    }
}
