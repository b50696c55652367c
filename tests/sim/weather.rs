//! Faults of calls, hosts, guests, disks and the daemon. The seed says which ones come, and how
//! often.

use super::person::Asked;
use super::watch::Violation;
use super::{Dice, Run, dice};
use crate::rng::Rng;
use ostler_driver_testkit::fake::{Fake, Op, Recorded, Whim};
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
    /// Requests until the storm is over.
    pub(crate) requests: u64,
    /// At most so many milliseconds are between two things that happen.
    pub(crate) haste: u64,
    /// At most so many milliseconds are needed to write a batch to the disk.
    pub(crate) sync: u64,
    /// A call fails, or its answer is late or lost.
    trouble: u64,
    /// One call is slow.
    slow_call: u64,
    crash: u64,
    full: u64,
    restore: u64,
    guest: u64,
    host: u64,
    pub(crate) panic: u64,
    pub(crate) lane_width: usize,
    /// An answer comes without a look.
    blind: u64,
    /// A look is answered late, so that it shows what was.
    stale: u64,
    /// A host is slow, for all calls that change something, and for so long that its lanes are
    /// full.
    pub(crate) slow_host: u64,
    /// A host is lost for good.
    pub(crate) lose: u64,
    /// A host is switched off and on.
    pub(crate) flicker: u64,
    /// An image is locked, or is ready again.
    pub(crate) image: u64,
    /// The clock is set back.
    pub(crate) clock: u64,
    /// After the storm, more VMs are made than there is room for, and the image of some is locked.
    pub(crate) shortage: bool,
    /// A daemon of another version wrote the records while this one was down.
    pub(crate) foreign_zone: bool,
    /// All hosts and the front end see the files of VMs.
    pub(crate) shared: bool,
    /// The driver has snapshot rules.
    pub(crate) rules: bool,
    /// The last host has another driver, with fewer abilities.
    pub(crate) plain: bool,
    /// Guests ignore the power button.
    pub(crate) deaf: bool,
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
            slow_call: *dice.pick(&[0, 5, 20]),
            crash: *dice.pick(&[0, 5, 30]),
            full: *dice.pick(&[0, 4, 20]),
            restore: *dice.pick(&[0, 0, 15]),
            guest: *dice.pick(&[0, 20, 80]),
            host: *dice.pick(&[0, 3, 20]),
            panic: *dice.pick(&[0, 0, 3]),
            lane_width: *dice.pick(&[1, 1, 4]),
            blind: *dice.pick(&[0, 50, 200]),
            stale: *dice.pick(&[0, 100, 500]),
            slow_host: *dice.pick(&[0, 10, 30]),
            lose: *dice.pick(&[0, 0, 10]),
            flicker: *dice.pick(&[0, 0, 10]),
            image: *dice.pick(&[0, 0, 20]),
            clock: *dice.pick(&[0, 0, 20]),
            shortage: dice.permille(350),
            foreign_zone: dice.permille(300),
            shared: dice.permille(300),
            rules: dice.permille(700),
            plain: dice.permille(300),
            deaf: dice.permille(200),
        }
    }
}

/// A call that changes the hardware of a guest.
const fn plugs(call: &Recorded) -> bool {
    matches!(call.op, Op::AttachDisk | Op::AttachNic | Op::Resize)
}

/// Chooses how a call goes.
fn whim(dice: &mut Rng, weather: &Weather, slow: bool, call: &Recorded) -> Whim {
    let takes = match call.op {
        Op::Probe
        | Op::List
        | Op::Observe
        | Op::Changes
        | Op::Metrics
        | Op::Poll
        | Op::PollJob
        | Op::InspectFile => 20,
        Op::Prepare | Op::Copy | Op::SaveBack | Op::Migrate | Op::CopyDisk | Op::Save => 4_000,
        _ => 400,
    };
    let takes = match call.op {
        // Longer than the patience of a transfer.
        Op::Prepare | Op::Copy | Op::SaveBack | Op::Delete if slow => 150_000,
        _ if dice.permille(weather.slow_call) => 60_000,
        _ => takes,
    };
    let least = if slow && call.key.is_some() { 15_000 } else { 1 };
    let blind = dice.permille(if plugs(call) { weather.blind * 3 } else { weather.blind });
    let mut whim = Whim {
        delay: Duration::from_millis(dice.within(least, takes + least)),
        blind,
        ..Whim::default()
    };
    if call.op == Op::Observe && dice.permille(weather.stale) {
        whim.late = Duration::from_millis(dice.within(1_000, 18_000));
    }
    if !dice.permille(weather.trouble) {
        return whim;
    }
    match dice.below(5) {
        0 => whim.fail = Some(DriverError::retry("not-now", "chance")),
        1 => whim.fail = Some(DriverError::unknown("connection", "chance")),
        2 => whim.late = Duration::from_millis(dice.within(1, 120_000)),
        3 if call.key.is_some() => {
            whim.fail = Some(DriverError::new(ErrorKind::Refused, "no-space", "chance"))
        }
        _ => whim.lose = true,
    }
    whim
}

/// Cuts a host off some time from now, and connects it again some time later.
fn cut_off(fake: Fake, host: HostId, begins: Duration, lasts: Duration) {
    drop(tokio::spawn(async move {
        tokio::time::sleep(begins).await;
        fake.cut_off(host, true);
        tokio::time::sleep(lasts).await;
        fake.cut_off(host, false);
    }));
}

impl Run {
    /// Makes one thing happen.
    pub(crate) async fn happens(&mut self) -> Result<(), Violation> {
        if self.stats.requests == 0 {
            self.begin_whims();
        }
        let weather = self.weather.clone();
        let drawn = |chance: u64| dice(&self.dice).permille(chance);
        let (crash, full, restore, guest, host) = (
            drawn(weather.crash),
            drawn(weather.full),
            drawn(weather.restore),
            drawn(weather.guest),
            drawn(weather.host),
        );
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
        self.site_happens().await;
        self.operate();
        Ok(())
    }

    fn begin_whims(&self) {
        let (chance, weather, slow) =
            (Arc::clone(&self.dice), self.weather.clone(), self.life.slow.clone());
        let fake = self.life.fake.clone();
        let whims = move |call: &Recorded| {
            let mut chance = dice(&chance);
            let whim = whim(&mut chance, &weather, slow.is(call.host), call);
            if whim.blind
                && call.key.is_some()
                && chance.permille(if plugs(call) { 700 } else { 50 })
            {
                // The host is cut off after the call was answered, and before anybody has looked.
                let answered = whim.delay + whim.late + Duration::from_millis(1);
                cut_off(
                    fake.clone(),
                    call.host,
                    answered,
                    Duration::from_millis(chance.within(1_000, 300_000)),
                );
            }
            whim
        };
        self.life.fake.whims(Some(whims));
        self.life.fake.long_jobs(2);
        self.life.fake.ignore_acpi(self.weather.deaf);
        // Longer than the patience of a transfer.
        self.life.fake.jobs_go_on(Duration::from_secs(150));
    }

    async fn crash(&mut self) -> Result<(), Violation> {
        self.say("  the daemon is killed");
        self.stats.crashes += 1;
        self.life.die().await;
        self.life.lose_power();
        self.down().await;
        if self.weather.foreign_zone {
            self.another_version()?;
        }
        self.rise().await
    }

    async fn down(&self) {
        let pause = dice(&self.dice).within(10, 20_000);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }

    async fn rise(&mut self) -> Result<(), Violation> {
        self.life.rise().await;
        self.say("the daemon is started");
        self.add_up()?;
        self.remembers()?;
        self.repeat();
        Ok(())
    }

    /// Makes a backup, loses the store some time later, and puts the backup in its place.
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
        self.life.restore(&backup).map_err(|error| format!("books: {error:?}"))?;
        (self.aged, self.untold) = (true, true);
        self.acked.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.down().await;
        if dice(&self.dice).permille(500) {
            // A store is often lost together with something else, so a host may be lost with it.
            self.host();
        }
        self.life.rise().await;
        self.add_up()?;
        self.start_what_is_missed();
        self.forget_the_lost_time()
    }

    fn domains(&self) -> Vec<(HostId, VmUuid, Power)> {
        let of = |host: &HostId| {
            let host = *host;
            self.life
                .fake
                .domains(host)
                .into_iter()
                .map(move |domain| (host, domain.seen.uuid, domain.seen.power))
        };
        self.life.hosts.iter().flat_map(of).collect()
    }

    /// A guest switches itself off, crashes, or stands still on an error.
    fn guest(&mut self) {
        let running: Vec<_> =
            self.domains().into_iter().filter(|(_, _, power)| *power == Power::Running).collect();
        if running.is_empty() {
            return;
        }
        let (host, vm, _) = *dice(&self.dice).pick(&running);
        self.say(format!("  something happens to guest {vm} on host {host}"));
        match dice(&self.dice).below(8) {
            0 => self.life.fake.crash(host, vm),
            1 => self.life.fake.pause(host, vm, PowerReason::IoError),
            2 => self.life.fake.pause(host, vm, PowerReason::Watchdog),
            3 => self.life.fake.pause(host, vm, PowerReason::Person),
            4 => self.life.fake.destroy_by_hand(host, vm),
            _ => self.life.fake.guest_off(host, vm),
        }
        if dice(&self.dice).permille(500) {
            self.operate_on(vm);
        }
    }

    /// Cuts a host off, and connects it again some time later.
    fn host(&self) {
        let host = self.living_host();
        let lasts = *dice(&self.dice).pick(&[2_000, 30_000, 90_000, 400_000]);
        if dice(&self.dice).permille(350) {
            self.say(format!("  host {host} has no power for {lasts} ms"));
            self.life.fake.lose_power(host);
        } else {
            self.say(format!("  host {host} is cut off for {lasts} ms"));
            self.life.fake.cut_off(host, true);
        }
        cut_off(self.life.fake.clone(), host, Duration::ZERO, Duration::from_millis(lasts));
    }

    /// From now on everything answers and obeys.
    pub(crate) async fn calm(&mut self) -> Result<(), Violation> {
        // A slow host stays slow, and its lanes stay full.
        let (chance, slow) = (Arc::clone(&self.dice), self.life.slow.clone());
        let delay = move |call: &Recorded| match call.key {
            Some(_) if slow.is(call.host) => {
                Duration::from_millis(dice(&chance).within(10_000, 20_000))
            }
            Some(_) | None => Duration::ZERO,
        };
        self.life
            .fake
            .whims(Some(move |call: &Recorded| Whim { delay: delay(call), ..Whim::default() }));
        self.life.fake.ignore_acpi(false);
        self.life.panics(0);
        self.mend_the_site().await?;
        // Hosts that are cut off come back by themselves, some of them later. All requests are
        // answered within this time.
        tokio::time::sleep(Duration::from_secs(200)).await;
        let left: Vec<Asked> =
            std::mem::take(&mut *self.unanswered.lock().unwrap_or_else(PoisonError::into_inner));
        drop(left);
        self.give_up_the_lost().await?;
        if self.weather.shortage {
            self.shortage().await?;
        }
        Ok(())
    }
}
