//! Trouble with hosts and guests that nobody asked for. The seed says how often it comes.

use crate::queue::{Event, Happening};
use crate::rng::Rng;
use crate::run::Sim;
use ostler_model::{HostId, Millis, Power, PowerReason, VmId};

/// How often things go wrong, in thousandths, and how far apart they are, in milliseconds.
#[derive(Debug, Clone)]
pub(crate) struct Weather {
    /// Calls that go wrong.
    pub(crate) trouble: u64,
    /// Calls that take long.
    pub(crate) slow: u64,
    /// Looks whose result arrives late.
    pub(crate) late: u64,
    /// The time between two troubles of hosts.
    host: u64,
    /// The time between two crashes of the daemon.
    pub(crate) crash: u64,
    /// The time between two turns of the guests.
    guests: u64,
    /// The time between two actions of a person at the hypervisor.
    person: u64,
    /// True if the store is lost now and then, and an older backup is restored.
    pub(crate) restores: bool,
}

impl Weather {
    /// Some runs are calm in one way and stormy in another.
    pub(crate) fn of(rng: &mut Rng) -> Self {
        Self {
            trouble: *rng.pick(&[0, 5, 30, 80, 200]),
            slow: *rng.pick(&[0, 5, 20]),
            late: *rng.pick(&[0, 20, 200]),
            host: *rng.pick(&[20_000, 90_000, 400_000, 100_000_000]),
            crash: *rng.pick(&[5_000, 40_000, 200_000, 100_000_000]),
            guests: *rng.pick(&[1_000, 5_000, 30_000]),
            person: *rng.pick(&[10_000, 60_000, 100_000_000]),
            restores: rng.permille(300),
        }
    }

    /// Everything answers, obeys and stays as it is.
    pub(crate) const fn fine() -> Self {
        let never = 100_000_000_000;
        Self {
            trouble: 0,
            slow: 0,
            late: 0,
            host: never,
            crash: never,
            guests: 1_000,
            person: never,
            restores: false,
        }
    }
}

impl Sim {
    /// Begins everything that happens by itself.
    pub(crate) fn begin_weather(&mut self) {
        for happening in [Happening::Guests, Happening::Person, Happening::Host, Happening::Crash] {
            self.next_of(happening);
        }
    }

    fn next_of(&mut self, happening: Happening) {
        let mean = match happening {
            Happening::Guests => self.weather.guests,
            Happening::Person => self.weather.person,
            Happening::Host => self.weather.host,
            _ => self.weather.crash,
        };
        let at = self.now.plus(Millis(self.rng.within(mean / 4, mean * 2)));
        self.queue.push(at, Event::World(happening));
    }

    /// Guests obey, switch themselves off, crash or write. Most guests do nothing most of the time.
    pub(crate) fn guests(&mut self) {
        let pressed: Vec<(VmId, HostId)> = self.pick_domains(|being_obeys, domain| {
            domain.pressed && being_obeys && domain.power == Power::Running
        });
        for (vm, host) in pressed {
            if self.calm || self.rng.permille(700) {
                self.say(|| format!("  guest of VM {vm} on host {host} obeys"));
                self.world.power(vm, host, Power::Off, PowerReason::Guest);
                self.tell_change(vm, host);
            }
        }
        if !self.calm {
            self.one_guest();
        }
        self.next_of(Happening::Guests);
    }

    fn one_guest(&mut self) {
        let running = self.pick_domains(|_, domain| domain.power == Power::Running);
        if running.is_empty() {
            return;
        }
        let (vm, host) = *self.rng.pick(&running);
        let (power, reason) = match self.rng.below(60) {
            0..4 => (Power::Off, PowerReason::Guest),
            4 => (Power::Off, PowerReason::Crashed),
            5 => (Power::Crashed, PowerReason::None),
            6 => (Power::Paused, PowerReason::IoError),
            7 => (Power::Paused, PowerReason::Watchdog),
            _ => return self.world.writes(vm, host),
        };
        self.say(|| format!("  guest of VM {vm} on host {host} is {power} ({reason})"));
        self.world.power(vm, host, power, reason);
        self.tell_change(vm, host);
    }

    /// A person at the hypervisor pauses, resumes, starts or destroys a domain. Starts and resumes
    /// happen only where the VM has its placement.
    pub(crate) fn person(&mut self) {
        let all = self.pick_domains(|_, domain| domain.identity.is_some());
        self.next_of(Happening::Person);
        if self.calm || all.is_empty() {
            return;
        }
        let (vm, host) = *self.rng.pick(&all);
        let Some(record) = self.store.rows.records.get(&vm).cloned() else { return };
        // A person does not start an old copy of a VM here, because no daemon could prevent the
        // harm.
        let place = record.placement.as_ref().filter(|place| place.host == host);
        let settled = place.is_some()
            && record.other.is_none()
            && record.operation.is_none()
            && self.desks.get(&vm).is_none_or(|desk| desk.idle())
            && (!self.world.aged || self.lives_nowhere_else(vm, host));
        let power = self.world.being(vm).domains.get(&host).map(|domain| domain.power);
        let (power, reason) = match power {
            Some(Power::Running) if self.rng.permille(500) => (Power::Paused, PowerReason::Person),
            Some(Power::Running) => (Power::Off, PowerReason::Destroyed),
            Some(Power::Paused) if self.rng.permille(500) && settled => {
                (Power::Running, PowerReason::None)
            }
            Some(Power::Paused) => (Power::Off, PowerReason::Destroyed),
            Some(Power::Off) if settled && !record.disks.is_empty() && self.whole(vm, host) => {
                (Power::Running, PowerReason::None)
            }
            _ => return,
        };
        self.say(|| format!("  a person makes VM {vm} on host {host} {power}"));
        if power == Power::Running {
            self.world.must_be_alone(vm, host);
        }
        if power == Power::Running
            && let Some(domain) = self.world.being(vm).domains.get_mut(&host)
        {
            // A person who starts the domain by hand does not plug in again the hardware that was
            // taken from the VM while it was off.
            let known = |mac: &String| {
                record
                    .spec
                    .nics
                    .iter()
                    .any(|nic| nic.mac.as_ref().is_some_and(|nic| nic.to_string() == *mac))
            };
            domain.disks.retain(|file| record.disks.iter().any(|disk| disk.file.as_str() == file));
            domain.nics.retain(known);
        }
        self.world.power(vm, host, power, reason);
        if power == Power::Running {
            self.world.being(vm).secret = true;
            self.world.writes(vm, host);
        }
        self.tell_change(vm, host);
    }

    fn lives_nowhere_else(&self, vm: VmId, host: HostId) -> bool {
        let domains = self.world.beings.get(&vm).map(|being| &being.domains);
        domains
            .is_none_or(|domains| domains.iter().all(|(at, domain)| *at == host || !domain.alive()))
    }

    /// True if all disks of a domain are there and as new as they can be.
    fn whole(&mut self, vm: VmId, host: HostId) -> bool {
        let Some(record) = self.store.rows.records.get(&vm).cloned() else { return false };
        let site = crate::world::World::site(&record, host);
        let being = self.world.being(vm);
        let Some(domain) = being.domains.get(&host) else { return false };
        let whole = |name: &String| {
            let newest = being.newest.get(name).copied().unwrap_or(0);
            being
                .folders
                .get(&site)
                .and_then(|folder| folder.disks.get(name))
                .is_some_and(|file| file.complete && file.version == newest)
        };
        domain.disks.iter().all(whole)
    }

    fn pick_domains(
        &self,
        which: impl Fn(bool, &crate::world::Domain) -> bool,
    ) -> Vec<(VmId, HostId)> {
        let mut found = Vec::new();
        for (vm, being) in &self.world.beings {
            let here = being.domains.iter().filter(|(host, domain)| {
                self.world.has_power(**host) && which(being.obeys, domain)
            });
            found.extend(here.map(|(host, _)| (*vm, *host)));
        }
        found
    }

    /// Cuts a host off, or takes its power. Some time later it is mended.
    pub(crate) fn host_trouble(&mut self) {
        self.next_of(Happening::Host);
        if self.calm {
            return;
        }
        let hosts: Vec<HostId> = self.world.hosts.keys().copied().collect();
        let host = *self.rng.pick(&hosts);
        let lasts = *self.rng.pick(&[2_000, 30_000, 90_000, 400_000]);
        if self.rng.permille(650) {
            self.say(|| format!("  host {host} is cut off"));
            if let Some(machine) = self.world.hosts.get_mut(&host) {
                machine.cut = true;
            }
        } else {
            self.say(|| format!("  host {host} loses power"));
            self.world.lose_power(host);
            self.power_ends_works(host);
        }
        let power = self.world.hosts.get(&host).is_some_and(|machine| !machine.on);
        let at = self.now.plus(Millis(self.rng.within(lasts / 2, lasts)));
        self.queue.push(at, Event::World(Happening::Mend(host, power)));
    }

    pub(crate) fn mend(&mut self, host: HostId, power: bool) {
        self.say(|| format!("  host {host} is mended"));
        if let Some(machine) = self.world.hosts.get_mut(&host) {
            if power {
                machine.on = true;
            } else {
                machine.cut = false;
            }
        }
    }

    pub(crate) fn crash_now(&mut self) {
        if !self.calm && self.up {
            self.say(|| "  the daemon is killed".to_owned());
            self.crash();
        }
        self.next_of(Happening::Crash);
    }

    /// From now on everything answers, obeys and stays as it is.
    pub(crate) fn clear_up(&mut self) {
        self.calm = true;
        self.weather = Weather::fine();
        for machine in self.world.hosts.values_mut() {
            (machine.on, machine.cut) = (true, false);
        }
        for being in self.world.beings.values_mut() {
            being.obeys = true;
            // Domains that never became ours are removed by the people who made them.
            being.domains.retain(|_, domain| domain.identity.is_some());
        }
    }
}
