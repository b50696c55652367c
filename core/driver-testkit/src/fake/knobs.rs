//! Orders: which calls fail, are late, or are held.

use super::{Fake, Op, Recorded};
use ostler_model::{DriverError, ErrorKind, HostId, Outcome, VmUuid};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// So many permits that the gate stays open for ever.
const OPEN: usize = 1 << 20;

#[derive(Clone)]
enum Act {
    Fail(DriverError),
    Delay(Duration),
    Late(Duration),
    Lose,
    Hold(Gate),
    HoldAnswer(Gate),
}

#[derive(Clone)]
struct Rule {
    op: Op,
    vm: Option<VmUuid>,
    host: Option<HostId>,
    left: Option<u32>,
    act: Act,
}

impl Rule {
    fn matches(&self, call: &Recorded) -> bool {
        self.op == call.op
            && self.vm.is_none_or(|vm| call.vm == Some(vm))
            && self.host.is_none_or(|host| call.host == host)
            && self.left != Some(0)
    }
}

/// The faults that chance chose for one call. The default is no fault.
#[derive(Debug, Clone, Default)]
pub struct Whim {
    /// How long the call waits before the deed.
    pub delay: Duration,
    /// How long the answer waits after the deed.
    pub late: Duration,
    /// The call answers this error and does nothing.
    pub fail: Option<DriverError>,
    /// The call does the deed, and answers `unknown`.
    pub lose: bool,
    /// The call does the deed, and answers without a look at the domain. Drivers may do that after
    /// every call.
    pub blind: bool,
}

type Whims = Box<dyn FnMut(&Recorded) -> Whim + Send>;

/// All orders.
#[derive(Default)]
pub(super) struct Knobs {
    rules: Vec<Rule>,
    whims: Option<Whims>,
}

impl Knobs {
    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    pub(super) fn follow(&mut self, whims: Option<Whims>) {
        self.whims = whims;
    }

    /// The plan for this call, from all orders that match it. Each matching order with a count is
    /// used up by one.
    pub(super) fn plan(&mut self, call: &Recorded) -> Course {
        let mut plan =
            self.whims.as_mut().map_or_else(Course::default, |whims| Course::of(whims(call)));
        for rule in self.rules.iter_mut().filter(|rule| rule.matches(call)) {
            if let Some(left) = &mut rule.left {
                *left = left.saturating_sub(1);
            }
            match rule.act.clone() {
                Act::Fail(error) => plan.fail = Some(error),
                Act::Delay(time) => plan.delay = Some(time),
                Act::Late(time) => plan.late = Some(time),
                Act::Lose => plan.lose = true,
                Act::Hold(gate) => plan.hold = Some(gate),
                Act::HoldAnswer(gate) => plan.hold_answer = Some(gate),
            }
        }
        plan
    }
}

/// The plan for one call.
#[derive(Default)]
pub(super) struct Course {
    hold: Option<Gate>,
    delay: Option<Duration>,
    fail: Option<DriverError>,
    hold_answer: Option<Gate>,
    late: Option<Duration>,
    lose: bool,
    blind: bool,
}

impl Course {
    fn of(whim: Whim) -> Self {
        let some = |time: Duration| (!time.is_zero()).then_some(time);
        Self {
            delay: some(whim.delay),
            late: some(whim.late),
            fail: whim.fail,
            lose: whim.lose,
            blind: whim.blind,
            ..Self::default()
        }
    }

    /// The part before the deed.
    pub(super) async fn before(&self) -> Result<(), DriverError> {
        if let Some(gate) = &self.hold {
            gate.pass().await;
        }
        if let Some(time) = self.delay {
            tokio::time::sleep(time).await;
        }
        self.fail.clone().map_or(Ok(()), Err)
    }

    /// The answer as the caller gets it.
    pub(super) fn told(&self, outcome: Outcome) -> Outcome {
        let seen = outcome.seen.filter(|_| !self.blind);
        Outcome { seen, ..outcome }
    }

    /// The part between the deed and the answer.
    pub(super) async fn after(&self) -> Result<(), DriverError> {
        if let Some(gate) = &self.hold_answer {
            gate.pass().await;
        }
        if let Some(time) = self.late {
            tokio::time::sleep(time).await;
        }
        if self.lose {
            Err(DriverError::unknown("lost", "the answer was lost, as ordered"))
        } else {
            Ok(())
        }
    }
}

/// An order that is not complete yet.
#[must_use = "an order does nothing until it says what shall happen"]
pub struct Order {
    fake: Fake,
    op: Op,
    vm: Option<VmUuid>,
    host: Option<HostId>,
    times: Option<u32>,
}

impl Order {
    pub(super) fn new(fake: Fake, op: Op) -> Self {
        Self { fake, op, vm: None, host: None, times: None }
    }

    /// Only calls about this VM.
    pub fn vm(mut self, vm: VmUuid) -> Self {
        self.vm = Some(vm);
        self
    }

    /// Only calls to this host.
    pub fn host(mut self, host: HostId) -> Self {
        self.host = Some(host);
        self
    }

    /// Only so many calls.
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Answer this error and do nothing.
    pub fn fail(self, error: DriverError) {
        self.act(Act::Fail(error));
    }

    /// Answer as after a driver crash, and do nothing.
    pub fn trap(self) {
        self.act(Act::Fail(DriverError::new(
            ErrorKind::Unknown,
            "driver-trap",
            "the driver crashed, as ordered",
        )));
    }

    /// Wait before the deed.
    pub fn delay(self, time: Duration) {
        self.act(Act::Delay(time));
    }

    /// Do it at once, answer late.
    pub fn late(self, time: Duration) {
        self.act(Act::Late(time));
    }

    /// Do it, answer `unknown`.
    pub fn lose(self) {
        self.act(Act::Lose);
    }

    /// Stop before the deed until the gate lets the call pass.
    #[must_use]
    pub fn hold(self) -> Gate {
        let gate = Gate::new();
        self.act(Act::Hold(gate.clone()));
        gate
    }

    /// Do it, and stop before the answer until the gate lets it pass.
    #[must_use]
    pub fn hold_answer(self) -> Gate {
        let gate = Gate::new();
        self.act(Act::HoldAnswer(gate.clone()));
        gate
    }

    fn act(self, act: Act) {
        let rule = Rule { op: self.op, vm: self.vm, host: self.host, left: self.times, act };
        self.fake.lock().knobs.rules.push(rule);
    }
}

/// A gate at which calls are held. All clones are the same gate.
#[derive(Clone)]
pub struct Gate {
    permits: Arc<Semaphore>,
    arrived: watch::Sender<u64>,
}

impl Gate {
    fn new() -> Self {
        Self { permits: Arc::new(Semaphore::new(0)), arrived: watch::Sender::new(0) }
    }

    async fn pass(&self) {
        self.arrived.send_modify(|count| *count += 1);
        // The semaphore is never closed, so this ends only with a permit.
        if let Ok(permit) = self.permits.acquire().await {
            permit.forget();
        }
    }

    /// Waits until this many calls have come to the gate. Calls that have passed count too.
    ///
    /// # Panics
    /// If they do not come within a minute. Otherwise a broken test would wait for ever and report
    /// nothing.
    pub async fn reached(&self, calls: u64) {
        let mut arrived = self.arrived.subscribe();
        let came = tokio::time::timeout(
            Duration::from_secs(60),
            arrived.wait_for(|count| *count >= calls),
        )
        .await;
        // The sender lives as long as the gate.
        let so_far = *self.arrived.borrow();
        assert!(came.is_ok(), "{so_far} calls of {calls} came to the gate");
    }

    /// Lets one call pass, now or when it comes.
    pub fn step(&self) {
        self.permits.add_permits(1);
    }

    /// Lets all pass from now on.
    pub fn open(&self) {
        self.permits.add_permits(OPEN);
    }
}
