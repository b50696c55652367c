//! Keeps summaries that were parsed before. A page of a list costs mostly parsing, and most VMs
//! have not changed since the page was last read.
//!
//! **Invariant:** A summary is handed out only for exactly the bytes that it was parsed from. So no
//! entry ever becomes wrong, and readers of any age may share them.

use crate::error::RowError;
use crate::row;
use crate::summary::VmSummary;
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

/// How many summaries are kept, at most, at about 700 bytes each. If it is full, it is emptied:
/// this costs one round of parsing.
const SUMMARIES_MAX: usize = 16 * 1024;

struct Kept {
    bytes: Box<[u8]>,
    summary: VmSummary,
}

/// Summaries by VM id.
#[derive(Default)]
pub(crate) struct SummaryCache(RwLock<HashMap<u64, Kept>>);

impl SummaryCache {
    /// The summary in these bytes.
    pub(crate) fn decode(&self, bytes: &[u8], id: u64) -> Result<VmSummary, RowError> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = known.get(&id).filter(|kept| *kept.bytes == *bytes) {
            return Ok(kept.summary.clone());
        }
        drop(known);
        let summary: VmSummary = row::decode(bytes, id)?;
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= SUMMARIES_MAX && !known.contains_key(&id) {
            known.clear();
        }
        known.insert(id, Kept { bytes: bytes.into(), summary: summary.clone() });
        Ok(summary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::vm;

    #[test]
    fn other_bytes_are_another_summary() {
        let cache = SummaryCache::default();
        let (old, mut changed) = (vm(1), vm(1));
        changed.version.0 += 1;
        let (old, changed) = (VmSummary::from(&old), VmSummary::from(&changed));
        for summary in [&old, &changed, &old, &old] {
            let bytes = row::encode(summary).expect("encodes");
            assert_eq!(cache.decode(&bytes, 1).expect("decodes"), *summary);
        }
        assert!(cache.decode(b"{}", 1).is_err());
    }

    #[test]
    fn it_is_bounded() {
        let cache = SummaryCache::default();
        let bytes = row::encode(&VmSummary::from(&vm(1))).expect("encodes");
        for id in 0..=SUMMARIES_MAX as u64 {
            cache.decode(&bytes, id).expect("decodes");
        }
        assert_eq!(cache.0.read().expect("whole").len(), 1);
    }
}
