//! How the drivers answer: which file of a driver is on trial, and on which hosts a driver crashes
//! again and again. The lifecycle decides what follows from it.

use crate::directory::Directory;
use crate::locked::locked;
use ostler_lifecycle::{Answers, Breaker, Spike, TRIAL, is_crash, spike, waits};
use ostler_model::{Call, DriverError, DriverName, HostId, Millis, OperationId, Timestamp, VmUuid};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use tokio::sync::Notify;

/// How the files of one driver answer.
#[derive(Default)]
struct Fares {
    /// The last answers of the file that is in place.
    answers: Answers,
    trial: Option<Trial>,
    /// The file that is to be taken back. Until it is, the driver is not called.
    spike: Option<TakeBack>,
}

/// A file on trial.
struct Trial {
    /// Its digest.
    file: String,
    /// The answers of the file before.
    before: Answers,
    until: Timestamp,
    /// Operations before this one stay on the file before.
    from: OperationId,
}

/// A file that is to be taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakeBack {
    /// The driver.
    pub driver: DriverName,
    /// The digest of the file.
    pub file: String,
    /// The reason.
    pub why: Spike,
}

/// An answer of a driver.
#[derive(Clone, Copy)]
pub(crate) struct Answer<'a> {
    pub(crate) driver: &'a DriverName,
    /// 0 for none.
    pub(crate) operation: OperationId,
    pub(crate) vm: VmUuid,
    pub(crate) error: Option<&'a DriverError>,
    /// The host does not answer at all, which is no fault of the driver.
    pub(crate) silent: bool,
}

/// The answers of all drivers.
#[derive(Default)]
pub(crate) struct Trials {
    fares: Mutex<BTreeMap<DriverName, Fares>>,
    breakers: Mutex<BTreeMap<(DriverName, HostId), Breaker>>,
    /// Files that are to be taken back, in this order.
    spikes: Mutex<VecDeque<TakeBack>>,
    spiked: Notify,
}

impl Trials {
    /// Another file, of this digest, has become the driver of that name, `ago` before `now`.
    /// Operations before `from` stay on the file before.
    pub(crate) fn begin(
        &self,
        driver: &DriverName,
        file: String,
        from: OperationId,
        (now, ago): (Timestamp, Millis),
    ) {
        self.call_again(driver);
        let mut fares = locked(&self.fares);
        let fares = fares.entry(driver.clone()).or_default();
        let before = std::mem::take(&mut fares.answers);
        let left = Millis(TRIAL.0.saturating_sub(ago.0));
        fares.trial = Some(Trial { file, before, until: now.plus(left), from });
    }

    /// The file of a driver is not on trial: it was there before, or is forgotten.
    pub(crate) fn settle(&self, driver: &DriverName) {
        self.call_again(driver);
        locked(&self.fares).remove(driver);
    }

    /// Forgets hosts that are gone.
    pub(crate) fn prune(&self, directory: &Directory) {
        locked(&self.breakers).retain(|(_, host), _| directory.site(*host).is_some());
    }

    /// The driver is called again: another file is in place, or the one that fared badly stays.
    pub(crate) fn call_again(&self, driver: &DriverName) {
        locked(&self.breakers).retain(|(of, _), _| of != driver);
        locked(&self.spikes).retain(|spike| spike.driver != *driver);
        if let Some(fares) = locked(&self.fares).get_mut(driver) {
            fares.spike = None;
        }
    }

    /// Counts an answer.
    pub(crate) fn answered(&self, answer: Answer<'_>, now: Timestamp) {
        let Answer { driver, operation, vm, error, silent } = answer;
        if silent && !error.is_some_and(is_crash) {
            return;
        }
        let mut all = locked(&self.fares);
        let fares = all.entry(driver.clone()).or_default();
        let Some(trial) = &fares.trial else {
            fares.answers.add(vm, error);
            return;
        };
        if operation.0 > 0 && operation < trial.from {
            return;
        }
        fares.answers.add(vm, error);
        if now >= trial.until {
            fares.trial = None;
        } else if let Some(why) = spike(&trial.before, &fares.answers) {
            let back = TakeBack { driver: driver.clone(), file: trial.file.clone(), why };
            fares.trial = None;
            fares.spike = Some(back.clone());
            locked(&self.spikes).push_back(back);
            self.spiked.notify_one();
        }
    }

    /// Notes whether a call crashed on a host. An answered look says little: a driver that crashes
    /// in all that it does is looked at after each crash, and may answer that.
    pub(crate) fn went(
        &self,
        driver: &DriverName,
        host: HostId,
        call: Call,
        error: Option<&DriverError>,
        now: Timestamp,
    ) {
        let mut breakers = locked(&self.breakers);
        let key = (driver.clone(), host);
        if error.is_some_and(is_crash) {
            let breaker = breakers.entry(key).or_default();
            breaker.crashed(now);
            if let Some(pause) = breaker.pause(now) {
                tracing::warn!(
                    %driver, %host, seconds = pause.0.div_ceil(1000),
                    "the driver crashes on this host again and again: it is not called there for \
                     a while"
                );
            }
        } else if waits(call)
            && let Some(breaker) = breakers.get_mut(&key)
        {
            breaker.answered(now);
            if breaker.is_quiet() {
                breakers.remove(&key);
            }
        }
    }

    /// The answer instead of a call, while the driver is not called on this host, or its file is
    /// being taken back.
    pub(crate) fn refusal(
        &self,
        driver: &DriverName,
        host: HostId,
        call: Call,
        now: Timestamp,
    ) -> Option<DriverError> {
        if !waits(call) {
            return None;
        }
        if locked(&self.fares).get(driver).is_some_and(|fares| fares.spike.is_some()) {
            let detail =
                format!("the new file of driver {driver} fares badly; the file before is put back");
            return Some(DriverError::retry("driver-taken-back", detail));
        }
        let pause = locked(&self.breakers).get(&(driver.clone(), host))?.pause(now)?;
        let seconds = pause.0.div_ceil(1000);
        Some(DriverError::retry(
            "driver-crashes",
            format!(
                "driver {driver} crashed on this host again and again; it is called there again in \
                 {seconds} s"
            ),
        ))
    }

    /// The hosts where a driver is not called now, and for how long.
    pub(crate) fn pauses(&self, driver: &DriverName, now: Timestamp) -> Vec<(HostId, Millis)> {
        let breakers = locked(&self.breakers);
        let of = breakers.iter().filter(|((name, _), _)| name == driver);
        of.filter_map(|((_, host), breaker)| Some((*host, breaker.pause(now)?))).collect()
    }

    /// Until when the file of a driver is on trial.
    pub(crate) fn trial_until(&self, driver: &DriverName, now: Timestamp) -> Option<Timestamp> {
        let until = locked(&self.fares).get(driver)?.trial.as_ref()?.until;
        Some(until).filter(|until| *until > now)
    }

    /// Waits until the file of a driver is to be taken back.
    pub(crate) async fn next_spike(&self) -> TakeBack {
        loop {
            let spiked = self.spiked.notified();
            if let Some(found) = locked(&self.spikes).pop_front() {
                return found;
            }
            spiked.await;
        }
    }
}

#[cfg(test)]
#[path = "trials_tests.rs"]
mod tests;
