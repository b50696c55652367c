//! Negative controls: the fake must pass the whole suite, and with each deliberate fault exactly
//! the named checks must fail.

mod abilities;
mod life;
mod rules;
mod transfer;

use super::bench::FakeBench;
use super::stage::EPOCH;
use crate::fake::Fake;
use async_trait::async_trait;
use ostler_driver::{
    Adopt, CallControl, Changes, DiskCopy, DomainSpec, Hotplug, Hypervisor, Listed, LiveResize,
    Metrics, Migrate, Reboot, Site, Snapshots, Suspend,
};
use ostler_model::{
    Ability, CallResult, DriverError, ErrorKind, Generation, HostFacts, Observation, Power, StepNo,
    VmUuid,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    ForgetsGeneration,
    ForgetsStore,
    ForgetsEpoch,
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
    StatesMore,
    HangsWhenCancelled,
    TellsOfNoChange,
    ForgetsMetrics,
    MigrateStaysHereToo,
    MigrateFailsIfMoved,
    MigrateForgetsStamp,
    MigrateRunsOverForeign,
    MigrateRunsOverHigher,
    MigrateBelievesTheBlind,
    AbortGoesOn,
    AttachFailsIfThere,
    AttachDoesNothing,
    AttachMakesDomains,
    DetachFailsIfGone,
    ResizeDoesNothing,
    SnapshotFailsIfThere,
    RevertForgetsStamp,
    RevertLeavesOff,
    RevertStartsAnew,
    DeleteSnapshotFailsIfGone,
    CopyMakesNothing,
    CopyTakesAnyDisk,
    CopyAbortFails,
    InspectForgetsDisks,
    StampFailsIfStamped,
    StampTakesForeign,
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

    /// The call as the faulty driver passes it on.
    fn twist(&self, call: &CallControl, edge: bool) -> CallControl {
        let mut call = call.clone();
        if self.is(Fault::ForgetsGeneration) {
            call.context.generation = Generation(u64::MAX);
        }
        if self.is(Fault::ForgetsEpoch) {
            call.context.epoch = call.context.epoch.max(EPOCH);
        }
        if self.is(Fault::ForgetsStore) {
            let stamped = self.inner.stamped(call.context.key.vm);
            call.context.store = stamped.map_or(call.context.store, |identity| identity.store);
        }
        if self.is(Fault::PressesTwice) && edge && call.context.attempt > 1 {
            call.context.key.step = StepNo(1_000_000 + self.count.fetch_add(1, Ordering::Relaxed));
        }
        call
    }

    /// The specification as a driver sees it that takes whatever store is there for its own.
    fn meant(&self, call: &CallControl, domain: &DomainSpec) -> DomainSpec {
        let mut meant = domain.clone();
        if self.is(Fault::ForgetsStore) {
            meant.identity.store = call.context.store;
        }
        meant
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
            Ok(Observation::Present(found))
                if self.is(Fault::DeployFailsIfThere) && found.power == Power::Running =>
            {
                let own = found.identity.is_some_and(|identity| identity == domain.identity);
                if own {
                    return Err(DriverError::refused("exists", "it is there already"));
                }
            }
            Ok(Observation::Present(found)) if self.is(Fault::DeployReplacesForeign) => {
                if found.identity.is_some_and(|identity| identity.store != domain.identity.store) {
                    self.inner.drop_domain(site.id, domain.identity.vm);
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
    async fn observe(&self, site: &Site, vm: VmUuid) -> Result<Observation, DriverError> {
        match self.inner.observe(site, vm).await {
            Err(error) if self.is(Fault::SaysAbsentWhenBlind) && error.code == "unreachable" => {
                Ok(Observation::Absent)
            }
            result => result.map(|seen| self.edge_seen(seen)),
        }
    }
    async fn list(&self, site: &Site) -> Result<Listed, DriverError> {
        let mut listed = Hypervisor::list(&self.inner, site).await?;
        if self.is(Fault::ForgetsIdentityInList) {
            listed.domains.iter_mut().for_each(|domain| domain.identity = None);
        }
        Ok(listed)
    }
    fn reboot(&self) -> Option<&dyn Reboot> {
        (!self.is(Fault::StatesMore)).then_some(self as _)
    }
    fn suspend(&self) -> Option<&dyn Suspend> {
        Some(self)
    }
    fn changes(&self) -> Option<&dyn Changes> {
        Some(self)
    }
    fn metrics(&self) -> Option<&dyn Metrics> {
        Some(self)
    }
    fn migrate(&self) -> Option<&dyn Migrate> {
        Some(self)
    }
    fn hotplug(&self) -> Option<&dyn Hotplug> {
        Some(self)
    }
    fn snapshots(&self) -> Option<&dyn Snapshots> {
        Some(self)
    }
    fn live_resize(&self) -> Option<&dyn LiveResize> {
        Some(self)
    }
    fn disk_copy(&self) -> Option<&dyn DiskCopy> {
        Some(self)
    }
    fn adopt(&self) -> Option<&dyn Adopt> {
        Some(self)
    }
}

#[tokio::test]
async fn the_fake_is_conformant_with_short_jobs_and_with_long() {
    for polls in [0, 3] {
        let bench = FakeBench::new();
        bench.0.long_jobs(polls);
        let report = super::hypervisor(Arc::new(bench.0.clone()), Arc::new(bench)).await;
        assert!(report.passed() && skipped(&report).is_empty(), "{report}");
    }
}

/// The checks that were skipped, without those that stop the driver at its calls to the host: the
/// fake is in no sandbox. A component with faults proves them (`sdk/testkit/tests/faulty`).
fn skipped(report: &super::Report) -> Vec<&'static str> {
    report.skipped().into_iter().filter(|check| !check.ends_with("-cut")).collect()
}

#[tokio::test]
async fn a_driver_without_abilities_is_conformant() {
    let bench = FakeBench::with(Fake::with_abilities(&[]));
    let report = super::hypervisor(Arc::new(bench.0.clone()), Arc::new(bench)).await;
    assert!(report.passed(), "{report}");
    let checks = super::ability_checks();
    let others = checks.iter().filter(|check| !check.name.ends_with("-cut"));
    assert_eq!(skipped(&report).len(), others.count());
}

/// Each fault, with the checks that it makes fail, in the order in which they run.
const FAULTS: &[(Fault, &[&str])] = &[
    (
        Fault::ForgetsGeneration,
        &[
            "deploy-fences",
            "destroy-fences",
            "remove-fences",
            "press-fences",
            "reboot-fences",
            "save-fences",
            "restore-fences",
            "hotplug-fences",
            "resize-fences",
            "stamp-fences",
            "snapshot-fences",
            "migrate-fences",
            "copy-disk-fences",
        ],
    ),
    (
        Fault::ForgetsStore,
        &[
            "destroy-leaves-foreign",
            "remove-leaves-foreign",
            "press-leaves-foreign",
            "reboot-leaves-foreign",
            "save-leaves-foreign",
            "restore-leaves-foreign",
            "hotplug-leaves-foreign",
            "resize-leaves-foreign",
            "snapshot-leaves-foreign",
            "migrate-leaves-foreign-here",
            "copy-disk-leaves-foreign",
        ],
    ),
    (
        Fault::ForgetsEpoch,
        &[
            "deploy-holds-epoch",
            "destroy-holds-epoch",
            "remove-holds-epoch",
            "press-holds-epoch",
            "reboot-holds-epoch",
            "save-holds-epoch",
            "restore-holds-epoch",
            "hotplug-holds-epoch",
            "resize-holds-epoch",
            "snapshot-holds-epoch",
            "migrate-holds-epoch",
            "copy-disk-holds-epoch",
        ],
    ),
    (Fault::PressesTwice, &["press-once", "reboot-once", "reset-once", "revert-once"]),
    (Fault::DoesNotStampEdges, &["press-once", "reboot-once", "reset-once", "revert-once"]),
    (Fault::SaysAbsentWhenBlind, &["blind-never-absent"]),
    (Fault::DeployFailsIfThere, &["deploy-twice", "deploy-lost-answer", "cancelled-ends"]),
    (Fault::DeployReplacesForeign, &["deploy-leaves-foreign"]),
    (Fault::RemoveFailsIfGone, &["remove-twice", "remove-lost-answer"]),
    (Fault::ForgetsIdentityInList, &["list-has-ours"]),
    (Fault::TellsOfBefore, &["answer-is-a-look", "cancelled-ends"]),
    (
        Fault::RestoresRunning,
        &[
            "save-lost-answer",
            "restore-paused",
            "restore-fences",
            "unpause-twice",
            "restore-holds-epoch",
        ],
    ),
    (Fault::RestoreStartsAnew, &["restore-needs-memory"]),
    (Fault::UnpauseSucceedsIfOff, &["unpause-off-is-gone"]),
    (Fault::SaveFailsIfOff, &["save-twice", "save-lost-answer"]),
    (Fault::ClaimsAbility, &["probe-answers"]),
    (
        Fault::StatesMore,
        &[
            "reboot-once",
            "reset-once",
            "reboot-fences",
            "reboot-leaves-foreign",
            "reboot-holds-epoch",
        ],
    ),
    (Fault::HangsWhenCancelled, &["cancelled-ends"]),
    (Fault::TellsOfNoChange, &["changes-wake"]),
    (Fault::ForgetsMetrics, &["metrics-tell-of-running"]),
    (
        Fault::MigrateStaysHereToo,
        &["migrate-arrives", "migrate-twice", "migrate-lost-answer", "migrate-abort"],
    ),
    (Fault::MigrateFailsIfMoved, &["migrate-twice", "migrate-lost-answer", "migrate-abort"]),
    (
        Fault::MigrateForgetsStamp,
        &["migrate-arrives", "migrate-twice", "migrate-lost-answer", "migrate-abort"],
    ),
    (Fault::MigrateRunsOverForeign, &["migrate-leaves-foreign"]),
    (Fault::MigrateRunsOverHigher, &["migrate-fences-there"]),
    (Fault::MigrateBelievesTheBlind, &["migrate-needs-the-other"]),
    (Fault::AbortGoesOn, &["migrate-abort"]),
    (Fault::AttachFailsIfThere, &["attach-disk-twice", "attach-nic-twice"]),
    (
        Fault::AttachDoesNothing,
        &["attach-disk-twice", "attach-nic-twice", "hotplug-leaves-foreign", "hotplug-holds-epoch"],
    ),
    (Fault::AttachMakesDomains, &["hotplug-needs-domain"]),
    (Fault::DetachFailsIfGone, &["detach-disk-twice", "detach-nic-twice"]),
    (
        Fault::ResizeDoesNothing,
        &[
            "resize-twice",
            "revert-once",
            "revert-brings-back",
            "resize-leaves-foreign",
            "resize-holds-epoch",
        ],
    ),
    (Fault::SnapshotFailsIfThere, &["snapshot-twice", "snapshot-lost-answer"]),
    (Fault::RevertForgetsStamp, &["revert-restamps"]),
    (Fault::RevertLeavesOff, &["revert-brings-back"]),
    (Fault::RevertStartsAnew, &["revert-needs-snapshot"]),
    (Fault::DeleteSnapshotFailsIfGone, &["delete-snapshot-twice"]),
    (
        Fault::CopyMakesNothing,
        &[
            "copy-disk-twice",
            "copy-disk-abort",
            "copy-disk-leaves-foreign",
            "copy-disk-holds-epoch",
        ],
    ),
    (Fault::CopyTakesAnyDisk, &["copy-disk-nothing"]),
    (Fault::CopyAbortFails, &["copy-disk-abort"]),
    (Fault::InspectForgetsDisks, &["attach-disk-twice", "inspect-tells"]),
    (Fault::StampFailsIfStamped, &["stamp-twice"]),
    (Fault::StampTakesForeign, &["stamp-leaves-foreign"]),
];

#[tokio::test]
async fn each_fault_turns_its_checks_red_and_no_others() {
    for (fault, expected) in FAULTS {
        let bench = FakeBench::new();
        bench.0.long_jobs(u32::from(*fault == Fault::AbortGoesOn));
        let driver = Faulty { inner: bench.0.clone(), fault: *fault, count: AtomicU64::new(0) };
        let report = super::hypervisor(Arc::new(driver), Arc::new(bench)).await;
        assert_eq!(report.broken(), *expected, "{fault:?}\n{report}");
    }
}

/// A check that no fault makes fail might pass for every driver, and so test nothing.
#[test]
fn no_check_of_an_ability_is_without_its_fault() {
    let red: Vec<&str> = FAULTS.iter().flat_map(|(_, checks)| checks.iter().copied()).collect();
    let without: Vec<&str> = super::ability_checks()
        .iter()
        .map(|check| check.name)
        .filter(|name| !name.ends_with("-cut") && !red.contains(name))
        .collect();
    assert!(without.is_empty(), "{without:?}");
}

/// A driver that says why it cannot, until the deadline cuts it.
#[tokio::test]
async fn the_drivers_own_words_are_told_when_a_deadline_cuts_it() {
    let bench = FakeBench::new();
    let stage = super::stage::Stage::new(Arc::new(bench.0.clone()), Arc::new(bench), 0);
    let mut answers = vec![
        DriverError::unknown("driver-deadline", "the driver did not answer"),
        DriverError::retry("quota-server-down", "the quota server does not answer"),
    ];
    let told = stage.asked("deploy", || {
        let answer = answers.pop().expect("asked twice");
        async { Err::<(), _>(answer) }
    });
    let told = told.await.expect("it is no trouble of the check");
    assert_eq!(told.expect_err("it never succeeds").code, "quota-server-down");
}

#[test]
fn every_check_has_a_name_of_its_own() {
    let names = super::names();
    let all: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(all.len(), names.len());
}
