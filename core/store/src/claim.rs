//! Judges claims, whatever book they are of. The only thing that depends on the book is the row
//! with the terms of a thing: [`Batch::terms`] reads it. [`ostler_model::Claim`] says by which rule
//! a claim is judged, [`ostler_model::VmRecord::holdings`] says how much a VM holds.

use crate::batch::Batch;
use crate::book::Claimant;
use crate::error::{Fault, ReadError};
use ostler_model::{
    Book, BookKey, Claim, ClaimRefused, Holding, HostId, ImageId, Page, Resource, Terms, VmId,
    held_anew, holding_of,
};
use redb::ReadableTable;

impl Batch<'_> {
    /// The conditions for holding a thing, read from its row. If it needs a row and has none, the
    /// error names it.
    fn terms(&self, book: Book, key: &BookKey) -> Result<Result<Terms, Resource>, ReadError> {
        // The key of a host or of an image is made of its id. `u32::MAX` is never used as an id, so
        // a key that is not a number finds no row.
        let id = key.as_str().parse().unwrap_or(u32::MAX);
        Ok(match book {
            Book::Host => {
                self.host(HostId(id))?.map(|host| host.terms()).ok_or(Resource::Host(HostId(id)))
            }
            Book::Image => self
                .image(ImageId(id))?
                .map(|image| image.terms())
                .ok_or(Resource::Image(ImageId(id))),
            Book::Mac => Ok(Terms::of_none(key)),
        })
    }

    /// Judges the claims of a decision in their order, and then those that follow from what is held
    /// anew. Answers the first one that does not hold.
    pub(crate) fn claims_refused(
        &mut self,
        claims: impl IntoIterator<Item = Claim>,
        by: &Claimant<'_>,
    ) -> Result<Option<ClaimRefused>, ReadError> {
        for claim in claims {
            let Holding { book, key, .. } = &claim.holding;
            let page = Page {
                terms: self.terms(*book, key)?.ok(),
                own: holding_of(by.old, *book, key).map(|held| held.amount.unwrap_or_default()),
                held: *self.sum(*book, key)?,
                owner: self.other_owner(*book, key, by)?,
            };
            if let Err(lack) = claim.judge(&page) {
                return Ok(Some(ClaimRefused { claim, lack }));
            }
        }
        Ok(None)
    }

    /// A thing that is held anew and that is not there.
    pub(crate) fn missing_thing(&self, by: &Claimant<'_>) -> Result<Option<Resource>, ReadError> {
        for held in held_anew(by.old, by.new) {
            if let Err(missing) = self.terms(held.book, &held.key)? {
                return Ok(Some(missing));
            }
        }
        Ok(None)
    }

    /// Another VM that has the thing, with its name.
    fn other_owner(
        &self,
        book: Book,
        key: &BookKey,
        by: &Claimant<'_>,
    ) -> Result<Option<(VmId, ostler_model::VmName)>, ReadError> {
        let (book, key) = (book.into(), key.as_str());
        for row in
            self.hot.holder.range((book, key, 0)..=(book, key, u64::MAX)).map_err(Fault::from)?
        {
            let owner = VmId(row.map_err(Fault::from)?.0.value().2);
            if Some(owner) != by.vm && by.goes != Some(owner) {
                // If that VM has no summary, the books are damaged. Its id is told instead of its
                // name, and the thing is not given to another VM.
                let name = self
                    .vm_summary(owner)?
                    .map(|vm| vm.name)
                    .or_else(|| owner.to_string().parse().ok());
                return Ok(name.map(|name| (owner, name)));
            }
        }
        Ok(None)
    }
}
