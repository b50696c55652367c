//! Waits for the end of operations. It waits in parts, so that a lost connection or a restart of
//! the daemon costs only one part.

use crate::retry::patiently;
use crate::{Exit, Failure};
use ostler_api::{Client, Operation, Vm};
use std::time::{Duration, Instant};

/// How long to wait if no timeout is given.
pub(crate) const TIMEOUT: &str = "5m";
/// The longest time that one request waits. Proxies do not cut it off yet, and asking again costs
/// little.
const PART: Duration = Duration::from_secs(20);
/// The first pause between looks at a VM, and the longest.
const LOOKS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// After more than so many looks found that no host takes the VM, nobody waits for the scheduler
/// any longer. One look is not enough, because the scheduler's words may be older than the VM's
/// state.
const SCHEDULER_REFUSES: u32 = 3;

/// The moment until which to wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    /// So long from now. For ever if the clock cannot express that moment.
    pub(crate) fn after(time: Duration) -> Self {
        Self(Instant::now().checked_add(time))
    }

    /// The time that is left.
    fn left(self) -> Duration {
        self.0.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()))
    }

    /// How long the next request may wait.
    pub(crate) fn part(self) -> Duration {
        self.left().min(PART)
    }
}

/// The result of `work`. None if somebody interrupts the command before.
pub(crate) async fn unless_interrupted<T>(work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        // If the signal cannot be caught, an interrupt ends the process as usual.
        Ok(()) = tokio::signal::ctrl_c() => None,
    }
}

/// The operation at its end, or as it was at the deadline.
pub(crate) async fn for_end(
    client: &Client,
    mut operation: Operation,
    deadline: Deadline,
) -> Result<Operation, Failure> {
    while operation.outcome.is_none() && !deadline.left().is_zero() {
        operation = patiently(|| client.operation(operation.id, Some(deadline.part()))).await?;
    }
    Ok(operation)
}

/// The VM once it runs.
///
/// # Errors
/// The VM failed or came to rest in another state, or the deadline has passed.
pub(crate) async fn for_running(
    client: &Client,
    id: u64,
    deadline: Deadline,
) -> Result<Vm, Failure> {
    let (mut pause, longest) = LOOKS;
    let which = id.to_string();
    loop {
        let vm = patiently(|| client.vm(&which)).await?;
        match vm.state.as_ref() {
            "running" => return Ok(vm),
            "failed" => {
                let why = vm.failure.as_ref().map_or_else(String::new, |failure| {
                    format!(": {}", crate::text::complaint(&failure.error))
                });
                let failure = Failure::new(Exit::Refused, format!("vm {id} failed{why}"));
                return Err(failure.hint(format!("`ostler vm why {id}` says what can be done")));
            }
            state @ ("done" | "poweroff" | "stopped" | "suspended" | "undeployed" | "hold") => {
                return Err(Failure::new(
                    Exit::Conflict,
                    format!("vm {id} is {state}: somebody else asked for something"),
                ));
            }
            _ => {}
        }
        if deadline.left().is_zero() {
            return Err(late(client, &vm).await);
        }
        tokio::time::sleep(pause.min(deadline.left())).await;
        pause = (pause * 2).min(longest);
    }
}

/// Waits for the scheduler to place a VM. Returns the VM when nothing is done with it any more, and
/// the operation that brought it there, if there was one. If no host takes it now, returns the VM
/// while it waits.
///
/// # Errors
/// The deadline has passed.
pub(crate) async fn for_scheduler(
    client: &Client,
    id: u64,
    after: u64,
    deadline: Deadline,
) -> Result<(Vm, Option<Operation>), Failure> {
    let (mut pause, longest) = LOOKS;
    let which = id.to_string();
    let mut refused = 0;
    loop {
        let vm = patiently(|| client.vm(&which)).await?;
        let at_work = vm.operation.is_some() || vm.state == "pending" || vm.resched;
        if !at_work {
            let newest =
                patiently(|| client.operations_of(&which)).await?.operations.into_iter().next();
            return Ok((vm, newest.filter(|operation| operation.id > after)));
        }
        // The scheduler has looked, and no host takes the VM now. That may last for days, so the
        // command stops waiting. `ostler vm why` tells the same.
        let refuses =
            vm.operation.is_none() && !patiently(|| client.why(&which)).await?.scheduler.is_empty();
        refused = if refuses { refused + 1 } else { 0 };
        if refused > SCHEDULER_REFUSES {
            return Ok((vm, None));
        }
        if deadline.left().is_zero() {
            return Err(late(client, &vm).await);
        }
        tokio::time::sleep(pause.min(deadline.left())).await;
        pause = (pause * 2).min(longest);
    }
}

async fn late(client: &Client, vm: &Vm) -> Failure {
    let mut failure = Failure::new(
        Exit::TimedOut,
        format!("vm {} is {}, and the time to wait is over; it goes on", vm.id, vm.state),
    );
    if let Ok(why) = client.why(&vm.id.to_string()).await {
        failure.more.push(why.summary);
        failure.more.extend(why.waits_for);
        failure.more.extend(why.scheduler);
    }
    failure.hint(format!("`ostler vm why {}` says what it waits for", vm.id))
}
