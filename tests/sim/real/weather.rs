//! Faults of calls, hosts, guests, disks and of the daemon: the seed says which, and how often.

use super::person::Asked;
use super::watch::Violation;
use super::{Dice, Fault, Run, dice};
use crate::rng::Rng;
use ostler_driver_testkit::fake::{Op, Recorded, Whim};
use ostler_model::{DriverError, ErrorKind, HostId, Power, PowerReason, VmUuid};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// Some runs are calm in one way and stormy in another. Chances are in thousandths.
#[derive(Debug, Clone)]
pub(crate) struct Weather {
    pub(crate) hosts: u64,
    /// VMs of one CPU that a host has room for.
    pub(crate) room: u64,
    pub(crate) population: usize,
    /// Requests until it calms down.
    pub(crate) requests: u64,
    /// Most milliseconds between two things that happen.
    pub(crate) haste: u64,
    /// Most milliseconds that a batch takes to the disk.
    pub(crate) sync: u64,
    trouble: u64,
    slow: u64,
    crash: u64,
    full: u64,
    restore: u64,
    guest: u64,
    host: u64,
    pub(crate) panic: u64,
}

impl Weather {
    pub(crate) fn of(chance: &Dice) -> Self {
        let mut dice = dice(chance);
        Self {
            hosts: dice.within(2, 4),
            room: dice.within(2, 8),
            population: usize::try_from(dice.within(3, 12)).unwrap_or(3),
            requests: dice.within(40, 160),
            haste: *dice.pick(&[40, 400, 3_000]),
            sync: *dice.pick(&[2, 20, 200]),
            trouble: *dice.pick(&[0, 5, 30, 80, 200]),
            slow: *dice.pick(&[0, 5, 20]),
            crash: *dice.pick(&[0, 5, 30]),
            full: *dice.pick(&[0, 0, 3]),
            restore: *dice.pick(&[0, 0, 10]),
            guest: *dice.pick(&[0, 20, 80]),
            host: *dice.pick(&[0, 3, 20]),
            panic: *dice.pick(&[0, 0, 3]),
        }
    }
}

/// How a call goes.
fn whim(dice: &mut Rng, weather: &Weather, call: &Recorded) -> Whim {
    let takes = match call.op {
        Op::Probe | Op::List | Op::Observe | Op::Changes | Op::Metrics | Op::Poll | Op::PollJob | Op::InspectFile => 20,
        Op::Prepare | Op::Copy | Op::SaveBack | Op::Migrate | Op::CopyDisk | Op::Save => 4_000,
        _ => 400,
    };
    let takes = if dice.permille(weather.slow) { 60_000 } else { takes };
    let mut whim = Whim { delay: Duration::from_millis(dice.within(1, takes)), ..Whim::default() };
    if !dice.permille(weather.trouble) {
        return whim;
    }
    match dice.below(5) {
        0 => whim.fail = Some(DriverError::retry("not-now", "chance")),
        1 => whim.fail = Some(DriverError::unknown("connection", "chance")),
        2 => whim.late = Duration::from_millis(dice.within(1, 120_000)),
        3 if call.key.is_some() => whim.fail = Some(DriverError::new(ErrorKind::Refused, "no-space", "chance")),
        _ => whim.lose = true,
    }
    whim
}

impl Run {
    /// One thing happens.
    pub(crate) async fn happens(&mut self) -> Result<(), Violation> {
        if self.stats.requests == 0 {
            self.begin_whims();
        }
        let weather = self.weather.clone();
        let drawn = |chance: u64| dice(&self.dice).permille(chance);
        let (crash, full, restore, guest, host) =
            (drawn(weather.crash), drawn(weather.full), drawn(weather.restore), drawn(weather.guest), drawn(weather.host));
        if full {
            let after = dice(&self.dice).within(0, 40);
            self.say(format!("  the disk is full after {after} more operations, and the daemon is killed some time after"));
            self.life.disk.break_after(after);
            let pause = dice(&self.dice).within(1, 5_000);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        if crash || full {
            self.crash().await?;
        } else if restore {
            self.restore().await?;
        }
        if guest {
            self.guest();
        }
        if host {
            self.host();
        }
        self.operate();
        Ok(())
    }

    fn begin_whims(&self) {
        let (chance, weather) = (Arc::clone(&self.dice), self.weather.clone());
        self.life.fake.whims(Some(move |call: &Recorded| whim(&mut dice(&chance), &weather, call)));
        self.life.fake.long_jobs(2);
        // Longer than the patience of a transfer.
        self.life.fake.jobs_go_on(Duration::from_secs(150));
    }

    async fn crash(&mut self) -> Result<(), Violation> {
        self.say("  the daemon is killed");
        self.stats.crashes += 1;
        self.life.die().await;
        self.life.lose_power();
        self.down().await;
        self.rise().await
    }

    async fn down(&self) {
        let pause = dice(&self.dice).within(10, 20_000);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }

    async fn rise(&mut self) -> Result<(), Violation> {
        self.life.rise().await;
        self.say("the daemon is started");
        self.remembers()?;
        self.repeat();
        Ok(())
    }

    /// The store is lost some time after a backup, and the backup takes its place.
    async fn restore(&mut self) -> Result<(), Violation> {
        let backup = self.life.disk.copy();
        self.say("  a backup is made");
        let lost = dice(&self.dice).within(2, 30);
        for _ in 0..lost {
            let pause = dice(&self.dice).within(1, self.weather.haste);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            self.operate();
            self.hold()?;
        }
        self.say("  the store is lost, and the backup is restored");
        self.stats.restores += 1;
        self.life.die().await;
        let unmarked = self.life.is(Fault::NoRestoreMark);
        self.life.disk = if unmarked { backup } else { backup.restored(self.life.now()).map_err(|error| error.to_string())? };
        self.aged = true;
        self.acked.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.down().await;
        self.life.rise().await;
        self.forget_the_lost_time()
    }

    fn domains(&self) -> Vec<(HostId, VmUuid, Power)> {
        let of = |host: &HostId| {
            let host = *host;
            self.life.fake.domains(host).into_iter().map(move |domain| (host, domain.seen.uuid, domain.seen.power))
        };
        self.life.hosts.iter().flat_map(of).collect()
    }

    /// A guest switches itself off, crashes, or stands still on an error.
    fn guest(&self) {
        let running: Vec<_> = self.domains().into_iter().filter(|(_, _, power)| *power == Power::Running).collect();
        if running.is_empty() {
            return;
        }
        let (host, vm, _) = *dice(&self.dice).pick(&running);
        self.say(format!("  something happens to guest {vm} on host {host}"));
        match dice(&self.dice).below(4) {
            0 => self.life.fake.crash(host, vm),
            1 => self.life.fake.pause(host, vm, PowerReason::IoError),
            _ => self.life.fake.guest_off(host, vm),
        }
    }

    /// A host is cut off, and is back some time later.
    fn host(&self) {
        let host = *dice(&self.dice).pick(&self.life.hosts);
        let lasts = *dice(&self.dice).pick(&[2_000, 30_000, 90_000, 400_000]);
        self.say(format!("  host {host} is cut off for {lasts} ms"));
        self.life.fake.cut_off(host, true);
        let fake = self.life.fake.clone();
        drop(tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(lasts)).await;
            fake.cut_off(host, false);
        }));
    }

    /// From now on everything answers and obeys.
    pub(crate) async fn calm(&mut self) {
        self.life.fake.whims(None::<fn(&Recorded) -> Whim>);
        self.life.panics(0);
        for host in &self.life.hosts {
            self.life.fake.cut_off(*host, false);
        }
        // Those that were cut off are mended once more by then, and what was asked is answered.
        tokio::time::sleep(Duration::from_secs(500)).await;
        let left: Vec<Asked> = std::mem::take(&mut *self.unanswered.lock().unwrap_or_else(PoisonError::into_inner));
        drop(left);
    }
}
