//! How fast and how healthy the drivers are: calls, errors by kind, and how long calls take, by
//! function; of each driver, and of each driver on each host. Kept in memory only, and bounded.
//!
//! The times of the last minutes are kept in slots of one minute each. A slot whose minute is over
//! is used again for the minute that comes. So an old time is forgotten after [`WINDOW`], and a
//! reader gets the times of the last four to five minutes.

use crate::clock;
use crate::locked::locked;
use hdrhistogram::Histogram;
use ostler_model::{DriverName, ErrorKind, HostId, HostName};
use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The time that [`Recent`] tells of.
pub const WINDOW: Duration = Duration::from_secs(SLOT.as_secs() * SLOTS as u64);
const SLOT: Duration = Duration::from_secs(60);
const SLOTS: usize = 5;
/// The longest time that is told apart from longer ones: jobs may take hours.
const LONGEST_US: u64 = 24 * 3600 * 1_000_000;
/// The digits of a time that are kept: so a time is told at most 7 % too long, and a slot takes
/// 2 KiB.
const DIGITS: u8 = 1;
/// The most functions of drivers on hosts that are kept. With all slots in use they take 45 MiB.
const AT_HOSTS_MAX: usize = 4096;
/// The limits of the groups of [`Figures::groups`], in microseconds: from an answer out of a
/// driver's memory to a migration.
pub const GROUPS_US: [u64; 12] = [
    1_000,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    1_000_000,
    5_000_000,
    30_000_000,
    300_000_000,
    u64::MAX,
];

/// One call that is counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Called<'a> {
    pub(crate) driver: &'a DriverName,
    /// None: it was for no host.
    pub(crate) host: Option<HostId>,
    pub(crate) function: &'static str,
}

/// The times of the calls of the last minutes ([`WINDOW`]), in microseconds. Each is at most 7 % too
/// long, but for the largest, which is exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recent {
    /// How many calls there were.
    pub calls: u64,
    /// Half of them took no longer.
    pub p50_us: u64,
    /// 95 of 100 took no longer.
    pub p95_us: u64,
    /// 99 of 100 took no longer.
    pub p99_us: u64,
    /// The longest one.
    pub largest_us: u64,
}

/// Calls of one function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures {
    /// The function.
    pub function: &'static str,
    /// How many calls have ended.
    pub calls: u64,
    /// How many of them ended in an error, by its kind.
    pub errors: Vec<(ErrorKind, u64)>,
    /// The time that all calls took, in microseconds.
    pub busy_us: u64,
    /// How many calls took at most so long as [`GROUPS_US`] says, and longer than the group before.
    pub groups: [u64; GROUPS_US.len()],
    /// The calls of the last minutes. None if there was none.
    pub recent: Option<Recent>,
}

/// The figures of one driver.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DriverFigures {
    /// Its functions, on all hosts together.
    pub functions: Vec<Figures>,
    /// Its functions on each host where it was called.
    pub hosts: Vec<(HostName, Vec<Figures>)>,
    /// How many calls are in no figures of a host, because too many functions on hosts are in use.
    pub not_kept: u64,
}

/// The times of one minute.
struct Slot {
    /// Which minute, counted from the start.
    minute: u64,
    largest_us: u64,
    times: Histogram<u32>,
}

fn times() -> Histogram<u32> {
    Histogram::new_with_bounds(1, LONGEST_US, DIGITS).expect("the bounds are constants, and valid")
}

/// Calls of one function, as they are counted.
#[derive(Default)]
struct Series {
    calls: u64,
    errors: Vec<(ErrorKind, u64)>,
    busy_us: u64,
    groups: [u64; GROUPS_US.len()],
    slots: [Option<Box<Slot>>; SLOTS],
}

impl Series {
    fn add(&mut self, minute: u64, took_us: u64, error: Option<ErrorKind>) {
        self.calls += 1;
        self.busy_us = self.busy_us.saturating_add(took_us);
        if let Some(kind) = error {
            match self.errors.iter_mut().find(|(of, _)| *of == kind) {
                Some((_, count)) => *count += 1,
                None => self.errors.push((kind, 1)),
            }
        }
        if let Some(group) = GROUPS_US.iter().position(|limit| took_us <= *limit) {
            self.groups[group] += 1;
        }
        let at = usize::try_from(minute % SLOTS as u64).unwrap_or_default();
        let slot = self.slots[at]
            .get_or_insert_with(|| Box::new(Slot { minute, largest_us: 0, times: times() }));
        if slot.minute != minute {
            slot.minute = minute;
            slot.largest_us = 0;
            slot.times.reset();
        }
        slot.largest_us = slot.largest_us.max(took_us);
        slot.times.saturating_record(took_us.max(1));
    }

    /// The slots that are not older than the window.
    fn fresh(&self, minute: u64) -> impl Iterator<Item = &Slot> {
        let young = move |slot: &&Slot| minute.saturating_sub(slot.minute) < SLOTS as u64;
        self.slots.iter().flatten().map(|slot| &**slot).filter(young)
    }

    fn recent(&self, minute: u64) -> Option<Recent> {
        let (mut all, mut largest_us) = (times(), 0);
        for slot in self.fresh(minute) {
            // All have the same bounds, so each can be added to another.
            let _ = all.add(&slot.times);
            largest_us = largest_us.max(slot.largest_us);
        }
        let quantile = |part| all.value_at_quantile(part).min(largest_us);
        (!all.is_empty()).then(|| Recent {
            calls: all.len(),
            p50_us: quantile(0.5),
            p95_us: quantile(0.95),
            p99_us: quantile(0.99),
            largest_us,
        })
    }

    fn told(&self, function: &'static str, minute: u64) -> Figures {
        let mut errors = self.errors.clone();
        errors.sort_by_key(|(kind, _)| <&str>::from(*kind));
        Figures {
            function,
            calls: self.calls,
            errors,
            busy_us: self.busy_us,
            groups: self.groups,
            recent: self.recent(minute),
        }
    }
}

type AtHost = (HostId, &'static str);

#[derive(Default)]
struct OfDriver {
    functions: BTreeMap<&'static str, Series>,
    hosts: HashMap<AtHost, Series>,
    not_kept: u64,
}

struct Inner {
    drivers: BTreeMap<DriverName, OfDriver>,
    /// How many functions of drivers on hosts there are.
    at_hosts: usize,
    /// The minute in which room was made last.
    tidied: u64,
}

impl Inner {
    /// Makes room for one more function of a driver on a host: those that were not called in the
    /// window go. That is tried once a minute, because all are looked at.
    fn make_room(&mut self, minute: u64) -> bool {
        if self.at_hosts < AT_HOSTS_MAX {
            return true;
        }
        if self.tidied == minute {
            return false;
        }
        self.tidied = minute;
        self.keep(|_, series| series.fresh(minute).next().is_some());
        self.at_hosts < AT_HOSTS_MAX
    }

    fn keep(&mut self, wanted: impl Fn(HostId, &Series) -> bool) {
        for of in self.drivers.values_mut() {
            of.hosts.retain(|(host, _), series| wanted(*host, series));
        }
        self.at_hosts = self.drivers.values().map(|of| of.hosts.len()).sum();
    }
}

/// The figures of all drivers.
pub(crate) struct AllFigures {
    start: Instant,
    inner: Mutex<Inner>,
}

impl Default for AllFigures {
    fn default() -> Self {
        let inner = Inner { drivers: BTreeMap::new(), at_hosts: 0, tidied: 0 };
        Self { start: clock::instant(), inner: Mutex::new(inner) }
    }
}

impl AllFigures {
    fn minute(&self) -> u64 {
        clock::instant().saturating_duration_since(self.start).as_secs() / SLOT.as_secs()
    }

    /// Counts a call that has ended now.
    pub(crate) fn add(&self, of: Called<'_>, took_us: u64, error: Option<ErrorKind>) {
        self.add_in(self.minute(), of, took_us, error);
    }

    fn add_in(&self, minute: u64, of: Called<'_>, took_us: u64, error: Option<ErrorKind>) {
        let mut inner = locked(&self.inner);
        let known = |inner: &Inner, key: &AtHost| {
            inner.drivers.get(of.driver).is_some_and(|of| of.hosts.contains_key(key))
        };
        let at_host = of.host.map(|host| (host, of.function));
        let at_host = at_host.map(|key| {
            let is_known = known(&inner, &key);
            let kept = is_known || inner.make_room(minute);
            inner.at_hosts += usize::from(kept && !is_known);
            (key, kept)
        });
        let driver = inner.drivers.entry(of.driver.clone()).or_default();
        driver.functions.entry(of.function).or_default().add(minute, took_us, error);
        match at_host {
            Some((key, true)) => driver.hosts.entry(key).or_default().add(minute, took_us, error),
            Some((_, false)) => driver.not_kept += 1,
            None => {}
        }
    }

    /// The figures of a driver. Hosts that `named` does not know are left out.
    pub(crate) fn of(
        &self,
        driver: &DriverName,
        named: impl Fn(HostId) -> Option<HostName>,
    ) -> DriverFigures {
        self.of_in(self.minute(), driver, named)
    }

    fn of_in(
        &self,
        minute: u64,
        driver: &DriverName,
        named: impl Fn(HostId) -> Option<HostName>,
    ) -> DriverFigures {
        let inner = locked(&self.inner);
        let Some(of) = inner.drivers.get(driver) else { return DriverFigures::default() };
        let mut hosts = BTreeMap::<HostName, Vec<Figures>>::new();
        for ((host, function), series) in &of.hosts {
            let Some(name) = named(*host) else { continue };
            hosts.entry(name).or_default().push(series.told(function, minute));
        }
        for figures in hosts.values_mut() {
            figures.sort_by_key(|figures| figures.function);
        }
        DriverFigures {
            functions: of.functions.iter().map(|(name, one)| one.told(name, minute)).collect(),
            hosts: hosts.into_iter().collect(),
            not_kept: of.not_kept,
        }
    }

    /// Forgets hosts that are gone.
    pub(crate) fn prune(&self, is_there: impl Fn(HostId) -> bool) {
        locked(&self.inner).keep(|host, _| is_there(host));
    }

    /// Forgets a driver.
    pub(crate) fn forget(&self, driver: &DriverName) {
        let mut inner = locked(&self.inner);
        let gone = inner.drivers.remove(driver);
        inner.at_hosts -= gone.map_or(0, |gone| gone.hosts.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(figures: &AllFigures, minute: u64, host: u32, took_us: u64) {
        let driver = &driver();
        let of = Called { driver, host: Some(HostId(host)), function: "list" };
        figures.add_in(minute, of, took_us, None);
    }

    fn driver() -> DriverName {
        "kvm".parse().expect("a name")
    }

    fn name(host: HostId) -> Option<HostName> {
        format!("h{host}").parse().ok()
    }

    #[test]
    fn the_window_slides_and_counts_stay() {
        let figures = AllFigures::default();
        for ms in 1..=100 {
            at(&figures, 0, 1, ms * 1000);
        }
        at(&figures, 1, 2, 7_000_000);
        let told = figures.of_in(1, &driver(), name);
        let recent = told.functions[0].recent.expect("there were calls");
        assert_eq!((recent.calls, recent.largest_us), (101, 7_000_000));
        // Each is told at most 7 % too long.
        assert!((51_000..=54_500).contains(&recent.p50_us), "{recent:?}");
        assert!((96_000..=102_800).contains(&recent.p95_us), "{recent:?}");
        assert_eq!(told.functions[0].groups[..7], [1, 4, 5, 15, 25, 50, 0]);
        assert_eq!(told.hosts.len(), 2);
        assert_eq!(told.hosts[1].1[0].recent.map(|recent| recent.p50_us), Some(7_000_000));
        // The first minute is out of the window, the second is not.
        let told = figures.of_in(5, &driver(), name);
        assert_eq!(told.functions[0].recent.map(|recent| recent.calls), Some(1));
        assert_eq!(told.hosts[0].1[0].recent, None);
        assert_eq!((told.functions[0].calls, told.hosts[0].1[0].calls), (101, 100));
        // Its slot is used again.
        at(&figures, 5, 1, 40);
        let told = figures.of_in(5, &driver(), name);
        assert_eq!(
            told.hosts[0].1[0].recent.map(|recent| (recent.calls, recent.p99_us)),
            Some((1, 40))
        );
    }

    #[test]
    fn functions_on_hosts_are_bounded_and_those_that_are_not_called_make_room() {
        let figures = AllFigures::default();
        let most = u32::try_from(AT_HOSTS_MAX).expect("small");
        for host in 0..most + 10 {
            at(&figures, 0, host, 5);
        }
        let told = figures.of_in(0, &driver(), name);
        assert_eq!((told.hosts.len(), told.not_kept), (AT_HOSTS_MAX, 10));
        assert_eq!(told.functions[0].calls, u64::from(most) + 10, "the driver's own has all");
        at(&figures, SLOTS as u64, most + 10, 5);
        let told = figures.of_in(SLOTS as u64, &driver(), name);
        assert_eq!((told.hosts.len(), told.not_kept), (1, 10));
        figures.prune(|host| host != HostId(most + 10));
        assert!(figures.of_in(SLOTS as u64, &driver(), name).hosts.is_empty());
        figures.forget(&driver());
        assert_eq!(figures.of_in(SLOTS as u64, &driver(), name), DriverFigures::default());
    }
}
