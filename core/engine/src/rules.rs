//! Asks the snapshot rules that are bound to a VM's host or driver.

use crate::calls;
use crate::clock;
use crate::figures::Called;
use crate::hosts;
use crate::shared::Shared;
use ostler_driver::{RulesQuestion, RulesVerdict, SnapshotFate, Verdict};
use ostler_lifecycle::{Advice, Fate};
use ostler_model::{DriverError, DriverName, State, VmRecord};
use std::time::Duration;

/// How long the rules may take to answer one question.
const RULES_TIMEOUT: Duration = Duration::from_millis(100);

/// The rules bound to the VM's host, or else to its driver. None if the VM has no placement, or
/// there are no such rules.
pub(crate) fn bound(shared: &Shared, record: &VmRecord) -> Option<DriverName> {
    let place = record.placement.as_ref()?;
    if let Some(rules) =
        shared.directory().hosts.get(&place.host).and_then(|host| host.rules.clone())
    {
        return Some(rules);
    }
    let said = shared.store.read().ok()?.rules_of(&place.driver).ok()?;
    said.or_else(|| shared.config.rules.get(&place.driver).cloned())
}

/// The advice of the rules about `verb`, asked in `state`. None if no rules are bound. If the rules
/// give no answer, this is an error, and the lifecycle knows what to do then.
pub(crate) async fn advise(
    shared: &Shared,
    record: &VmRecord,
    verb: &str,
    state: State,
    subject: Option<&str>,
) -> Option<Result<Advice, DriverError>> {
    let rules = bound(shared, record)?;
    let driver = match shared.drivers.rules(&rules) {
        Ok(driver) => driver,
        Err(error) => return Some(Err(DriverError::retry("not-loaded", error.to_string()))),
    };
    let question = question(shared, record, verb, state, subject);
    let begun = clock::instant();
    let answer =
        match tokio::time::timeout(RULES_TIMEOUT, calls::caught(driver.judge(&question))).await {
            Ok(answer) => answer,
            Err(_) => Err(DriverError::retry("timeout", "the rules did not answer in time")),
        };
    let called = Called { driver: &rules, host: None, function: "judge" };
    shared.count_call(called, begun, answer.as_ref().err());
    Some(answer.map(|verdict| advice(&rules, &verdict)))
}

fn question(
    shared: &Shared,
    record: &VmRecord,
    verb: &str,
    state: State,
    subject: Option<&str>,
) -> RulesQuestion {
    let read_only = |name: &ostler_model::DiskName| {
        record.spec.disks.iter().any(|wanted| wanted.name == *name && wanted.read_only)
    };
    // Like for every other question to the driver: if the host was not probed yet, the abilities
    // that the driver has on some host.
    let place = record.placement.as_ref();
    let known = place.and_then(|place| hosts::abilities(shared, place.host, &place.driver));
    RulesQuestion {
        verb: verb.to_owned(),
        state,
        disks: record
            .disks
            .iter()
            .map(|disk| (disk.name.to_string(), disk.format.to_string(), read_only(&disk.name)))
            .collect(),
        // Hidden snapshots too, because they are still at the hypervisor.
        snapshots: record.snapshots.iter().map(|snapshot| snapshot.name.to_string()).collect(),
        subject: subject.map(|asked| {
            record.snapshot(asked).map_or_else(|| asked.to_owned(), |found| found.name.to_string())
        }),
        abilities: known.unwrap_or_default(),
        now_ms: shared.now().0,
    }
}

fn advice(rules: &DriverName, verdict: &RulesVerdict) -> Advice {
    let fate = |fate: &SnapshotFate| match fate {
        SnapshotFate::Keep => Fate::Keep,
        SnapshotFate::Lose => Fate::Lose,
        SnapshotFate::Hide => Fate::Hide,
    };
    let refused = match &verdict.verdict {
        Verdict::Allowed => None,
        Verdict::Refused { reason } => Some(reason.clone()),
    };
    Advice { rules: rules.to_string(), refused, fates: verdict.fates.iter().map(fate).collect() }
}
