//! The capabilities: what a driver may ask of the host. Each is one module, and all have the same
//! shape.
//!
//! A module has its limits, an `impl Host for View`, and `add_to_linker`. A [`View`] gives it the
//! call ([`Env`]) and the table of resources, nothing else. Capabilities that need a grant call
//! [`Env::granted`] first, at each call.

mod bounds;
mod clock;
mod config;
pub(crate) mod context;
mod exec;
mod files;
pub(crate) mod http;
mod jobs;
mod kept;
mod log;
pub(crate) mod others;
mod random;
pub(crate) mod secrets;
pub(crate) mod session;
pub(crate) mod socket;
mod taped;
pub(crate) mod wasi;

use crate::bindings::ostler::driver::types::{Error, ErrorKind, Host as TypesHost};
use crate::budget::DriverPlaces;
use crate::cassette::TapedCall;
use crate::cuts::CutCall;
use crate::epoch::Charge;
use crate::grants::Grants;
use crate::http::Network;
use crate::instance::State;
use crate::manifest::Manifest;
use crate::own_files::OwnFiles;
use crate::recorder::{Answered, Record};
use crate::scrub::HandedOut;
use crate::services::Services;
use crate::work::{self, MayGoOn, Orphans};
use bounds::Budget;
use ostler_driver::{CallControl, Site};
use ostler_model::{DriverError, DriverName, Progress, VmUuid};
use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio_util::sync::CancellationToken;
use wasmtime::component::{HasData, Linker, ResourceTable};

/// The most denials of one call that are reported to the audit. The first says enough, and a loop
/// must not flood the event log.
const DENIALS_MAX: u32 = 16;

/// The data that all calls of a driver share.
pub(crate) struct DriverSide {
    pub(crate) manifest: Manifest,
    pub(crate) grants: Grants,
    /// Whether hosts have it as their own driver.
    pub(crate) of_hosts: bool,
    pub(crate) services: Arc<Services>,
    pub(crate) orphans: Arc<Orphans>,
    pub(crate) places: DriverPlaces,
    pub(crate) lines: log::Minute,
    pub(crate) sessions: session::Sessions,
    pub(crate) network: Arc<Network>,
    pub(crate) others: others::Others,
    /// Whether the component can begin command jobs.
    pub(crate) begins_jobs: bool,
}

/// One call, as host functions see it.
pub(crate) struct Env {
    pub(crate) side: Arc<DriverSide>,
    pub(crate) site: Option<Site>,
    pub(crate) control: Option<CallControl>,
    /// The files that the call is about.
    pub(crate) own: OwnFiles,
    pub(crate) name: &'static str,
    /// What hosts compare before they change something for the call. None if it changes nothing.
    pub(crate) charge: Option<Arc<Charge>>,
    /// Whether the call waits for changes, and does nothing else.
    pub(crate) waits: bool,
    pub(crate) until: Instant,
    pub(crate) stop: CancellationToken,
    pub(crate) lines: AtomicU32,
    pub(crate) denials: AtomicU32,
    pub(crate) sockets: Budget,
    pub(crate) requests: Budget,
    /// The secrets that the call was given.
    pub(crate) handed: HandedOut,
    /// Stops the call at one of its calls to the host, if the conformance suite says so.
    pub(crate) cut: Option<CutCall>,
    /// Records its calls to the host, or answers them.
    pub(crate) tape: Option<TapedCall>,
}

impl Env {
    pub(crate) fn driver(&self) -> &DriverName {
        &self.side.manifest.name
    }

    pub(crate) fn call_name(&self) -> &'static str {
        self.name
    }

    /// Cancelled when the call is told to stop, and when it has ended.
    pub(crate) fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    pub(crate) fn vm(&self) -> Option<VmUuid> {
        self.control.as_ref().map(|control| control.context.key.vm)
    }

    /// Whether both the manifest asks for `capability` and the operator granted it.
    fn granted(&self, capability: &str, wanted: &str) -> Result<(), Error> {
        let asks = self.side.manifest.asks(capability);
        self.check(capability, asks, self.side.grants.has(capability), wanted)
    }

    /// Denies, and reports that to the audit, unless the manifest asks and the operator granted.
    /// `grant` and `wanted` are texts as [`Env::told`] makes them.
    fn check(&self, grant: &str, asks: bool, granted: bool, wanted: &str) -> Result<(), Error> {
        let missing = match (asks, granted) {
            (true, true) => {
                self.uses(grant, true);
                return Ok(());
            }
            (false, _) => format!("its manifest does not ask for {grant}"),
            (true, false) => format!("the operator has not granted {grant}"),
        };
        self.uses(grant, false);
        Err(self.deny(grant, "denied", wanted, &missing))
    }

    /// The error of a thing that the driver may not have. The audit is told of it.
    fn deny(&self, grant: &str, code: &str, wanted: &str, why: &str) -> Error {
        let detail = format!("driver {} wanted {wanted} in {}: {why}", self.driver(), self.name);
        if self.denials.fetch_add(1, Ordering::Relaxed) < DENIALS_MAX {
            self.side.services.audit.denied(self.driver(), grant, &detail);
        }
        refused(code, detail)
    }

    /// The driver uses something that its manifest asks for, or tries something that it does not
    /// ask for.
    fn uses(&self, name: &str, granted: bool) {
        if let Some(usage) = &self.side.services.usage {
            usage.note(name, granted);
        }
    }

    /// The host of the call.
    fn site(&self) -> Result<&Site, Error> {
        self.site.as_ref().ok_or_else(|| {
            refused(
                "no-host",
                format!("{} is not for a host: it can run no command and see no file", self.name),
            )
        })
    }

    /// The host of the call, or another one that the call is about.
    fn site_of_call(&self, host: Option<&str>) -> Result<Site, Error> {
        let own = self.site()?;
        let Some(host) = host.filter(|host| *host != own.name.as_str()) else {
            return Ok(own.clone());
        };
        let other = self.control.as_ref().and_then(|control| {
            let other = self.side.others.of(&control.context.key)?;
            (other.as_str() == host).then_some(other)
        });
        let other = other.ok_or_else(|| {
            let (told, own) = (self.told(host), &own.name);
            let detail = format!(
                "{} is for host {own}: no command of it runs on host {told:?}; that may only be the \
                 destination of its migration, or the host that its copy comes from",
                self.name
            );
            refused("host-not-of-call", detail)
        })?;
        let gone = || refused("no-such-host", format!("host {other} is no longer there"));
        self.side.services.sites.site(&other).ok_or_else(gone)
    }

    /// The epoch that a host of the call compares before something is changed there.
    fn charge_at(&self, site: &Site) -> Option<Arc<Charge>> {
        self.charge.as_ref().map(|charge| charge.at(&site.name))
    }

    /// Waits for `work`, at most `wait`, and at most until the call's deadline or its cancel. None
    /// if the time is over. Work that need not wait is done even after the cancel: so a driver can
    /// take back what it began over an open connection.
    async fn within<T>(
        &self,
        wait: Duration,
        work: impl Future<Output = T>,
    ) -> Result<Option<T>, Error> {
        let wait = wait.min(self.until.saturating_duration_since(Instant::now()));
        tokio::select! {
            biased;
            done = work => Ok(Some(done)),
            () = self.stop.cancelled() => Err(cancelled()),
            () = tokio::time::sleep(wait) => Ok(None),
        }
    }

    /// Makes one call to the host: to a command, a file, a socket or an HTTP server. `what` names it.
    async fn reach<T>(&self, what: impl FnOnce() -> String, work: impl Future<Output = T>) -> T {
        match &self.cut {
            None => work.await,
            // A daemon that dies forgets the sessions of its drivers.
            Some(cut) => cut.pass(what, work, || self.side.sessions.forget()).await,
        }
    }

    /// Waits until the conformance suite stops the call at one of its calls to the host.
    pub(crate) async fn cut(&self) -> DriverError {
        match &self.cut {
            None => std::future::pending().await,
            Some(cut) => cut.stopped().await,
        }
    }

    fn report(&self, done: u64, total: u64, phase: &str) {
        if let Some(control) = &self.control {
            control.progress.send_replace(Some(Progress { done, total, phase: phase.to_owned() }));
        }
    }

    /// Runs work at the host in its own task, which is told to stop when the call ends.
    async fn work<T, F>(&self, work: impl FnOnce(CancellationToken) -> F) -> Result<T, Error>
    where
        T: MayGoOn + Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        self.work_until(&self.stop, work).await
    }

    /// The same for work that another token tells to stop.
    async fn work_until<T, F>(
        &self,
        stop: &CancellationToken,
        work: impl FnOnce(CancellationToken) -> F,
    ) -> Result<T, Error>
    where
        T: MayGoOn + Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let done = work::run(&self.side.orphans, self.vm(), stop, work).await;
        done.ok_or_else(|| {
            error(
                ErrorKind::Unknown,
                "host-panic",
                "the host's own work for this call failed; see its log",
            )
        })
    }

    /// One line of the flight recorder. `what` must hold no secret.
    fn flight<T>(
        &self,
        function: &'static str,
        what: &dyn Display,
        begun: Instant,
        answer: &Result<T, Error>,
    ) {
        let answered = match answer {
            Ok(_) => Answered::ok(),
            Err(error) => {
                let detail = self.scrub(&error.detail, secrets::TEXT_MAX);
                Answered::failed(self.told(&error.code), &detail)
            }
        };
        self.record(function, what, begun, answered);
    }

    /// The same for an answer that says more than that it came.
    fn record(
        &self,
        function: &'static str,
        what: &dyn Display,
        begun: Instant,
        answered: Answered,
    ) {
        let took = begun.elapsed();
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        tracing::debug!(
            target: "ostler::flight",
            driver = %self.driver(),
            call = self.name,
            function,
            %what,
            took_us,
            answer = answered.code
        );
        let Some(control) = &self.control else { return };
        let record = Record {
            at: SystemTime::now().checked_sub(took).unwrap_or(SystemTime::UNIX_EPOCH),
            driver: self.driver().clone(),
            host: self.site.as_ref().map(|site| site.name.clone()),
            call: self.name,
            function: Some(function),
            what: what.to_string(),
            took,
            answered,
        };
        self.side.services.recorder.add(control.context.key.operation, record);
    }
}

/// A host call that takes long, on its way to the flight recorder. If it is dropped before its
/// answer, because the guest's time was over, that is recorded.
struct Flight<'a> {
    env: &'a Env,
    function: &'static str,
    what: String,
    begun: Instant,
    ended: bool,
}

impl<'a> Flight<'a> {
    fn begin(env: &'a Env, function: &'static str, what: String) -> Self {
        Self { env, function, what, begun: Instant::now(), ended: false }
    }

    /// The answer has come. `answered` tells of one that is no error.
    fn end<T>(mut self, answer: &Result<T, Error>, answered: impl FnOnce(&T) -> Answered) {
        self.ended = true;
        match answer {
            Ok(answer) => self.env.record(self.function, &self.what, self.begun, answered(answer)),
            Err(_) => self.env.flight(self.function, &self.what, self.begun, answer),
        }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let answered =
                Answered::failed("unanswered", "the driver's call ended before the answer came");
            self.env.record(self.function, &self.what, self.begun, answered);
        }
    }
}

/// The data that a host function can use.
pub(crate) struct View<'a> {
    env: &'a Arc<Env>,
    table: &'a mut ResourceTable,
}

struct HasView;

impl HasData for HasView {
    type Data<'a> = View<'a>;
}

fn view(state: &mut State) -> View<'_> {
    View { env: &state.env, table: &mut state.table }
}

impl TypesHost for View<'_> {}

/// Links all capabilities, granted or not. A call of one that is not granted answers `refused`,
/// because imports cannot serve as permissions.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    crate::bindings::ostler::driver::types::add_to_linker::<State, HasView>(linker, view)?;
    context::add_to_linker(linker)?;
    log::add_to_linker(linker)?;
    clock::add_to_linker(linker)?;
    random::add_to_linker(linker)?;
    config::add_to_linker(linker)?;
    secrets::add_to_linker(linker)?;
    exec::add_to_linker(linker)?;
    files::add_to_linker(linker)?;
    socket::add_to_linker(linker)?;
    session::add_to_linker(linker)?;
    http::add_to_linker(linker)
}

fn error(kind: ErrorKind, code: &str, detail: impl Into<String>) -> Error {
    Error { kind, code: code.to_owned(), detail: detail.into() }
}

fn refused(code: &str, detail: impl Into<String>) -> Error {
    error(ErrorKind::Refused, code, detail)
}

fn cancelled() -> Error {
    error(ErrorKind::Cancelled, "cancelled", "the call was told to stop")
}
