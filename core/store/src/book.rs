//! The books: what VMs hold, by book and thing, and how many VMs are in each state. They are
//! derived from the records, in the transaction that changes the records. During a batch they are
//! kept in memory, and they are written at its end, because the VMs of a batch share few hosts.

use crate::batch::Batch;
use crate::error::{Fault, ReadError};
use crate::read::Reader;
use crate::summary::VmSummary;
use crate::tables::{BOOK, STATE_COUNT};
use ostler_model::{Amount, Book, BookKey, Holding, HostId, ImageId, State, Usage, VmId};
use redb::ReadableTable;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The sums and counts that a batch has read or changed.
#[derive(Debug, Default)]
pub(crate) struct Books {
    sums: HashMap<(Book, BookKey), Amount>,
    counts: HashMap<&'static str, u64>,
}

/// The value of a row of the table `book`.
type Sum = (u64, u64, u64);

const fn amount_of((a, b, c): Sum) -> Amount {
    Amount([a, b, c])
}

const fn usage_of(amount: Amount) -> Usage {
    Usage { vms: amount.0[0], held: amount.capacity() }
}

/// Whose claims are judged, and against what.
pub(crate) struct Claimant<'a> {
    /// The VM. None if the commit is of no VM.
    pub(crate) vm: Option<VmId>,
    /// What it holds now.
    pub(crate) old: &'a [Holding],
    /// What it will hold.
    pub(crate) new: &'a [Holding],
    /// The VM that the same commit forgets. It has nothing any more.
    pub(crate) goes: Option<VmId>,
}

impl<'a> Claimant<'a> {
    pub(crate) fn new(
        old: Option<&'a VmSummary>,
        new: Option<&'a VmSummary>,
        goes: Option<VmId>,
    ) -> Self {
        let holdings = |vm: Option<&'a VmSummary>| vm.map_or(&[][..], |vm| &vm.holdings);
        Self { vm: new.map(|vm| vm.id), old: holdings(old), new: holdings(new), goes }
    }
}

impl Batch<'_> {
    /// What VMs hold of a thing now, as this batch sees it.
    pub(crate) fn sum(&mut self, book: Book, key: &BookKey) -> Result<&mut Amount, Fault> {
        use std::collections::hash_map::Entry;
        match self.books.sums.entry((book, key.clone())) {
            Entry::Occupied(page) => Ok(page.into_mut()),
            Entry::Vacant(page) => {
                let kept = self
                    .hot
                    .book
                    .get((book.into(), key.as_str()))?
                    .map(|row| amount_of(row.value()))
                    .unwrap_or_default();
                Ok(page.insert(kept))
            }
        }
    }

    /// How many disks stand on an image now, as this batch sees it.
    pub(crate) fn holds(&mut self, image: ImageId) -> Result<u64, Fault> {
        Ok(self.sum(Book::Image, &image.into())?.0[0])
    }

    fn count(&mut self, state: &'static str) -> Result<&mut u64, Fault> {
        use std::collections::hash_map::Entry;
        match self.books.counts.entry(state) {
            Entry::Occupied(page) => Ok(page.into_mut()),
            Entry::Vacant(page) => {
                Ok(page.insert(self.hot.state_count.get(state)?.map_or(0, |row| row.value())))
            }
        }
    }

    /// Changes the books for the change of one VM.
    pub(crate) fn books_enter(
        &mut self,
        id: u64,
        old: Option<&VmSummary>,
        new: Option<&VmSummary>,
    ) -> Result<(), Fault> {
        let holdings =
            |vm: Option<&VmSummary>| vm.map(|vm| vm.holdings.clone()).unwrap_or_default();
        let (before, after) = (holdings(old), holdings(new));
        if before != after {
            self.sums_enter(&before, &after)?;
            self.owners_enter(id, &before, &after)?;
        }
        let (state_old, state_new) = (old.map(VmSummary::state_key), new.map(VmSummary::state_key));
        if state_old != state_new {
            if let Some(state) = state_old {
                let count = self.count(state)?;
                if *count == 0 {
                    below_zero("VMs in a state");
                }
                *count = count.saturating_sub(1);
            }
            if let Some(state) = state_new {
                let count = self.count(state)?;
                *count = count.saturating_add(1);
            }
        }
        Ok(())
    }

    fn sums_enter(&mut self, before: &[Holding], after: &[Holding]) -> Result<(), Fault> {
        for (Holding { book, key, .. }, amount) in
            before.iter().filter_map(|held| Some((held, held.amount?)))
        {
            let sum = self.sum(*book, key)?;
            if !amount.within(*sum) {
                below_zero(book.into());
            }
            *sum = sum.less(amount);
        }
        for (Holding { book, key, .. }, amount) in
            after.iter().filter_map(|held| Some((held, held.amount?)))
        {
            let sum = self.sum(*book, key)?;
            *sum = sum.plus(amount);
        }
        Ok(())
    }

    /// Updates the rows that say which VM has a thing.
    fn owners_enter(
        &mut self,
        id: u64,
        before: &[Holding],
        after: &[Holding],
    ) -> Result<(), Fault> {
        let owned = |held: &[Holding]| -> BTreeSet<(&'static str, String)> {
            let sole = held.iter().filter(|held| held.amount.is_none());
            sole.map(|held| (held.book.into(), held.key.to_string())).collect()
        };
        let (before, after) = (owned(before), owned(after));
        for (book, key) in before.difference(&after) {
            self.hot.holder.remove((*book, key.as_str(), id))?;
        }
        for (book, key) in after.difference(&before) {
            self.hot.holder.insert((*book, key.as_str(), id), ())?;
        }
        Ok(())
    }

    /// Writes the sums and counts that were read or changed. A sum or count of zero has no row.
    pub(crate) fn books_flush(&mut self) -> Result<(), Fault> {
        let books = std::mem::take(&mut self.books);
        // In order, so that a batch is logged in the same way each time.
        for ((book, key), sum) in books.sums.into_iter().collect::<BTreeMap<_, _>>() {
            let row = (book.into(), key.as_str());
            if sum == Amount::default() {
                self.hot.book.remove(row)?;
            } else {
                let [a, b, c] = sum.0;
                self.hot.book.insert(row, (a, b, c))?;
            }
        }
        for (state, count) in books.counts.into_iter().collect::<BTreeMap<_, _>>() {
            if count == 0 {
                self.hot.state_count.remove(state)?;
            } else {
                self.hot.state_count.insert(state, count)?;
            }
        }
        Ok(())
    }
}

/// Reports a number that would fall below zero. The check finds it too. To stop here would help
/// nobody.
fn below_zero(what: &'static str) {
    tracing::error!(what, "the books would fall below zero: have the store checked");
}

impl Reader {
    /// What VMs hold of a thing.
    fn sum(&self, book: Book, key: &BookKey) -> Result<Amount, ReadError> {
        let row = self.table(BOOK)?.get((book.into(), key.as_str())).map_err(Fault::from)?;
        Ok(row.map(|row| amount_of(row.value())).unwrap_or_default())
    }

    /// Every thing of a book of which VMs hold any.
    fn sums(&self, book: Book) -> Result<Vec<(String, Amount)>, ReadError> {
        let table = self.table(BOOK)?;
        let name: &'static str = book.into();
        let mut found = Vec::new();
        for row in table.range((name, "")..).map_err(Fault::from)? {
            let (key, sum) = row.map_err(Fault::from)?;
            let (of, thing) = key.value();
            if of != name {
                break;
            }
            found.push((thing.to_owned(), amount_of(sum.value())));
        }
        Ok(found)
    }

    /// The capacity that VMs hold on a host.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn usage(&self, host: HostId) -> Result<Usage, ReadError> {
        Ok(usage_of(self.sum(Book::Host, &host.into())?))
    }

    /// The capacity that VMs hold, for every host where they hold any.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn usage_all(&self) -> Result<BTreeMap<HostId, Usage>, ReadError> {
        let rows = self.sums(Book::Host)?.into_iter();
        // A key that is no id is of no host. The check reports it.
        Ok(rows.filter_map(|(host, sum)| Some((host.parse().ok()?, usage_of(sum)))).collect())
    }

    /// How many disks stand on an image.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn image_holds(&self, image: ImageId) -> Result<u64, ReadError> {
        Ok(self.sum(Book::Image, &image.into())?.0[0])
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
            // This version does not know the state. Then there are records in this state too, and
            // they are reported.
            if let Ok(state) = state.value().parse() {
                counts.insert(state, count.value());
            }
        }
        Ok(counts)
    }
}
