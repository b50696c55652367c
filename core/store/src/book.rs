//! The books: what VMs hold of hosts and images, and how many VMs are in each state. They are derived from the records, in the
//! transaction that changes the records. During a batch they are kept in memory, and they are written at its end, because the VMs
//! of a batch share few hosts.

use crate::batch::Batch;
use crate::error::{Fault, ReadError};
use crate::read::Reader;
use crate::summary::VmSummary;
use crate::tables::{HOST_USAGE, IMAGE_HOLD, STATE_COUNT};
use ostler_model::{Capacity, HostId, ImageId, State, Usage};
use redb::{ReadableTable, Table};
use std::collections::{BTreeMap, HashMap};

/// The counts that a batch has read or changed.
#[derive(Debug, Default)]
pub(crate) struct Books {
    usage: HashMap<u32, Usage>,
    holds: HashMap<u32, u64>,
    counts: HashMap<&'static str, u64>,
}

fn usage_of((vms, cpu_milli, memory_mib): (u64, u64, u64)) -> Usage {
    Usage { vms, held: Capacity { cpu_milli, memory_mib } }
}

/// Subtracts one from a number that must be at least one. If it is zero, `check` finds this. To stop here would help nobody.
fn less(number: &mut u64, what: &str) {
    match number.checked_sub(1) {
        Some(rest) => *number = rest,
        None => tracing::error!(what, "the books would fall below zero: run `ostler admin check`"),
    }
}

impl Batch<'_> {
    /// The capacity that VMs hold on a host now, as this batch sees it.
    pub(crate) fn usage(&mut self, host: u32) -> Result<&mut Usage, Fault> {
        use std::collections::hash_map::Entry;
        match self.books.usage.entry(host) {
            Entry::Occupied(page) => Ok(page.into_mut()),
            Entry::Vacant(page) => {
                let kept = self.hot.host_usage.get(host)?.map(|row| usage_of(row.value())).unwrap_or_default();
                Ok(page.insert(kept))
            }
        }
    }

    /// How many disks stand on an image now, as this batch sees it.
    pub(crate) fn holds(&mut self, image: u32) -> Result<&mut u64, Fault> {
        use std::collections::hash_map::Entry;
        match self.books.holds.entry(image) {
            Entry::Occupied(page) => Ok(page.into_mut()),
            Entry::Vacant(page) => Ok(page.insert(self.hot.image_hold.get(image)?.map_or(0, |row| row.value()))),
        }
    }

    fn count(&mut self, state: &'static str) -> Result<&mut u64, Fault> {
        use std::collections::hash_map::Entry;
        match self.books.counts.entry(state) {
            Entry::Occupied(page) => Ok(page.into_mut()),
            Entry::Vacant(page) => Ok(page.insert(self.hot.state_count.get(state)?.map_or(0, |row| row.value()))),
        }
    }

    /// Changes the books for the change of one VM.
    pub(crate) fn books_enter(&mut self, old: Option<&VmSummary>, new: Option<&VmSummary>) -> Result<(), Fault> {
        let held = |vm: Option<&VmSummary>| vm.map(|vm| (vm.held, vm.held_too)).unwrap_or_default();
        if held(old) != held(new) {
            for (host, capacity) in old.into_iter().flat_map(VmSummary::holdings) {
                let usage = self.usage(host.0)?;
                less(&mut usage.vms, "VMs of a host");
                usage.held = Capacity {
                    cpu_milli: usage.held.cpu_milli.saturating_sub(capacity.cpu_milli),
                    memory_mib: usage.held.memory_mib.saturating_sub(capacity.memory_mib),
                };
            }
            for (host, capacity) in new.into_iter().flat_map(VmSummary::holdings) {
                let usage = self.usage(host.0)?;
                usage.vms = usage.vms.saturating_add(1);
                usage.held = usage.held.plus(capacity);
            }
        }
        let (images_old, images_new) = (old.map_or(&[][..], |vm| &vm.images), new.map_or(&[][..], |vm| &vm.images));
        if images_old != images_new {
            for image in images_old {
                less(self.holds(image.0)?, "holds of an image");
            }
            for image in images_new {
                let holds = self.holds(image.0)?;
                *holds = holds.saturating_add(1);
            }
        }
        let (state_old, state_new) = (old.map(VmSummary::state_key), new.map(VmSummary::state_key));
        if state_old != state_new {
            if let Some(state) = state_old {
                less(self.count(state)?, "VMs in a state");
            }
            if let Some(state) = state_new {
                let count = self.count(state)?;
                *count = count.saturating_add(1);
            }
        }
        Ok(())
    }

    /// Writes the counts that were read or changed. A count of zero has no row.
    pub(crate) fn books_flush(&mut self) -> Result<(), Fault> {
        let books = std::mem::take(&mut self.books);
        for (host, usage) in books.usage {
            let row = (usage.vms, usage.held.cpu_milli, usage.held.memory_mib);
            if row == (0, 0, 0) {
                self.hot.host_usage.remove(host)?;
            } else {
                self.hot.host_usage.insert(host, row)?;
            }
        }
        for (image, holds) in books.holds {
            number_put(&mut self.hot.image_hold, image, holds)?;
        }
        for (state, count) in books.counts {
            if count == 0 {
                self.hot.state_count.remove(state)?;
            } else {
                self.hot.state_count.insert(state, count)?;
            }
        }
        Ok(())
    }
}

fn number_put(table: &mut Table<'_, u32, u64>, key: u32, value: u64) -> Result<(), Fault> {
    if value == 0 {
        table.remove(key)?;
    } else {
        table.insert(key, value)?;
    }
    Ok(())
}

impl Reader {
    /// The capacity that VMs hold on a host.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn usage(&self, host: HostId) -> Result<Usage, ReadError> {
        let table = self.table(HOST_USAGE)?;
        Ok(table.get(host.0).map_err(Fault::from)?.map(|row| usage_of(row.value())).unwrap_or_default())
    }

    /// The capacity that VMs hold, for every host where they hold any.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn usage_all(&self) -> Result<BTreeMap<HostId, Usage>, ReadError> {
        let table = self.table(HOST_USAGE)?;
        let rows = ReadableTable::iter(&table).map_err(Fault::from)?;
        rows.map(|row| row.map(|(host, usage)| (HostId(host.value()), usage_of(usage.value()))))
            .collect::<Result<_, _>>()
            .map_err(|error| Fault::from(error).into())
    }

    /// How many disks stand on an image.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn image_holds(&self, image: ImageId) -> Result<u64, ReadError> {
        Ok(self.table(IMAGE_HOLD)?.get(image.0).map_err(Fault::from)?.map_or(0, |row| row.value()))
    }

    /// For each image, how many disks stand on it. Images without any are left out.
    pub(crate) fn image_holds_all(&self) -> Result<BTreeMap<ImageId, u64>, ReadError> {
        let table = self.table(IMAGE_HOLD)?;
        let rows = ReadableTable::iter(&table).map_err(Fault::from)?;
        rows.map(|row| row.map(|(image, holds)| (ImageId(image.value()), holds.value())))
            .collect::<Result<_, _>>()
            .map_err(|error| Fault::from(error).into())
    }

    /// How many VMs are in each state. States without VMs are left out.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn state_counts(&self) -> Result<BTreeMap<State, u64>, ReadError> {
        let table = self.table(STATE_COUNT)?;
        let mut counts = BTreeMap::new();
        for row in ReadableTable::iter(&table).map_err(Fault::from)? {
            let (state, count) = row.map_err(Fault::from)?;
            // This version does not know the state. Then there are records in this state too, and they are reported.
            if let Ok(state) = state.value().parse() {
                counts.insert(state, count.value());
            }
        }
        Ok(counts)
    }
}
