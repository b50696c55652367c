//! Books and claims: what VMs hold of things that they share or must not share, and what must be
//! true before they may hold it.
//!
//! A *book* says, for one kind of thing, how much of each thing is held, or who has it.
//! [`VmRecord::holdings`] is the only function that says what a VM holds. The books, their check,
//! and all claims follow from it. So a new kind of claim is a new [`Book`], a part of `holdings`,
//! and the [`Terms`] of the thing; the code that judges claims stays as it is.

use crate::{
    Capacity, Host, HostId, HostState, Image, ImageId, ImageState, MacAddress, VmId, VmName,
    VmRecord,
};
use serde::{Deserialize, Serialize};
use std::fmt;
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

/// A book: one kind of thing that VMs hold.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    IntoStaticStr,
    EnumIter,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Book {
    /// The capacity of hosts: VMs, thousandths of a CPU, MiB.
    Host,
    /// Images, by the number of disks that stand on them.
    Image,
    /// Network addresses. Only one VM may hold each of them.
    Mac,
}

impl Book {
    /// The advice for an operator of a store in which two VMs have one thing of this book. Older
    /// daemons did not check.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Mac => "detach it from all but one, and attach another",
            Self::Host | Self::Image => "delete all of them but one",
        }
    }

    /// The words for one thing of this book.
    #[must_use]
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Image => "image",
            Self::Mac => "network address",
        }
    }
}

/// Names one thing in a book: the id or the name that it has there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BookKey(String);

impl BookKey {
    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BookKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<HostId> for BookKey {
    fn from(id: HostId) -> Self {
        Self(id.to_string())
    }
}

impl From<ImageId> for BookKey {
    fn from(id: ImageId) -> Self {
        Self(id.to_string())
    }
}

impl From<&MacAddress> for BookKey {
    fn from(mac: &MacAddress) -> Self {
        Self(mac.to_string())
    }
}

/// An amount of a thing, in up to three parts. Each part has a sum and a limit of its own. Each
/// book says what its parts are.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct Amount(pub [u64; 3]);

impl Amount {
    /// One, for books that only count.
    pub const ONE: Self = Self([1, 0, 0]);
    /// No bound, in any part.
    pub const UNBOUNDED: Self = Self([u64::MAX; 3]);

    fn each(self, other: Self, of: impl Fn(u64, u64) -> u64) -> Self {
        let ([a, b, c], [x, y, z]) = (self.0, other.0);
        Self([of(a, x), of(b, y), of(c, z)])
    }

    /// Sum, saturating.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.each(other, u64::saturating_add)
    }

    /// Difference. A part that would be below zero is zero.
    #[must_use]
    pub fn less(self, other: Self) -> Self {
        self.each(other, u64::saturating_sub)
    }

    /// Whether no part is larger than the same part of `bound`.
    #[must_use]
    pub fn within(self, bound: Self) -> bool {
        self.0.iter().zip(bound.0).all(|(part, bound)| *part <= bound)
    }

    /// The capacity in an amount of the book of hosts.
    #[must_use]
    pub const fn capacity(self) -> Capacity {
        let [_, cpu_milli, memory_mib] = self.0;
        Capacity { cpu_milli, memory_mib }
    }
}

/// What one VM with this capacity holds of its host.
impl From<Capacity> for Amount {
    fn from(capacity: Capacity) -> Self {
        Self([1, capacity.cpu_milli, capacity.memory_mib])
    }
}

/// What a VM holds of one thing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Holding {
    /// The book.
    pub book: Book,
    /// The thing.
    pub key: BookKey,
    /// How much of it. None: all of it. No other VM may have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Amount>,
}

/// What a VM holds of one thing, if it holds any of it.
#[must_use]
pub fn holding_of<'a>(holdings: &'a [Holding], book: Book, key: &BookKey) -> Option<&'a Holding> {
    holdings.iter().find(|held| held.book == book && held.key == *key)
}

/// The things that `new` holds and `old` does not.
pub fn held_anew<'a>(old: &'a [Holding], new: &'a [Holding]) -> impl Iterator<Item = &'a Holding> {
    new.iter().filter(|held| holding_of(old, held.book, &held.key).is_none())
}

/// The rule by which a claim is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// The thing exists and takes the VM. What is held of it may be more than its limit.
    Open,
    /// As `Open`, and the VM's amount fits into the limit.
    Limit,
    /// No other VM has the thing.
    Sole,
}

impl Bound {
    /// [`Self::Limit`] if the limit is to be enforced.
    #[must_use]
    pub const fn enforced(enforce: bool) -> Self {
        if enforce { Self::Limit } else { Self::Open }
    }
}

/// What a decision wants to be judged. [`VmRecord::claims`] makes claims of it, once the record is
/// as it will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The book.
    pub book: Book,
    /// The thing.
    pub key: BookKey,
    /// The rule.
    pub bound: Bound,
}

impl Ask {
    /// Room on a host.
    #[must_use]
    pub fn room(host: HostId, enforce: bool) -> Self {
        Self { book: Book::Host, key: host.into(), bound: Bound::enforced(enforce) }
    }

    /// Asks whether an image is ready, so that a disk may stand on it.
    #[must_use]
    pub fn image(image: ImageId) -> Self {
        Self { book: Book::Image, key: image.into(), bound: Bound::Open }
    }
}

/// A condition that must hold inside the transaction. Claims are judged in order, against the books
/// as they are there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// What the VM is to hold.
    #[serde(flatten)]
    pub holding: Holding,
    /// The rule by which this is judged.
    pub bound: Bound,
}

/// Whom a thing takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Takes {
    /// Every VM.
    All,
    /// Only VMs that hold some of it already.
    Holders,
    /// No VM.
    Nobody,
}

/// The conditions for holding a thing: who may hold it, and how much. They are read from the row of
/// the thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Its name, for messages.
    pub called: String,
    /// Its state, for messages.
    pub state: String,
    /// Whom it takes.
    pub takes: Takes,
    /// How much of it may be held.
    pub limit: Amount,
}

impl Terms {
    /// The terms of a thing that has no row: it needs none, and any VM may hold it.
    #[must_use]
    pub fn of_none(key: &BookKey) -> Self {
        Self {
            called: key.to_string(),
            state: String::new(),
            takes: Takes::All,
            limit: Amount::UNBOUNDED,
        }
    }
}

impl Host {
    /// The conditions for holding capacity here.
    #[must_use]
    pub fn terms(&self) -> Terms {
        let takes = match self.state {
            HostState::On => Takes::All,
            // A draining host keeps the VMs that it has.
            HostState::Draining => Takes::Holders,
            HostState::Off => Takes::Nobody,
        };
        let Capacity { cpu_milli, memory_mib } = self.total;
        let limit = Amount([u64::MAX, cpu_milli, memory_mib]);
        Terms { called: self.name.to_string(), state: self.state.to_string(), takes, limit }
    }
}

impl Image {
    /// The conditions for a disk that is to stand on it.
    #[must_use]
    pub fn terms(&self) -> Terms {
        let takes = if self.state == ImageState::Ready { Takes::All } else { Takes::Nobody };
        Terms {
            called: self.name.to_string(),
            state: self.state.to_string(),
            takes,
            limit: Amount::UNBOUNDED,
        }
    }
}

/// What the books say of one thing, at the moment when a claim to it is judged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// The terms of the thing. None if there is no such thing.
    pub terms: Option<Terms>,
    /// What the VM of the claim holds of it already.
    pub own: Option<Amount>,
    /// What all VMs hold of it, this one included.
    pub held: Amount,
    /// Another VM that has it.
    pub owner: Option<(VmId, VmName)>,
}

impl Claim {
    /// The claims that follow from what is held anew. A thing that only one VM may hold is never
    /// taken from that VM, even if the decision does not ask for the claim.
    pub fn implied<'a>(old: &'a [Holding], new: &'a [Holding]) -> impl Iterator<Item = Self> + 'a {
        held_anew(old, new)
            .filter(|held| held.amount.is_none())
            .map(|held| Self { holding: held.clone(), bound: Bound::Sole })
    }

    /// Judges the claim.
    ///
    /// # Errors
    /// What is lacking, if it does not hold.
    pub fn judge(&self, page: &Page) -> Result<(), Lack> {
        let Some(terms) = &page.terms else { return Err(Lack::Missing) };
        let taken = match terms.takes {
            Takes::All => true,
            Takes::Holders => page.own.is_some(),
            Takes::Nobody => false,
        };
        if !taken {
            return Err(Lack::Closed { called: terms.called.clone(), state: terms.state.clone() });
        }
        match self.bound {
            Bound::Open => Ok(()),
            Bound::Limit => {
                let (own, wanted) =
                    (page.own.unwrap_or_default(), self.holding.amount.unwrap_or_default());
                let taken = page.held.less(own);
                let whole = taken.plus(wanted);
                // The VM does not need free room for what it holds already. So of a thing that is
                // too full it may keep what it has, and may hold less.
                let fits = |part: usize| {
                    wanted.0[part] <= own.0[part] || whole.0[part] <= terms.limit.0[part]
                };
                if (0..wanted.0.len()).all(fits) {
                    return Ok(());
                }
                Err(Lack::Full { called: terms.called.clone(), taken, limit: terms.limit })
            }
            Bound::Sole => match &page.owner {
                None => Ok(()),
                Some((by, name)) => Err(Lack::Taken { by: *by, name: name.clone() }),
            },
        }
    }
}

/// Why a claim does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Lack {
    /// There is no such thing.
    Missing,
    /// The thing takes no VMs, or not this one.
    Closed {
        /// The name of the thing.
        called: String,
        /// Its state.
        state: String,
    },
    /// It does not fit.
    Full {
        /// The name of the thing.
        called: String,
        /// What the other VMs hold of it.
        taken: Amount,
        /// How much of it there is.
        limit: Amount,
    },
    /// Another VM has it.
    Taken {
        /// That VM.
        by: VmId,
        /// Its name.
        name: VmName,
    },
}

/// The first claim that did not hold. Nothing of that VM was committed. Its `Display` is for logs;
/// people are shown the words that `server` makes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("a claim does not hold: {claim:?}, {lack:?}")]
pub struct ClaimRefused {
    /// The claim.
    pub claim: Claim,
    /// What is lacking.
    pub lack: Lack,
}

impl VmRecord {
    /// Everything that the VM holds in any book, each thing once. This is the only place that says
    /// so.
    #[must_use]
    pub fn holdings(&self) -> Vec<Holding> {
        let places = self.held().into_iter().chain(self.held_too());
        let mut held: Vec<Holding> = places
            .map(|(host, capacity)| Holding {
                book: Book::Host,
                key: host.into(),
                amount: Some(capacity.into()),
            })
            .collect();
        for image in self.images_held() {
            enter(&mut held, Book::Image, image.into(), Some(Amount::ONE));
        }
        for mac in self.macs_held() {
            enter(&mut held, Book::Mac, (&mac).into(), None);
        }
        held
    }

    /// The claims that this record makes where a decision asks for them. All amounts are those of
    /// [`Self::holdings`].
    #[must_use]
    pub fn claims(&self, asked: &[Ask]) -> Vec<Claim> {
        if asked.is_empty() {
            return Vec::new();
        }
        let held = self.holdings();
        let claim = |Ask { book, key, bound }: &Ask| {
            let nothing =
                || Holding { book: *book, key: key.clone(), amount: Some(Amount::default()) };
            Claim {
                holding: holding_of(&held, *book, key).cloned().unwrap_or_else(nothing),
                bound: *bound,
            }
        };
        asked.iter().map(claim).collect()
    }
}

/// Adds to what is held of a thing.
fn enter(held: &mut Vec<Holding>, book: Book, key: BookKey, amount: Option<Amount>) {
    match held.iter_mut().find(|known| known.book == book && known.key == key) {
        Some(known) => known.amount = known.amount.zip(amount).map(|(has, more)| has.plus(more)),
        None => held.push(Holding { book, key, amount }),
    }
}

#[cfg(test)]
mod tests;
