//! Things that happen to the whole site: hosts that are lost for good, slow, or switched off and
//! on; images that are locked; a clock that is set back; records that a daemon of another version
//! wrote; more VMs than there is room for.

use super::life::IMAGE;
use super::watch::Violation;
use super::{Run, dice};
use ostler_engine::{ActionRequest, EngineError};
use ostler_model::{HostId, HostState, ImageState, Schedule, State, Verb, VmId, VmRecord};
use ostler_store::{HostEdit, ResourceChange};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A zone that a schedule may name.
const ZONE: &str = "Europe/Berlin";
/// A zone that this version does not know.
const NO_ZONE: &str = "Europe/Atlantis";
/// The time limit until a host that is lost for good is removed.
const REMOVED_WITHIN: Duration = Duration::from_secs(3600);

/// The hosts that are slow, and until when.
#[derive(Debug, Clone, Default)]
pub(crate) struct Slow(Arc<Mutex<BTreeMap<HostId, Instant>>>);

impl Slow {
    pub(crate) fn is(&self, host: HostId) -> bool {
        let until = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&host).copied();
        until.is_some_and(|until| Instant::now() < until)
    }

    fn put(&self, host: HostId, lasts: Duration) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(host, Instant::now() + lasts);
    }
}

fn state(host: HostId, state: HostState) -> ResourceChange {
    ResourceChange::HostEdit {
        id: host,
        edit: HostEdit { state: Some(state), ..HostEdit::default() },
    }
}

impl Run {
    /// One of the hosts that are not lost.
    pub(crate) fn living_host(&self) -> HostId {
        let living: Vec<HostId> =
            self.life.hosts.iter().copied().filter(|host| Some(*host) != self.lost).collect();
        *dice(&self.dice).pick(&living)
    }

    pub(crate) async fn site_happens(&mut self) {
        let drawn = |chance: u64| dice(&self.dice).permille(chance);
        let (slow_host, lose, flicker, image, clock) = (
            drawn(self.weather.slow_host),
            drawn(self.weather.lose),
            drawn(self.weather.flicker),
            drawn(self.weather.image),
            drawn(self.weather.clock),
        );
        if slow_host {
            let (host, lasts) =
                (self.living_host(), Duration::from_secs(dice(&self.dice).within(60, 900)));
            self.say(format!("  host {host} is slow for {} s", lasts.as_secs()));
            self.life.slow.put(host, lasts);
        }
        if lose && self.lost.is_none() && self.life.hosts.len() > 2 {
            let host = self.living_host();
            self.say(format!("  host {host} is lost for good"));
            self.life.fake.lose_for_good(host);
            self.lost = Some(host);
        }
        if flicker {
            let host = self.living_host();
            self.flicker(host).await;
        }
        if image {
            let to =
                if dice(&self.dice).permille(500) { ImageState::Locked } else { ImageState::Ready };
            self.say(format!("  the image is {to:?}"));
            self.change(ResourceChange::ImageSetState { id: IMAGE, state: to }).await;
        }
        if clock {
            let back = *dice(&self.dice).pick(&[500, 20_000, 400_000]);
            self.say(format!("  the clock is set back by {back} ms"));
            self.life.set_back.fetch_add(back, Ordering::Relaxed);
        }
    }

    /// Makes a change for the operator. If the store is read-only, nothing is changed.
    async fn change(&self, change: ResourceChange) {
        if let Err(error) = self.life.engine().change(change, "operator").await {
            self.say(format!("  the change was refused: {error}"));
        }
    }

    /// The operator switches a host off, sees that it was the wrong one, and switches it on again.
    async fn flicker(&self, host: HostId) {
        self.say(format!("  host {host} is switched off, and on again at once"));
        let engine = self.life.engine().clone();
        let off =
            tokio::spawn(
                async move { engine.change(state(host, HostState::Off), "operator").await },
            );
        let pause = dice(&self.dice).within(1, 30);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        self.change(state(host, HostState::On)).await;
        // The change to `off` was sent first, so it was carried out first.
        drop(off.await);
    }

    /// Switches all hosts on, except for the lost one, and makes the image ready.
    pub(crate) async fn mend_the_site(&self) -> Result<(), Violation> {
        self.change(ResourceChange::ImageSetState { id: IMAGE, state: ImageState::Ready }).await;
        for host in self.life.hosts.iter().filter(|host| Some(**host) != self.lost) {
            if self.weather.flicker > 0 {
                self.flicker(*host).await;
            }
            self.change(state(*host, HostState::On)).await;
        }
        if let Some(lost) = self.lost {
            // The lost host is `off`, so nobody waits for it any more.
            self.change(state(lost, HostState::Off)).await;
        }
        Ok(())
    }

    /// Forgets the VMs on a host that was lost for good, and then removes the host.
    pub(crate) async fn give_up_the_lost(&mut self) -> Result<(), Violation> {
        let Some(lost) = self.lost else { return Ok(()) };
        let until = Instant::now() + REMOVED_WITHIN;
        loop {
            self.accept_in_doubt().await;
            for record in self.records()?.iter().filter(|record| stands_on(record, lost)) {
                let asked =
                    ActionRequest { force: true, ..ActionRequest::of(Verb::Forget, "operator") };
                if let Err(error) = self.life.engine().act(record.id, asked, None).await {
                    self.say(format!("  VM {} is not forgotten: {error}", record.id));
                }
            }
            let removed = self.life.engine().remove_fenced(lost, "operator").await;
            self.hold()?;
            match removed {
                Ok(()) => {
                    self.say(format!("  the lost host {lost} is removed"));
                    self.life.hosts.retain(|host| *host != lost);
                    return Ok(());
                }
                Err(error) if Instant::now() > until => {
                    let stuck = self.what_is_stuck();
                    return Err(format!(
                        "stuck: host {lost} is lost for good and cannot be removed: {error}; \
                         {stuck}"
                    ));
                }
                Err(_) => tokio::time::sleep(Duration::from_secs(20)).await,
            }
        }
    }

    /// Asks for more VMs than there is room for. Then the image that some of the waiting VMs need
    /// is locked, and room for one VM becomes free.
    pub(crate) async fn shortage(&mut self) -> Result<(), Violation> {
        let most = self.life.hosts.len() as u64 * self.weather.room + 4;
        for at in 0..most {
            self.ask_for_a_large_one(at % 2 == 0);
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        tokio::time::sleep(Duration::from_secs(120)).await;
        self.change(ResourceChange::ImageSetState { id: IMAGE, state: ImageState::Locked }).await;
        let running: Option<VmId> = self
            .records()?
            .iter()
            .rev()
            .find(|record| record.state == State::Running)
            .map(|record| record.id);
        let Some(vm) = running else { return Ok(()) };
        self.say(format!("  the image is locked, and VM {vm} is deleted"));
        match self.life.engine().act(vm, ActionRequest::of(Verb::Delete, "operator"), None).await {
            Ok(_) | Err(EngineError::Refused(_)) => Ok(()),
            Err(error) => Err(format!("VM {vm} cannot be deleted: {error}")),
        }
    }

    /// Changes the store as if a version that knows another zone had run while the daemon was down.
    pub(crate) fn another_version(&mut self) -> Result<(), Violation> {
        let mut changed = 0;
        let disk = self.life.disk.rewritten(|record| {
            for planned in
                record.schedules.iter_mut().filter(|planned| planned.schedule.zone.as_str() == ZONE)
            {
                planned.schedule = in_zone(&planned.schedule, NO_ZONE);
                changed += 1;
            }
        });
        self.life.disk = disk.map_err(|error| format!("the store cannot be read: {error}"))?;
        if changed > 0 {
            self.say(format!(
                "  another version has run, and {changed} schedules are in a zone that this one \
                 does not know"
            ));
        }
        Ok(())
    }
}

fn stands_on(record: &VmRecord, host: HostId) -> bool {
    record.places().any(|place| place.host == host)
}

/// The same schedule in another zone, as it would be read from the store.
pub(crate) fn in_zone(schedule: &Schedule, zone: &str) -> Schedule {
    let mut row = serde_json::to_value(schedule).expect("a schedule can be written");
    row["zone"] = zone.into();
    serde_json::from_value(row).expect("a schedule in any zone can be read")
}

/// The zone that a schedule of the operator names.
pub(crate) fn zoned(schedule: &Schedule) -> Schedule {
    in_zone(schedule, ZONE)
}
