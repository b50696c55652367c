//! Tests of which answers count for a file on trial, and of drivers that crash on one host.

use super::*;
use ostler_model::{ErrorKind, NowCall};

const H: HostId = HostId(1);
const DEPLOY: Call = Call::Now(NowCall::Deploy);
const LOOK: Call = Call::Now(NowCall::Observe);

fn name() -> DriverName {
    "sim".parse().expect("a name")
}

fn crash() -> DriverError {
    DriverError::unknown("driver-trap", "")
}

/// Answers of an operation, for three VMs in turn.
fn answers(trials: &Trials, operation: u64, error: Option<&DriverError>, silent: bool, n: u128) {
    let (driver, operation) = (&name(), OperationId(operation));
    for at in 0..n {
        let vm = VmUuid(uuid::Uuid::from_u128(at % 3));
        trials.answered(Answer { driver, operation, vm, error, silent }, Timestamp(1));
    }
}

fn begin(trials: &Trials, ago: u64) {
    trials.begin(&name(), "b".to_owned(), OperationId(10), (Timestamp(1), Millis(ago)));
}

fn spikes(trials: &Trials) -> Vec<Spike> {
    locked(&trials.spikes).iter().map(|spike| spike.why).collect()
}

#[test]
fn only_operations_of_the_new_file_and_hosts_that_answer_count() {
    let (trials, failure) = (Trials::default(), DriverError::retry("unreachable", ""));
    answers(&trials, 1, None, false, 20);
    begin(&trials, 0);
    // Of the file before, and of a host that is down.
    answers(&trials, 9, Some(&crash()), false, 20);
    answers(&trials, 11, Some(&failure), true, 20);
    assert_eq!(spikes(&trials), []);
    assert!(trials.trial_until(&name(), Timestamp(1)).is_some());
    answers(&trials, 11, Some(&failure), false, 20);
    assert_eq!(spikes(&trials), [Spike::Failures { failed: 5, of: 5, before: 0, before_of: 20 }]);
    assert_eq!(trials.trial_until(&name(), Timestamp(1)), None);
}

#[test]
fn no_call_is_sent_until_the_file_is_taken_back_or_stays() {
    let trials = Trials::default();
    let refused = |call| trials.refusal(&name(), H, call, Timestamp(1)).map(|error| error.code);
    begin(&trials, 0);
    answers(&trials, 11, Some(&crash()), false, 1);
    assert_eq!(refused(DEPLOY), None);
    answers(&trials, 11, Some(&crash()), false, 1);
    assert_eq!(refused(DEPLOY).expect("not called").as_str(), "driver-taken-back");
    assert_eq!(refused(LOOK), None);
    // An operator was faster: nothing is taken back any more.
    begin(&trials, 0);
    assert_eq!((refused(DEPLOY), spikes(&trials)), (None, vec![]));
}

#[test]
fn a_trial_ends_and_is_shorter_after_a_restart() {
    let trials = Trials::default();
    begin(&trials, TRIAL.0 - 1_000);
    assert_eq!(trials.trial_until(&name(), Timestamp(1)), Some(Timestamp(1_001)));
    begin(&trials, TRIAL.0);
    answers(&trials, 11, Some(&crash()), false, 5);
    assert_eq!(spikes(&trials), []);
}

#[test]
fn a_driver_that_crashes_on_one_host_is_called_on_the_others() {
    let (trials, driver, now) = (Trials::default(), name(), Timestamp(1));
    let went = |call, error: Option<&DriverError>, at| trials.went(&driver, H, call, error, at);
    let refusal = |host, call, at| trials.refusal(&driver, host, call, at);
    (0..5).for_each(|_| went(DEPLOY, Some(&crash()), now));
    let refused = refusal(H, DEPLOY, now).expect("not called");
    assert_eq!((refused.code.as_str(), refused.kind), ("driver-crashes", ErrorKind::Retry));
    assert_eq!(refusal(HostId(2), DEPLOY, now), None);
    assert_eq!(trials.pauses(&driver, now), [(H, Millis(5_000))]);
    // Looks and destroys go on.
    for call in [LOOK, Call::Now(NowCall::Destroy)] {
        assert_eq!(refusal(H, call, now), None);
    }
    // An answer of a call that was sent before does not end the pause; one after it does.
    went(DEPLOY, None, now);
    assert!(refusal(H, DEPLOY, now).is_some());
    let later = now.plus(Millis(5_000));
    assert_eq!(refusal(H, DEPLOY, later), None);
    went(DEPLOY, None, later);
    (0..4).for_each(|_| went(DEPLOY, Some(&crash()), later));
    // A look that is answered does not make the four forgotten.
    went(LOOK, None, later);
    assert_eq!(refusal(H, DEPLOY, later), None);
    went(DEPLOY, Some(&crash()), later);
    assert!(refusal(H, DEPLOY, later).is_some());
    // Another file may be better.
    trials.settle(&driver);
    assert_eq!(refusal(H, DEPLOY, later), None);
}
