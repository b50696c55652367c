//! Keeps answers, for repeats of the same request.

use crate::batch::Batch;
use crate::commit::{Committed, IdempotencyRow};
use crate::error::{Fault, ReadError};
use crate::read::Reader;
use crate::row;
use crate::tables::IDEMPOTENCY;
use ostler_model::{Millis, Timestamp};
use redb::ReadableTable;

/// How long an answer is kept. If a client comes back after more than a day, its request is a new
/// one.
pub const IDEMPOTENCY_KEPT: Millis = Millis::secs(24 * 3600);
/// How many old answers are forgotten for each new one, at most. It is above 1, so that forgetting
/// keeps up.
const TRIM_MAX: usize = 4;

fn over(row_at: Timestamp, now: Timestamp) -> bool {
    row_at.plus(IDEMPOTENCY_KEPT) <= now
}

impl Batch<'_> {
    /// Finds the answer that was given to the same request before.
    pub(crate) fn idempotency_seen(
        &self,
        asked: &IdempotencyRow,
    ) -> Result<Option<Committed>, ReadError> {
        Ok(match self.idempotency_get(asked)? {
            None => None,
            Some(kept) if over(kept.at, asked.at) => None,
            Some(kept) if kept.body_hash == asked.body_hash => Some(Committed::Replayed(kept)),
            Some(_) => Some(Committed::IdempotencyConflict),
        })
    }

    fn idempotency_get(&self, asked: &IdempotencyRow) -> Result<Option<IdempotencyRow>, ReadError> {
        let kept = self
            .hot
            .idempotency
            .get((asked.who.as_str(), asked.route.as_str(), asked.key.as_str()))
            .map_err(Fault::from)?;
        Ok(kept.map(|kept| row::decode(kept.value(), &asked.key)).transpose()?)
    }

    /// Keeps an answer, and forgets a few answers that are too old.
    pub(crate) fn idempotency_put(
        &mut self,
        row: &IdempotencyRow,
        kept: &[u8],
    ) -> Result<(), ReadError> {
        let (who, route, key) = (row.who.as_str(), row.route.as_str(), row.key.as_str());
        if let Some(old) = self.idempotency_get(row)? {
            self.hot.idempotency_by_age.remove((old.at.0, who, route, key)).map_err(Fault::from)?;
        }
        self.hot.idempotency.insert((who, route, key), kept).map_err(Fault::from)?;
        self.hot.idempotency_by_age.insert((row.at.0, who, route, key), ()).map_err(Fault::from)?;
        self.idempotency_trim(row.at)?;
        Ok(())
    }

    fn idempotency_trim(&mut self, now: Timestamp) -> Result<(), Fault> {
        for _ in 0..TRIM_MAX {
            let Some((at, who, route, key)) =
                self.hot.idempotency_by_age.first()?.map(|(age, _)| {
                    let (at, who, route, key) = age.value();
                    (at, who.to_owned(), route.to_owned(), key.to_owned())
                })
            else {
                return Ok(());
            };
            if !over(Timestamp(at), now) {
                return Ok(());
            }
            self.hot.idempotency.remove((who.as_str(), route.as_str(), key.as_str()))?;
            self.hot.idempotency_by_age.remove((at, who.as_str(), route.as_str(), key.as_str()))?;
        }
        Ok(())
    }
}

impl Reader {
    /// The answer that is kept for a key at the time `now`. If there is one, the request need not
    /// be decided at all. If there is none, the commit of the request checks this again.
    ///
    /// # Errors
    /// When the store or the row cannot be read.
    pub fn idempotency(
        &self,
        who: &str,
        route: &str,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<IdempotencyRow>, ReadError> {
        let kept = self.table(IDEMPOTENCY)?.get((who, route, key)).map_err(Fault::from)?;
        let row: Option<IdempotencyRow> =
            kept.map(|kept| row::decode(kept.value(), key)).transpose()?;
        Ok(row.filter(|row| !over(row.at, now)))
    }
}
