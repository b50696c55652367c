//! How the drivers answer: which file of a driver is on trial, and on which hosts a driver crashes
//! again and again. The lifecycle decides what follows from it.

use crate::locked::locked;
use ostler_lifecycle::{Answers, Breaker, Spike, TRIAL, is_crash, spike};
use ostler_model::{
    Call, DriverError, DriverName, HostId, Millis, NowCall, OperationId, Timestamp,
};
use std::collections::BTreeMap;
use std::sync::Mutex;
use tokio::sync::Notify;

const LOOK: Call = Call::Now(NowCall::Observe);

/// How the files of one driver answer.
#[derive(Default)]
struct Fares {
    /// The last answers of the file that is in place.
    answers: Answers,
    trial: Option<Trial>,
}

/// A file on trial.
struct Trial {
    /// The answers of the file before.
    before: Answers,
    until: Timestamp,
    /// Operations before this one stay on the file before.
    from: OperationId,
}

/// The answers of all drivers.
#[derive(Default)]
pub(crate) struct Trials {
    fares: Mutex<BTreeMap<DriverName, Fares>>,
    breakers: Mutex<BTreeMap<(DriverName, HostId), Breaker>>,
    /// Drivers whose file is to be taken back.
    spikes: Mutex<BTreeMap<DriverName, Spike>>,
    spiked: Notify,
}

impl Trials {
    /// Another file has become the driver of that name, `ago` before `now`. Operations before `from`
    /// stay on the file before.
    pub(crate) fn begin(
        &self,
        driver: &DriverName,
        from: OperationId,
        now: Timestamp,
        ago: Millis,
    ) {
        self.call_again(driver);
        let mut fares = locked(&self.fares);
        let fares = fares.entry(driver.clone()).or_default();
        let before = std::mem::take(&mut fares.answers);
        let left = Millis(TRIAL.0.saturating_sub(ago.0));
        fares.trial = Some(Trial { before, until: now.plus(left), from });
    }

    /// The file of a driver is not on trial: it was there before, or is forgotten.
    pub(crate) fn settle(&self, driver: &DriverName) {
        self.call_again(driver);
        if let Some(fares) = locked(&self.fares).get_mut(driver) {
            *fares = Fares::default();
        }
    }

    /// Another file may do better: forgets the crashes of the one before.
    fn call_again(&self, driver: &DriverName) {
        locked(&self.breakers).retain(|(of, _), _| of != driver);
        locked(&self.spikes).remove(driver);
    }

    /// Counts an answer of a driver to a call for `operation`; 0 for none. `silent`: the host does
    /// not answer at all, which is no fault of the driver.
    pub(crate) fn answered(
        &self,
        driver: &DriverName,
        operation: OperationId,
        error: Option<&DriverError>,
        silent: bool,
        now: Timestamp,
    ) {
        if silent && !error.is_some_and(is_crash) {
            return;
        }
        let mut all = locked(&self.fares);
        let fares = all.entry(driver.clone()).or_default();
        let Some(trial) = &fares.trial else {
            fares.answers.add(error);
            return;
        };
        if operation.0 > 0 && operation < trial.from {
            return;
        }
        fares.answers.add(error);
        if now >= trial.until {
            fares.trial = None;
        } else if let Some(found) = spike(&trial.before, &fares.answers) {
            fares.trial = None;
            locked(&self.spikes).insert(driver.clone(), found);
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
        } else if call != LOOK
            && let Some(breaker) = breakers.get_mut(&key)
        {
            breaker.answered(now);
            if breaker.is_quiet() {
                breakers.remove(&key);
            }
        }
    }

    /// The answer instead of a call, while the driver is not called on this host.
    pub(crate) fn refusal(
        &self,
        driver: &DriverName,
        host: HostId,
        now: Timestamp,
    ) -> Option<DriverError> {
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
    pub(crate) async fn next_spike(&self) -> (DriverName, Spike) {
        loop {
            let spiked = self.spiked.notified();
            if let Some(found) = locked(&self.spikes).pop_first() {
                return found;
            }
            spiked.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const H: HostId = HostId(1);
    const DEPLOY: Call = Call::Now(NowCall::Deploy);

    fn name() -> DriverName {
        "sim".parse().expect("a name")
    }

    fn crash() -> DriverError {
        DriverError::unknown("driver-trap", "")
    }

    #[test]
    fn only_operations_of_the_new_file_and_hosts_that_answer_count() {
        let (trials, driver, now) = (Trials::default(), name(), Timestamp(1));
        (0..20).for_each(|_| trials.answered(&driver, OperationId(1), None, false, now));
        trials.begin(&driver, OperationId(10), now, Millis(0));
        let failure = DriverError::retry("unreachable", "");
        for _ in 0..20 {
            // Of the file before, and of a host that is down.
            trials.answered(&driver, OperationId(9), Some(&crash()), false, now);
            trials.answered(&driver, OperationId(11), Some(&failure), true, now);
        }
        assert!(locked(&trials.spikes).is_empty());
        assert!(trials.trial_until(&driver, now).is_some());
        for _ in 0..5 {
            trials.answered(&driver, OperationId(11), Some(&failure), false, now);
        }
        let found = locked(&trials.spikes).get(&driver).copied();
        assert_eq!(found, Some(Spike::Failures { failed: 5, of: 5, before: 0, before_of: 20 }));
        assert_eq!(trials.trial_until(&driver, now), None);
    }

    #[test]
    fn a_trial_ends_and_is_shorter_after_a_restart() {
        let (trials, driver) = (Trials::default(), name());
        trials.begin(&driver, OperationId(10), Timestamp(0), Millis(TRIAL.0 - 1_000));
        assert_eq!(trials.trial_until(&driver, Timestamp(0)), Some(Timestamp(1_000)));
        for _ in 0..5 {
            trials.answered(&driver, OperationId(11), Some(&crash()), false, Timestamp(1_000));
        }
        assert!(locked(&trials.spikes).is_empty());
    }

    #[test]
    fn a_driver_that_crashes_on_one_host_is_called_on_the_others() {
        let (trials, driver, now) = (Trials::default(), name(), Timestamp(1));
        (0..5).for_each(|_| trials.went(&driver, H, DEPLOY, Some(&crash()), now));
        let refused = trials.refusal(&driver, H, now).expect("not called");
        assert_eq!(
            (refused.code.as_str(), refused.kind),
            ("driver-crashes", ostler_model::ErrorKind::Retry)
        );
        assert_eq!(trials.refusal(&driver, HostId(2), now), None);
        assert_eq!(trials.pauses(&driver, now), [(H, Millis(5_000))]);
        // An answer of a call that was sent before does not end the pause; one after it does.
        trials.went(&driver, H, DEPLOY, None, now);
        assert!(trials.refusal(&driver, H, now).is_some());
        let later = now.plus(Millis(5_000));
        assert_eq!(trials.refusal(&driver, H, later), None);
        trials.went(&driver, H, DEPLOY, None, later);
        (0..4).for_each(|_| trials.went(&driver, H, DEPLOY, Some(&crash()), later));
        // A look that is answered does not make the four forgotten.
        trials.went(&driver, H, LOOK, None, later);
        assert_eq!(trials.refusal(&driver, H, later), None);
        trials.went(&driver, H, DEPLOY, Some(&crash()), later);
        assert!(trials.refusal(&driver, H, later).is_some());
        // Another file may be better.
        trials.settle(&driver);
        assert_eq!(trials.refusal(&driver, H, later), None);
    }
}
