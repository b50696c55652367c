//! A loaded component, as the three kinds of driver.

mod abilities;
mod called;
mod hypervisor;
mod jobs;
mod request;
mod rules;
mod transfer;

use self::called::{Answer, Called, ForPeople};
use self::request::Request;
use crate::bindings::exports::ostler::driver as exported;
use crate::capability::context::Call;
use crate::capability::session::Sessions;
use crate::capability::{DriverSide, Env, http, socket};
use crate::cuts::CutCall;
use crate::grants::Grants;
use crate::http::Network;
use crate::inspect::Inspection;
use crate::instance::{Body, Runner, State};
use crate::manifest::GRANTABLE;
use crate::package::Judged;
use crate::recorder::{Answered, Record};
use crate::services::Services;
use futures::future::BoxFuture;
use ostler_driver::{CallControl, DriverInfo, DriverKind, DriverOrigin, DriverSecrets, Site};
use ostler_model::{Ability, DriverError, VmUuid};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant, SystemTime};
use tokio_util::sync::CancellationToken;
use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre, Resource};

/// How long the first instance of a driver may take to be made.
const START: Duration = Duration::from_secs(30);
/// The name of the call that makes it.
const LOAD: &str = "load";

/// The parts that all drivers of a host share.
pub(crate) struct Shared {
    pub(crate) runner: Runner,
    pub(crate) services: Arc<Services>,
    pub(crate) network: Arc<Network>,
}

/// The places of the exported functions, looked up once.
struct Exports {
    hypervisor: Option<exported::hypervisor::GuestIndices>,
    reboot: Option<exported::reboot::GuestIndices>,
    suspend: Option<exported::suspend::GuestIndices>,
    changes: Option<exported::changes::GuestIndices>,
    metrics: Option<exported::metrics::GuestIndices>,
    migrate: Option<exported::migrate::GuestIndices>,
    hotplug: Option<exported::hotplug::GuestIndices>,
    snapshots: Option<exported::snapshots::GuestIndices>,
    live_resize: Option<exported::live_resize::GuestIndices>,
    disk_copy: Option<exported::disk_copy::GuestIndices>,
    adopt: Option<exported::adopt::GuestIndices>,
    console: Option<exported::console::GuestIndices>,
    fence: Option<exported::fence::GuestIndices>,
    transfer: Option<exported::transfer::GuestIndices>,
    transfer_images: Option<exported::transfer_images::GuestIndices>,
    transfer_larger: Option<exported::transfer_larger::GuestIndices>,
    transfer_inspect: Option<exported::transfer_inspect::GuestIndices>,
    rules: Option<exported::snapshot_rules::GuestIndices>,
}

impl Exports {
    /// Compares the types of all functions with the contract's.
    fn compare(&self, store: &mut Store<State>, instance: &Instance) -> wasmtime::Result<()> {
        macro_rules! compare {
            ($($interface:ident)*) => {$(
                if let Some(indices) = &self.$interface {
                    indices.load(&mut *store, instance)?;
                }
            )*};
        }
        compare!(hypervisor reboot suspend changes metrics migrate hotplug snapshots live_resize);
        compare!(disk_copy adopt console fence transfer transfer_images transfer_larger);
        compare!(transfer_inspect rules);
        Ok(())
    }
}

/// One component. Clones share everything.
#[derive(Clone)]
struct Component(Arc<Inner>);

struct Inner {
    pre: InstancePre<State>,
    exports: Arc<Exports>,
    side: Arc<DriverSide>,
    shared: Arc<Shared>,
    abilities: Vec<Ability>,
}

/// A loaded component: its description, and the drivers that it makes. Each of its instances lives
/// for one call.
#[derive(Clone)]
pub struct LoadedDriver {
    component: Component,
    judged: Arc<Judged>,
}

impl LoadedDriver {
    pub(crate) fn new(
        judged: Judged,
        grants: Grants,
        pre: InstancePre<State>,
        shared: Arc<Shared>,
    ) -> wasmtime::Result<Self> {
        macro_rules! indices {
            ($present:expr, $interface:ident) => {
                if $present { Some(exported::$interface::GuestIndices::new(&pre)?) } else { None }
            };
        }
        let inspection = &judged.inspection;
        let kind = |word: &str| inspection.kinds.contains(&word);
        let able = |ability: Ability| inspection.abilities.contains(&ability);
        let exports = Exports {
            hypervisor: indices!(kind("hypervisor"), hypervisor),
            reboot: indices!(able(Ability::Reboot), reboot),
            suspend: indices!(able(Ability::Suspend), suspend),
            changes: indices!(able(Ability::Changes), changes),
            metrics: indices!(able(Ability::Metrics), metrics),
            migrate: indices!(able(Ability::Migrate), migrate),
            hotplug: indices!(able(Ability::Hotplug), hotplug),
            snapshots: indices!(able(Ability::Snapshots), snapshots),
            live_resize: indices!(able(Ability::LiveResize), live_resize),
            disk_copy: indices!(able(Ability::DiskCopy), disk_copy),
            adopt: indices!(able(Ability::Adopt), adopt),
            console: indices!(able(Ability::Console), console),
            fence: indices!(able(Ability::Fence), fence),
            transfer: indices!(kind("transfer"), transfer),
            transfer_images: indices!(
                kind("transfer") && inspection.exports("transfer-images"),
                transfer_images
            ),
            transfer_larger: indices!(
                kind("transfer") && inspection.exports("transfer-larger"),
                transfer_larger
            ),
            transfer_inspect: indices!(
                kind("transfer") && inspection.exports("transfer-inspect"),
                transfer_inspect
            ),
            rules: indices!(kind("snapshot-rules"), snapshot_rules),
        };
        let side = DriverSide {
            manifest: inspection.manifest.clone(),
            grants,
            of_hosts: kind("hypervisor"),
            services: Arc::new(shared.services.for_driver()),
            places: shared.runner.places.for_driver(),
            orphans: shared.services.orphans.of(&inspection.manifest.name),
            lines: Default::default(),
            sessions: Sessions::default(),
            network: Arc::clone(&shared.network),
            others: Default::default(),
            begins_jobs: jobs::begins_jobs(&pre),
        };
        let inner = Inner {
            pre,
            exports: Arc::new(exports),
            side: Arc::new(side),
            shared,
            abilities: inspection.abilities.clone(),
        };
        Ok(Self { component: Component(Arc::new(inner)), judged: Arc::new(judged) })
    }

    /// Makes one instance, and compares the types of its functions with the contract's. The linker
    /// compares imports only: a driver whose own functions have other types would load, and each of
    /// its calls would fail.
    ///
    /// # Errors
    /// The outer error: no instance could be made. The inner one: a function has other types.
    pub(crate) async fn compare(&self) -> Result<wasmtime::Result<()>, DriverError> {
        let exports = Arc::clone(&self.component.0.exports);
        let request = Request::ask(LOAD, None, START);
        let compare: Body<_> = Box::new(move |store, instance| {
            Box::pin(async move { Ok(exports.compare(store, instance)) })
        });
        Ok(self.component.call(request, compare).await?.given)
    }

    /// The description of the component, and what it asks for.
    #[must_use]
    pub fn inspection(&self) -> &Inspection {
        &self.judged.inspection
    }

    /// The information for people, for the registry.
    #[must_use]
    pub fn info(&self) -> DriverInfo {
        let inspection = &self.judged.inspection;
        let (manifest, grants) = (&inspection.manifest, &self.component.0.side.grants);
        let capabilities =
            manifest.capabilities.iter().map(|asked| (asked.name.clone(), grants.has(&asked.name)));
        let parts = GRANTABLE.iter().flat_map(|of| {
            let parts = manifest.parts(of).into_iter();
            parts.map(move |part| (format!("{of}:{part}"), grants.has_part(of, part)))
        });
        // No manifest names these: an operator grants them.
        let datastores = grants.parts("files").map(|part| (format!("files:{part}"), true));
        let (granted, missing): (Vec<_>, Vec<_>) =
            capabilities.chain(parts).chain(datastores).partition(|(_, granted)| *granted);
        let names = |list: Vec<(String, bool)>| list.into_iter().map(|(name, _)| name).collect();
        DriverInfo {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            description: manifest.summary.clone(),
            origin: DriverOrigin::Component {
                digest: inspection.digest.clone(),
                contract: inspection.contract.clone(),
                granted: names(granted),
                missing: names(missing),
                signed: self.judged.signers.clone(),
                secrets: DriverSecrets {
                    reads: manifest.secrets_read(),
                    in_settings: grants.secrets.keys().cloned().collect(),
                },
            },
            abilities: inspection.abilities.clone(),
            settings: Some(manifest.settings()),
        }
    }

    /// The drivers that it makes, for the registry.
    #[must_use]
    pub fn kinds(&self) -> Vec<DriverKind> {
        let (component, exports) = (&self.component, &self.component.0.exports);
        let mut kinds = Vec::new();
        if exports.hypervisor.is_some() {
            kinds.push(DriverKind::Hypervisor(Arc::new(component.clone())));
        }
        if exports.transfer.is_some() {
            kinds.push(DriverKind::Transfer(Arc::new(component.clone())));
        }
        if exports.rules.is_some() {
            kinds.push(DriverKind::Rules(Arc::new(component.clone())));
        }
        kinds
    }
}

impl Component {
    /// Makes sure that nothing is at work for `vm` that nobody waits for: a command or copy of a
    /// dropped call, or a command whose connection was lost. With `over_ssh`, also nothing of an
    /// earlier process.
    ///
    /// # Errors
    /// *Retry* while something may be.
    fn at_rest(&self, vm: VmUuid, over_ssh: bool) -> Result<(), DriverError> {
        let side = &self.0.side;
        if side.orphans.busy(vm) {
            let why = "a call was dropped, or its connection was lost";
            let detail = format!("something may still be at work on the host for VM {vm}: {why}");
            return Err(DriverError::retry("busy", detail));
        }
        match side.services.earlier_may_go_on().filter(|_| over_ssh) {
            None => Ok(()),
            Some(left) => Err(DriverError::retry(
                "busy",
                format!(
                    "commands over ssh of the daemon that ran before may still be at work; this \
                     is over in {} s",
                    left.as_secs() + 1
                ),
            )),
        }
    }

    /// Waits for the answer of a call for an effect, and tells the flight recorder of it.
    async fn recorded<T: ForPeople, U>(
        &self,
        call: &'static str,
        site: &Site,
        control: &CallControl,
        given: impl Future<Output = Result<Called<Answer<T>>, DriverError>>,
        convert: impl FnOnce(T) -> Result<U, DriverError>,
    ) -> Result<U, DriverError> {
        let (at, begun) = (SystemTime::now(), Instant::now());
        let answer = given.await.and_then(|called| called.told(convert));
        let answered = match &answer {
            Ok(_) => Answered::ok(),
            Err(error) => Answered::failed(error.code.to_string(), &error.detail),
        };
        let record = Record {
            at,
            driver: self.0.side.manifest.name.clone(),
            host: Some(site.name.clone()),
            call,
            function: None,
            what: control.context.key.item.to_string(),
            took: begun.elapsed(),
            answered,
        };
        self.0.side.services.recorder.add(control.context.key.operation, record);
        answer
    }

    async fn call<T: Send + 'static>(
        &self,
        request: Request<'_>,
        body: Body<T>,
    ) -> Result<Called<T>, DriverError> {
        let Request { name, site, control, about, waits, until } = request;
        let cancel = control.map_or_else(CancellationToken::new, |control| control.cancel.clone());
        if cancel.is_cancelled() {
            return Err(DriverError::new(
                ostler_model::ErrorKind::Cancelled,
                "cancelled",
                "told to stop before it began",
            ));
        }
        let charge = self.charge(site, control);
        let env = Arc::new(Env {
            side: Arc::clone(&self.0.side),
            site: site.cloned(),
            control: control.cloned(),
            own: self.own_files(site, control, &about),
            name,
            charge,
            waits,
            until,
            stop: cancel.child_token(),
            lines: AtomicU32::new(0),
            denials: AtomicU32::new(0),
            sockets: socket::budget(),
            requests: http::budget(),
            handed: Default::default(),
            cut: self.cut_call(control),
            tape: called::taped(&self.0.side.services, name, site, control)?,
        });
        self.check_settings(&env)?;
        let settled = self.settle(&env).await;
        // A host that has seen a higher epoch says so already here.
        if let Some(superseded) = env.charge.as_ref().and_then(|charge| charge.lost()) {
            return Err(superseded);
        }
        settled?;
        let begun = Instant::now();
        let run = self.0.shared.runner.call(&self.0.pre, Arc::clone(&env), until, &cancel, body);
        let answer = run.await;
        if let Some(tape) = env.tape.as_ref().filter(|_| answer.is_ok() && !cancel.is_cancelled()) {
            tape.ended();
        }
        let took_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let driver = &self.0.side.manifest.name;
        tracing::debug!(
            target: "ostler::flight",
            %driver,
            call = name,
            took_us,
            ended = answer.is_ok()
        );
        // Whatever the driver made of it: nothing of the call was done after a host has said this.
        if let Some(superseded) = env.charge.as_ref().and_then(|charge| charge.lost()) {
            return Err(superseded);
        }
        answer.map(|given| Called { given, env })
    }

    /// The point at which the conformance suite stops a call for an effect.
    fn cut_call(&self, control: Option<&CallControl>) -> Option<CutCall> {
        let cuts = self.0.side.services.cuts.clone()?;
        Some(CutCall::new(cuts, control?.context.key.clone()))
    }

    /// Checks that every setting that the manifest calls required has a value, if the call is for a
    /// host.
    fn check_settings(&self, env: &Env) -> Result<(), DriverError> {
        let Some(site) = &env.site else { return Ok(()) };
        let required = self.0.side.manifest.config.iter().filter(|(_, setting)| setting.required);
        match required.map(|(key, _)| key).find(|key| env.setting(key).is_none()) {
            Some(key) => Err(DriverError::refused(
                "config-missing",
                format!(
                    "driver {} needs the setting {key:?} for host {}; set it in the host's driver \
                     settings",
                    env.driver(),
                    site.name
                ),
            )),
            None => Ok(()),
        }
    }
}

/// The call as a resource of the store. The store owns it, and lends it for the time of the call.
fn lend(store: &mut Store<State>) -> wasmtime::Result<Resource<Call>> {
    let owned = store.data_mut().table.push(Call)?;
    Ok(Resource::new_borrow(owned.rep()))
}

/// Gives a closure the type of a [`Body`], so that its lifetimes are inferred.
fn boxed<T, F>(body: F) -> Body<T>
where
    F: for<'a> FnOnce(&'a mut Store<State>, &'a Instance) -> BoxFuture<'a, wasmtime::Result<T>>
        + Send
        + 'static,
{
    Box::new(body)
}

/// A call of an exported function as a [`Body`]: loads the interface in the fresh instance, then
/// calls.
macro_rules! body {
    ($exports:expr, $interface:ident, |$guest:ident, $store:ident| $call:expr) => {{
        let exports = std::sync::Arc::clone(&$exports);
        $crate::component::boxed(move |$store, instance| {
            Box::pin(async move {
                let indices = exports
                    .$interface
                    .as_ref()
                    .ok_or_else(|| wasmtime::Error::msg("not exported"))?;
                let $guest = indices.load(&mut *$store, instance)?;
                $call
            })
        })
    }};
}
use body;

/// One call of an exported function for an effect, and its answer. `$convert` makes ours of it.
macro_rules! send {
    (
        $self:ident, $site:ident, $call:ident, [$($about:expr),*], $convert:expr,
        $interface:ident, $function:ident, $name:literal $(, $argument:expr)*
    ) => {{
        let body = $crate::component::body!($self.0.exports, $interface, |guest, store| {
            let lent = $crate::component::lend(store)?;
            guest.$function(store, lent $(, $argument)*).await
        });
        let request = $crate::component::Request::act($name, $site, $call, vec![$($about),*]);
        $self.recorded($name, $site, $call, $self.call(request, body), $convert).await
    }};
}
use send;

/// A mutating call of one exported function.
macro_rules! act {
    ($self:ident, $site:ident, $call:ident, $about:tt, $($called:tt)*) => {
        $crate::component::send!(
            $self,
            $site,
            $call,
            $about,
            |given| $crate::convert::outcome(given, $call.context.key.vm),
            $($called)*
        )
    };
}
use act;

/// One call about a job: begin it, or ask for its progress.
macro_rules! job {
    ($self:ident, $site:ident, $call:ident, $about:tt, $($called:tt)*) => {
        $crate::component::send!(
            $self,
            $site,
            $call,
            $about,
            |given| $crate::convert::job_status(given, $call.context.key.vm),
            $($called)*
        )
    };
}
use job;

/// One question about a host, and its answer. `$convert` makes ours of it.
macro_rules! ask {
    (
        $self:ident, $site:ident, $patience:expr, [$($about:expr),*], $convert:expr,
        $interface:ident, $function:ident, $name:literal $(, $argument:expr)*
    ) => {{
        let body = $crate::component::body!($self.0.exports, $interface, |guest, store| {
            guest.$function(store $(, $argument)*).await
        });
        let request = $crate::component::Request::ask($name, Some($site), $patience)
            .about(vec![$($about),*]);
        $self.call(request, body).await?.told($convert)
    }};
}
use ask;
