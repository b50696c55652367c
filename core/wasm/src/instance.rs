//! Runs one call in one fresh instance: limits, deadline, cancel, and an error for every way of
//! failing.

use crate::capability::Env;
use crate::output::Captured;
use crate::text::cut;
use crate::ticker::Ticker;
use futures::future::BoxFuture;
use ostler_model::DriverError;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use wasmtime::component::{Instance, InstancePre, ResourceTable};
use wasmtime::{PoolConcurrencyLimitError, ResourceLimiter, Store, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

/// How long a driver may take to end after it was told to stop. A host function that is running
/// ends at once.
pub(crate) const CANCEL_GRACE: Duration = Duration::from_secs(2);
/// The most elements of a table: a large Rust component has some thousand functions.
const TABLE_ELEMENTS_MAX: usize = 100_000;
/// The most core instances, tables and memories of one component: Rust makes 3, Python about 20.
const PARTS_MAX: usize = 64;
/// The most bytes that a guest may hand over at once: an answer about the 20,000 domains that may
/// be listed takes about 10 MiB.
const HOSTCALL_FUEL: usize = 32 * 1024 * 1024;
/// The most resources that one call may hold: streams of WASI and the call itself.
const RESOURCES_MAX: usize = 256;
/// The longest text of a trap that is kept.
const TRAP_TEXT_MAX: usize = 4096;
/// The code of the error when all places for calls are taken. The guest has not run then.
pub(crate) const BUSY: &str = "driver-busy";

/// The data of a store.
pub(crate) struct State {
    wasi: WasiCtx,
    pub(crate) table: ResourceTable,
    limits: Limits,
    pub(crate) env: Arc<Env>,
}

struct Limits {
    memory_max: usize,
    memory_denied: bool,
}

impl ResourceLimiter for Limits {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let allowed = desired <= self.memory_max;
        self.memory_denied |= !allowed;
        Ok(allowed)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }

    fn instances(&self) -> usize {
        PARTS_MAX
    }

    fn tables(&self) -> usize {
        PARTS_MAX
    }

    fn memories(&self) -> usize {
        PARTS_MAX
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// The parts that all calls of a host share.
pub(crate) struct Runner {
    pub(crate) ticker: Ticker,
    pub(crate) memory_max: usize,
    pub(crate) cpu_budget: Duration,
}

/// Why a call has no answer.
enum NoAnswer {
    Wasm(wasmtime::Error),
    Cpu,
    Wall,
    Dropped,
}

/// The caller's part of one call. It gets the fresh store and instance.
pub(crate) type Body<T> = Box<
    dyn for<'a> FnOnce(&'a mut Store<State>, &'a Instance) -> BoxFuture<'a, wasmtime::Result<T>>
        + Send,
>;

impl Runner {
    /// Makes a fresh instance and runs the call in it. The store is gone when this returns or is
    /// dropped.
    pub(crate) async fn call<T: Send>(
        &self,
        pre: &InstancePre<State>,
        env: Arc<Env>,
        until: Instant,
        cancel: &CancellationToken,
        body: Body<T>,
    ) -> Result<T, DriverError> {
        let _ticking = self.ticker.enter();
        // All work of the host for this call is told to stop when the call ends.
        let _stop = env.stop().drop_guard();
        let output = Captured::default();
        let mut store = self.store(pre, Arc::clone(&env), &output);
        let ended = {
            let guest = async {
                let instance = pre.instantiate_async(&mut store).await?;
                body(&mut store, &instance).await
            };
            let guest = within_cpu(guest, self.cpu_budget);
            tokio::select! {
                biased;
                answer = guest => answer,
                () = tokio::time::sleep_until(until.into()) => Err(NoAnswer::Wall),
                () = async {
                    cancel.cancelled().await;
                    tokio::time::sleep(CANCEL_GRACE).await;
                } => Err(NoAnswer::Dropped),
            }
        };
        ended.map_err(|ended| {
            let error = self.explain(ended, store.data().limits.memory_denied, &output);
            tracing::warn!(
                driver = %env.driver(),
                call = env.call_name(),
                code = error.code,
                detail = error.detail,
                "driver call failed"
            );
            error
        })
    }

    fn store(&self, pre: &InstancePre<State>, env: Arc<Env>, output: &Captured) -> Store<State> {
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES_MAX);
        let limits = Limits { memory_max: self.memory_max, memory_denied: false };
        let mut store =
            Store::new(pre.engine(), State { wasi: inert_wasi(output), table, limits, env });
        store.limiter(|state| &mut state.limits);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Yield(1)));
        store.set_hostcall_fuel(HOSTCALL_FUEL);
        store
    }

    fn explain(&self, ended: NoAnswer, memory_denied: bool, output: &Captured) -> DriverError {
        match ended {
            NoAnswer::Cpu => DriverError::unknown(
                "driver-deadline",
                format!(
                    "the driver computed for more than {:?} in one call and was stopped",
                    self.cpu_budget
                ),
            ),
            NoAnswer::Wall => DriverError::unknown(
                "driver-deadline",
                "the driver did not answer before the call's deadline",
            ),
            NoAnswer::Dropped => DriverError::unknown(
                "driver-dropped",
                format!("the driver did not end within {CANCEL_GRACE:?} after it was told to stop"),
            ),
            NoAnswer::Wasm(error) if error.is::<PoolConcurrencyLimitError>() => DriverError::retry(
                BUSY,
                format!("all places for driver calls are taken: {error:#}"),
            ),
            NoAnswer::Wasm(_) if memory_denied => DriverError::unknown(
                "driver-memory",
                format!("the driver wanted more than its {} bytes of memory", self.memory_max),
            ),
            NoAnswer::Wasm(error) => {
                let (said, trap) = (output.text(), format!("{error:#}"));
                let said = said.trim();
                let text = if said.is_empty() { trap } else { format!("{said}\n{trap}") };
                DriverError::unknown("driver-trap", cut(&text, TRAP_TEXT_MAX))
            }
        }
    }
}

/// WASI as Rust's standard library needs it, with nothing behind it: no files, no network, no
/// environment, no arguments.
fn inert_wasi(output: &Captured) -> WasiCtx {
    let mut builder = WasiCtx::builder();
    builder.stdout(output.clone()).stderr(output.clone());
    builder.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
    builder.build()
}

/// Polls `guest` until it has used its CPU budget. Waiting for a host call uses none of it.
async fn within_cpu<T>(
    guest: impl Future<Output = wasmtime::Result<T>>,
    budget: Duration,
) -> Result<T, NoAnswer> {
    let mut guest = pin!(guest);
    let mut used = Duration::ZERO;
    poll_fn(|context| {
        let before = thread_cpu();
        let polled = guest.as_mut().poll(context);
        used += thread_cpu().saturating_sub(before);
        match polled {
            Poll::Ready(answer) => Poll::Ready(answer.map_err(NoAnswer::Wasm)),
            Poll::Pending if used > budget => Poll::Ready(Err(NoAnswer::Cpu)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

fn thread_cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}
