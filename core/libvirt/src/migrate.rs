//! Moves a running domain to another host.
//!
//! **Who drives it.** The libvirt daemon of the source host does (`VIR_MIGRATE_PEER2PEER`). It
//! connects to the other host's daemon, and goes on when the client that asked for it is gone. A
//! migration that a client drives stands between two connections of that client. If the client dies
//! after the memory was copied and before the last handshake, the guest stands still on one host
//! and is thrown away on the other. With this flag ostlerd may die at any moment. The price is that
//! the hosts' daemons must reach each other: a host's setting `migrate-uri` says how
//! (`qemu+tls://HOST/system`), and `migrate-address` says where QEMU takes the memory.
//!
//! **How it converges.** The call's effect key is stamped into the domain here before anything is
//! sent. The destination gets the domain's description with the new identity in it (of the running
//! state and of the definition). So the domain there carries its new generation from the moment it
//! exists, which is before its memory arrives. The next action is decided by looking at both sides,
//! never by an answer of libvirt's: [`table`] holds the decisions. An ostlerd that was restarted
//! recognises the libvirt job of its predecessor by the stamp, waits for its end, and looks again.
//!
//! **Shared disks.** libvirt would refuse to move a domain whose files are not on a file system
//! that it knows as shared (`MigrateUnsafe`). The engine, which knows the datastores, decides which
//! disks the hosts share. The disks that it names in `move_disks` are sent along; all others are
//! shared. If a file is missing at the destination, the migration fails before anything has moved.

mod table;

use self::table::{Next, Standing, Work, decide, not_here};
use crate::calls;
use crate::domain_ops::{Order, UNDEFINE_ALL, changed_meanwhile, stop, write_stamp};
use crate::failure::During;
use crate::folder::Folder;
use crate::image::Image;
use crate::jobs::Job;
use crate::link::Link;
use crate::live::Live;
use crate::look::{self, look};
use crate::options::HostConfig;
use crate::raw;
use crate::raw_jobs;
use crate::stamp::Stamp;
use ostler_driver::DomainSpec;
use ostler_model::{CallResult, DiskName, DriverError, ErrorKind, Outcome, Power, VmUuid};
use std::ffi::{CStr, CString};
use std::sync::Arc;
use std::time::{Duration, Instant};
use virt::domain::Domain;
use virt::domain_snapshot::DomainSnapshot;
use virt::error::ErrorNumber;
use virt_sys as sys;

/// The pause between two looks while the job waits.
const PAUSE: Duration = Duration::from_millis(100);
/// How long both sides may stand still without a job before that counts as their final state. A
/// daemon takes back the rest of a broken connection's migration within its keepalive, 30 s at
/// most.
const SETTLE: Duration = Duration::from_secs(40);
/// How long looks at a side may fail while something may be at work, before the job ends with that
/// as its answer.
const BLIND_MOST: Duration = Duration::from_secs(60);
/// The longest that one migration may take. The engine's own patience is shorter and aborts.
const MOST: Duration = Duration::from_secs(7 * 24 * 3600);

/// The flags for the source's daemon; [`MigrationPlan::flags`] adds to them.
const FLAGS: u32 = sys::VIR_MIGRATE_LIVE
    | sys::VIR_MIGRATE_PEER2PEER
    | sys::VIR_MIGRATE_PERSIST_DEST
    | sys::VIR_MIGRATE_UNDEFINE_SOURCE
    | sys::VIR_MIGRATE_UNSAFE
    // A guest that stopped for an I/O error must not arrive as if it ran.
    | sys::VIR_MIGRATE_ABORT_ON_ERROR
    // A guest that writes faster than the network sends is slowed down; otherwise it would never
    // arrive.
    | sys::VIR_MIGRATE_AUTO_CONVERGE;

/// A migration that is to be made.
pub(crate) struct MigrationPlan {
    order: Order,
    spec: DomainSpec,
    /// The folder for its console's log.
    folder: Folder,
    /// How the source's daemon reaches the destination's.
    uri: CString,
    /// Where QEMU at the destination takes the memory; if not set, the daemon there chooses.
    data: Option<CString>,
    /// Disks that are sent along.
    disks: Vec<CString>,
}

impl MigrationPlan {
    /// Checks what can be checked without asking anybody.
    pub(crate) fn new(
        order: Order,
        spec: &DomainSpec,
        folder: Folder,
        here: &HostConfig,
        there: &HostConfig,
        disks: &[DiskName],
    ) -> Result<Self, DriverError> {
        if here.uri == there.uri {
            return Err(DriverError::refused(
                "same-host",
                "both are the same libvirt daemon: there is nowhere to move to",
            ));
        }
        let Some(uri) = &there.migrate_uri else {
            let detail = "the destination's uri is a socket on this machine, which other hosts do \
                          not reach: set migrate-uri for that host (for example \
                          qemu+tls://HOST/system)";
            return Err(DriverError::refused("no-migrate-uri", detail));
        };
        // libvirt sends no read-only disk, and a new file in its place would be another disk.
        if let Some(disk) =
            spec.disks.iter().find(|disk| disk.read_only && disks.contains(&disk.name))
        {
            let detail = format!(
                "disk {} is read-only, and only disks that are written go along: copy its file \
                 first",
                disk.name
            );
            return Err(DriverError::refused("read-only-disk", detail));
        }
        let text = |text: &str| {
            raw::c_string(text)
                .ok_or_else(|| DriverError::refused("bad-text", "a setting has a NUL"))
        };
        let data = there
            .migrate_address
            .as_ref()
            .map(|address| text(&format!("tcp://{address}")))
            .transpose()?;
        let disks = disks.iter().map(|disk| text(disk.as_str())).collect::<Result<_, _>>()?;
        Ok(Self { order, spec: spec.clone(), folder, uri: text(uri)?, data, disks })
    }

    const fn vm(&self) -> VmUuid {
        self.order.vm()
    }

    const fn flags(&self) -> u32 {
        if self.disks.is_empty() { FLAGS } else { FLAGS | sys::VIR_MIGRATE_NON_SHARED_DISK }
    }

    /// The parameters of the migration: the domain's description for the destination, and where to
    /// send it.
    fn texts(
        &self,
        live: &Live,
        domain: &Domain,
    ) -> Result<Vec<(&'static CStr, CString)>, DriverError> {
        let asking = |error| live.error(&error, During::Asking);
        // Secure: with the passwords in the description. Otherwise the domain would arrive without
        // them.
        let flags = sys::VIR_DOMAIN_XML_MIGRATABLE | sys::VIR_DOMAIN_XML_SECURE;
        let running = domain.get_xml_desc(flags).map_err(asking)?;
        let defined = if domain.is_persistent().map_err(asking)? {
            domain.get_xml_desc(flags | sys::VIR_DOMAIN_XML_INACTIVE).map_err(asking)?
        } else {
            running.clone()
        };
        let mut texts = Vec::new();
        for (name, xml) in [
            (sys::VIR_MIGRATE_PARAM_DEST_XML, running),
            (sys::VIR_MIGRATE_PARAM_PERSIST_XML, defined),
        ] {
            let image = Image::parse(&xml).map_err(|error| {
                DriverError::retry("no-answer", format!("libvirt's XML: {error}"))
            })?;
            let xml = image.as_domain(&self.spec)?;
            texts.push((
                name,
                raw::c_string(&xml)
                    .ok_or_else(|| DriverError::refused("bad-text", "the XML has a NUL"))?,
            ));
        }
        texts.extend(self.data.iter().map(|data| (sys::VIR_MIGRATE_PARAM_URI, data.clone())));
        texts.extend(
            self.disks.iter().map(|disk| (sys::VIR_MIGRATE_PARAM_MIGRATE_DISKS, disk.clone())),
        );
        Ok(texts)
    }
}

/// The two hosts.
pub(crate) struct Ends {
    /// The host where the domain runs.
    pub(crate) here: Arc<Link>,
    /// The host where it is to run.
    pub(crate) there: Arc<Link>,
    /// How long one look may take.
    pub(crate) patience: Duration,
    /// Until when to wait for the domain's lock.
    pub(crate) until: Instant,
}

/// Looks at one side.
pub(crate) fn standing(live: &Live, vm: VmUuid) -> Result<Option<Standing>, DriverError> {
    let Some(sight) = look(live, vm)? else { return Ok(None) };
    let work = if sight.is_active() { work_on(live, &sight.domain)? } else { Work::Nothing };
    Ok(Some(Standing { power: sight.power, stamp: sight.mark.stamp().cloned(), work }))
}

fn work_on(live: &Live, domain: &Domain) -> Result<Work, DriverError> {
    match raw_jobs::job(domain) {
        Ok(None) => Ok(Work::Nothing),
        Ok(Some(job)) if job.operation == sys::VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT => {
            Ok(Work::Migration)
        }
        Ok(Some(_)) => Ok(Work::Other),
        // For a domain that moves in, libvirt answers with this error and tells nothing more.
        Err(error) if error.code() == ErrorNumber::OperationUnsupported => Ok(Work::Migration),
        Err(error) => Err(live.error(&error, During::Asking)),
    }
}

/// The job: looks, decides and acts until the domain has moved or stays.
pub(crate) async fn run(job: Arc<Job>, ends: Ends, plan: Arc<MigrationPlan>) -> CallResult {
    let held = calls::lock(&ends.here, plan.vm(), ends.until).await?;
    let mut failed: Option<DriverError> = None;
    let (mut settling, mut blind): (Option<Instant>, Option<Instant>) = (None, None);
    let mut acted = false;
    let result = loop {
        let (there, here) = match ends.look(plan.vm()).await {
            Ok(both) => both,
            Err(error) => {
                if !acted {
                    break Err(error);
                }
                if blind.get_or_insert_with(Instant::now).elapsed() > BLIND_MOST {
                    break Err(DriverError::unknown(
                        "not-seen",
                        format!("what became of it cannot be seen: {}", error.detail),
                    ));
                }
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        blind = None;
        let settled = settling.is_some_and(|since| since.elapsed() > SETTLE);
        let next = match decide(
            &plan.order,
            &plan.spec.identity,
            there.as_ref(),
            here.as_ref(),
            settled,
        ) {
            Ok(next) => next,
            Err(error) => break Err(error),
        };
        settling =
            if next == Next::Settle { settling.or_else(|| Some(Instant::now())) } else { None };
        acted |= !matches!(next, Next::Done | Next::Send);
        match next {
            Next::Done => break ends.arrived(plan.vm()).await,
            Next::Await | Next::Settle => {
                job.works();
                tokio::time::sleep(PAUSE).await;
            }
            Next::Send => match failed.take() {
                Some(error) => break Err(stayed(error, &job)),
                None if job.is_stopped() => break Err(stopped()),
                None => {
                    failed = Some(ends.send(&job, &plan).await);
                    acted = true;
                }
            },
            Next::ClearHere | Next::ClearThere | Next::ResumeHere | Next::ResumeThere => {
                job.works();
                if let Err(error) = ends.tidy(next, &plan.order).await {
                    // The domain may run there, so the error must not say that it does not.
                    break Err(DriverError::unknown(error.code, error.detail));
                }
            }
        }
    };
    drop(held);
    result
}

fn stopped() -> DriverError {
    DriverError::new(ErrorKind::Cancelled, "aborted", "told to stop: the domain runs where it ran")
}

/// The error of a domain that was sent and is seen running where it was: nothing is in doubt any
/// more.
fn stayed(error: DriverError, job: &Job) -> DriverError {
    match error.kind {
        _ if job.is_stopped() => stopped(),
        ErrorKind::Unknown => DriverError::retry("interrupted", error.detail),
        _ => error,
    }
}

impl Ends {
    /// Looks at both sides, the destination first: see [`decide`].
    async fn look(&self, vm: VmUuid) -> Result<(Option<Standing>, Option<Standing>), DriverError> {
        let there = self.there.ask(self.patience, move |live| standing(live, vm)).await?;
        let here = self.here.ask(self.patience, move |live| standing(live, vm)).await?;
        Ok((there, here))
    }

    async fn arrived(&self, vm: VmUuid) -> CallResult {
        let seen = self.there.ask(self.patience, move |live| look::observe(live, vm)).await;
        seen.map(|seen| Outcome { seen: Some(seen), state: None })
    }

    /// Sends the domain, and waits until that is over. Returns the error to report if the domain is
    /// then found to have stayed.
    async fn send(&self, job: &Arc<Job>, plan: &Arc<MigrationPlan>) -> DriverError {
        let (job, plan) = (Arc::clone(job), Arc::clone(plan));
        let sent = self
            .here
            .lasting
            .run(Instant::now() + MOST, None, ErrorKind::Unknown, move |live| {
                send(live, &plan, &job)
            })
            .await;
        sent.err().unwrap_or_else(|| {
            DriverError::unknown(
                "not-moved",
                "libvirt says that it has moved, and it is still here",
            )
        })
    }

    async fn tidy(&self, next: Next, order: &Order) -> Result<(), DriverError> {
        let link = match next {
            Next::ClearThere | Next::ResumeThere => &self.there,
            _ => &self.here,
        };
        let order = order.clone();
        let deed = move |live: &Live| tidy(live, next, &order);
        link.work.run(Instant::now() + self.patience, None, ErrorKind::Unknown, deed).await
    }
}

fn tidy(live: &Live, next: Next, order: &Order) -> Result<(), DriverError> {
    let Some(sight) = look(live, order.vm())? else { return Ok(()) };
    order.may_touch(&sight)?;
    let acting = |error| live.error(&error, During::Acting);
    let done = if matches!(next, Next::ResumeHere | Next::ResumeThere) {
        sight.domain.resume().map(drop)
    } else {
        if sight.is_active() {
            stop(live, &sight.domain)?;
        }
        sight.domain.undefine_flags(UNDEFINE_ALL)
    };
    match done {
        Err(error) if !changed_meanwhile(&error) => Err(acting(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn send(live: &Live, plan: &MigrationPlan, job: &Job) -> Result<(), DriverError> {
    let sight = look(live, plan.vm())?.ok_or_else(not_here)?;
    let stamp = plan.order.may_touch(&sight)?;
    let snapshots = DomainSnapshot::num(&sight.domain, 0)
        .map_err(|error| live.error(&error, During::Asking))?;
    if snapshots > 0 {
        let detail = format!(
            "the domain has {snapshots} snapshots, and libvirt moves none that has: delete them \
             first"
        );
        return Err(DriverError::refused("has-snapshots", detail));
    }
    let texts = plan.texts(live, &sight.domain)?;
    plan.folder.make()?;
    write_stamp(live, &sight.domain, &Stamp { job: Some(plan.order.key.clone()), ..stamp })?;
    if job.is_stopped() {
        return Err(stopped());
    }
    job.works();
    raw_jobs::migrate(&sight.domain, &plan.uri, &texts, plan.flags())
        .map_err(|error| live.error(&error, During::Placing))
}

/// Bytes sent, and bytes in all.
pub(crate) fn progress(live: &Live, vm: VmUuid) -> Result<Option<(u64, u64)>, DriverError> {
    let Some(sight) = look(live, vm)? else { return Ok(None) };
    let job = raw_jobs::job(&sight.domain).map_err(|error| live.error(&error, During::Asking))?;
    Ok(job.map(|job| (job.total.saturating_sub(job.remaining), job.total)))
}

/// Stops the migration that this effect key began, if it is at work. True once it is not at work.
pub(crate) fn abort(live: &Live, order: &Order) -> Result<bool, DriverError> {
    let in_doubt = |why: &str| Err(DriverError::unknown("in-doubt", why.to_owned()));
    let Some(standing) = standing(live, order.vm())? else {
        return in_doubt("the domain is not here: it may have moved");
    };
    let stamp = order.may_touch_stamped(standing.stamp.as_ref())?;
    if stamp.job.as_ref() != Some(&order.key) {
        return Ok(true); // it was never sent
    }
    match (standing.work, standing.power) {
        (Work::Migration, _) => crate::domain_ops::abort_job(live, order.vm()).map(|()| false),
        (Work::Nothing | Work::Other, Power::Running) => Ok(true),
        (Work::Nothing | Work::Other, _) => {
            in_doubt("the domain stands still here: it may run at its destination")
        }
    }
}
