//! Runs one call in one fresh instance, on a thread for guests: limits, deadline, cancel, and an
//! error for every way of failing.

use crate::budget::{Held, Memory, Places, TakenPlace};
use crate::capability::Env;
use crate::capability::http::Requests;
use crate::capability::wasi::TapedClock;
use crate::output::Captured;
use crate::text::cut;
use crate::threads::GuestThreads;
use crate::ticker::{Ticker, Ticking};
use crate::work::{self, Worker};
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
use wasmtime_wasi::{Deterministic, WasiCtx, WasiCtxView, WasiView};

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
/// On a cassette, the random bytes of WASI come again after so many.
const RANDOM_BYTES: usize = 4096;
/// The code of the error when all places for calls are taken. The guest has not run then.
pub(crate) const BUSY: &str = "driver-busy";

/// The data of a store.
pub(crate) struct State {
    wasi: WasiCtx,
    pub(crate) table: ResourceTable,
    limits: Limits,
    pub(crate) requests: Requests,
    pub(crate) env: Arc<Env>,
}

struct Limits {
    memory_max: usize,
    memory: Held,
    denied: Option<Denied>,
}

/// Why a guest got no more memory.
#[derive(Clone, Copy)]
enum Denied {
    /// It has as much as one instance may have.
    Own,
    /// All calls in progress have as much as they may have together.
    All,
}

impl ResourceLimiter for Limits {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let denied = if desired > self.memory_max {
            Some(Denied::Own)
        } else if !self.memory.take(desired.saturating_sub(current)) {
            Some(Denied::All)
        } else {
            None
        };
        self.denied = self.denied.or(denied);
        Ok(denied.is_none())
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
    pub(crate) threads: GuestThreads,
    pub(crate) places: Places,
    pub(crate) memory: Arc<Memory>,
    pub(crate) bounds: Bounds,
}

/// The most that one call may use.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    /// Bytes of memory.
    pub(crate) memory: usize,
    /// Time of a CPU.
    pub(crate) cpu: Duration,
}

/// One call, on its way to the threads of guests. Each part is given back when the guest is gone,
/// also if nobody waits for it any more.
struct Guest {
    bounds: Bounds,
    memory: Held,
    _place: TakenPlace,
    _ticking: Ticking,
    _worker: Worker,
    pre: InstancePre<State>,
    env: Arc<Env>,
    until: Instant,
    cancel: CancellationToken,
}

/// Why a call has no answer.
enum NoAnswer {
    Wasm(wasmtime::Error),
    Cpu,
    Wall,
    Dropped,
    /// The conformance suite has stopped it.
    Stopped(DriverError),
}

/// The caller's part of one call. It gets the fresh store and instance.
pub(crate) type Body<T> = Box<
    dyn for<'a> FnOnce(&'a mut Store<State>, &'a Instance) -> BoxFuture<'a, wasmtime::Result<T>>
        + Send,
>;

impl Runner {
    /// Makes a fresh instance and runs the call in it. If the answer is dropped, all work of the
    /// host for the call is told to stop, and the guest is dropped when it hands its thread back.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        pre: &InstancePre<State>,
        env: Arc<Env>,
        until: Instant,
        cancel: &CancellationToken,
        body: Body<T>,
    ) -> Result<T, DriverError> {
        let side = Arc::clone(&env.side);
        let Some(place) = side.places.take(env.waits) else {
            let driver = env.driver();
            return Err(busy(&format!("driver {driver} has as many calls in progress as it may")));
        };
        let (_caller, worker) = work::watched(&side.orphans, env.vm(), env.stop());
        let guest = Guest {
            bounds: self.bounds,
            memory: self.memory.begin(),
            _place: place,
            _ticking: self.ticker.enter(),
            _worker: worker,
            pre: pre.clone(),
            env,
            until,
            cancel: cancel.clone(),
        };
        match self.threads.run(guest.run(body)).await {
            Ok(answer) => answer,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(DriverError::unknown("driver-dropped", "the host is ending")),
            },
        }
    }
}

impl Guest {
    async fn run<T: Send>(self, body: Body<T>) -> Result<T, DriverError> {
        let Self { bounds, memory, _place, _ticking, _worker, pre, env, until, cancel } = self;
        // All work of the host for this call is told to stop when the call ends.
        let _stop = env.stop().drop_guard();
        let output = Captured::default();
        let limits = Limits { memory_max: bounds.memory, memory, denied: None };
        let mut store = store(&pre, Arc::clone(&env), &output, limits);
        let ended = {
            let guest = async {
                let instance = pre.instantiate_async(&mut store).await?;
                body(&mut store, &instance).await
            };
            let guest = within_cpu(guest, bounds.cpu);
            tokio::select! {
                biased;
                answer = guest => answer,
                stopped = env.cut() => Err(NoAnswer::Stopped(stopped)),
                () = tokio::time::sleep_until(until.into()) => Err(NoAnswer::Wall),
                () = async {
                    cancel.cancelled().await;
                    tokio::time::sleep(CANCEL_GRACE).await;
                } => Err(NoAnswer::Dropped),
            }
        };
        ended.map_err(|ended| {
            let error = bounds.explain(ended, store.data().limits.denied, &output, &env);
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
}

fn store(
    pre: &InstancePre<State>,
    env: Arc<Env>,
    output: &Captured,
    limits: Limits,
) -> Store<State> {
    let mut table = ResourceTable::new();
    table.set_max_capacity(RESOURCES_MAX);
    let requests = Requests::new(Arc::clone(&env));
    let state = State { wasi: inert_wasi(output, &env), table, limits, requests, env };
    let mut store = Store::new(pre.engine(), state);
    store.limiter(|state| &mut state.limits);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Yield(1)));
    store.set_hostcall_fuel(HOSTCALL_FUEL);
    store
}

fn busy(why: &str) -> DriverError {
    DriverError::retry(BUSY, format!("all places for driver calls are taken: {why}"))
}

impl Bounds {
    fn explain(
        self,
        ended: NoAnswer,
        denied: Option<Denied>,
        output: &Captured,
        env: &Env,
    ) -> DriverError {
        let memory = |text: String| DriverError::unknown("driver-memory", text);
        match ended {
            NoAnswer::Stopped(error) => error,
            NoAnswer::Cpu => DriverError::unknown(
                "driver-deadline",
                format!(
                    "the driver computed for more than {:?} in one call and was stopped",
                    self.cpu
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
            NoAnswer::Wasm(error) if error.is::<PoolConcurrencyLimitError>() => {
                busy(&format!("{error:#}"))
            }
            NoAnswer::Wasm(error) => match denied {
                Some(Denied::Own) => memory(format!(
                    "the driver wanted more than its {} bytes of memory",
                    self.memory
                )),
                Some(Denied::All) => memory(
                    "the driver got no more memory, because all driver calls in progress have as \
                     much as they may have together"
                        .to_owned(),
                ),
                None => trapped(&error, output, env),
            },
        }
    }
}

/// The error of a guest that trapped, with the text that it has printed.
fn trapped(error: &wasmtime::Error, output: &Captured, env: &Env) -> DriverError {
    let said = output.text(&env.handed, TRAP_TEXT_MAX);
    let trap = env.scrub(&format!("{error:#}"), TRAP_TEXT_MAX);
    let said = said.trim();
    let text = if said.is_empty() { trap } else { format!("{said}\n{trap}") };
    DriverError::unknown("driver-trap", cut(&text, TRAP_TEXT_MAX))
}

/// WASI as Rust's standard library needs it, with nothing behind it: no files, no network, no
/// environment, no arguments.
fn inert_wasi(output: &Captured, env: &Arc<Env>) -> WasiCtx {
    let mut builder = WasiCtx::builder();
    builder.stdout(output.clone()).stderr(output.clone());
    builder.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
    if let Some(tape) = &env.tape {
        let seeded = || Deterministic::new(tape.random(RANDOM_BYTES));
        builder.wall_clock(TapedClock::new(Arc::clone(env)));
        builder.monotonic_clock(TapedClock::new(Arc::clone(env)));
        builder.secure_random(seeded()).insecure_random(seeded());
        let mut seed = [0; 16];
        seed.copy_from_slice(&tape.random(16));
        builder.insecure_random_seed(u128::from_le_bytes(seed));
    }
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
