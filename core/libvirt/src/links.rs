//! The links to the daemons that were called lately.

use crate::link::Link;
use crate::road::OpenTimes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A link that nobody asked for in this time is closed: its host was removed, switched off, or has
/// another URI now. The engine polls hosts that are in use much more often.
const UNUSED: Duration = Duration::from_secs(600);
/// The pause between two searches for such links.
const SWEEP: Duration = Duration::from_secs(60);

/// Links by URI.
pub(crate) struct Links {
    times: OpenTimes,
    table: Mutex<Table>,
}

struct Table {
    links: HashMap<String, Used>,
    swept: Instant,
}

struct Used {
    link: Arc<Link>,
    last: Instant,
}

impl Links {
    /// A table without links.
    pub(crate) fn new(times: OpenTimes) -> Self {
        Self { times, table: Mutex::new(Table { links: HashMap::new(), swept: Instant::now() }) }
    }

    /// The link of a URI, and the links that are no longer needed. The caller must drop those where
    /// a thread may block.
    pub(crate) fn get(&self, uri: &str) -> (Arc<Link>, Vec<Arc<Link>>) {
        self.get_at(uri, Instant::now())
    }

    fn get_at(&self, uri: &str, now: Instant) -> (Arc<Link>, Vec<Arc<Link>>) {
        // Only lookups and inserts happen under the lock.
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let used = table
            .links
            .entry(uri.to_owned())
            .or_insert_with(|| Used { link: Arc::new(Link::new(uri, self.times)), last: now });
        used.last = now;
        let link = Arc::clone(&used.link);
        (link, table.sweep(now))
    }
}

impl Table {
    fn sweep(&mut self, now: Instant) -> Vec<Arc<Link>> {
        if now.saturating_duration_since(self.swept) < SWEEP {
            return Vec::new();
        }
        self.swept = now;
        // A link that somebody holds may still be used. A link also remembers calls that nobody
        // waits for, and openings that hang. A new link would make as many openings again, each
        // with a thread and a socket.
        let is_unused = |used: &Used| {
            let long_ago = now.saturating_duration_since(used.last) > UNUSED;
            long_ago
                && Arc::strong_count(&used.link) == 1
                && used.link.locks.is_quiet()
                && !used.link.hangs()
        };
        self.links.extract_if(|_, used| is_unused(used)).map(|(_, used)| used.link).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_model::VmUuid;
    use uuid::Uuid;

    #[test]
    fn a_link_is_dropped_when_it_is_long_unused_and_nobody_is_at_work() {
        let second = Duration::from_secs(1);
        let links = Links::new(OpenTimes { wait: second, give_up: second });
        let start = Instant::now();
        let later = |times: u32| start + (UNUSED + SWEEP) * times;
        let (busy, _) = links.get_at("test:///busy", start);
        let (idle, _) = links.get_at("test:///idle", start);
        let held = links.get_at("test:///held", start).0;
        let hanging = links.get_at("test:///hangs", start).0;
        hanging.express.counts_a_hanging_opening();
        drop(hanging);
        let (ticket, worker) = busy.locks.begin(VmUuid(Uuid::from_u128(1)), None);
        drop((busy, idle));
        assert_eq!(
            links.get_at("test:///new", later(1)).1.len(),
            1,
            "only the one that nobody needs"
        );
        assert_eq!(links.get_at("test:///new", later(1)).1.len(), 0, "once a minute is enough");
        drop((ticket, worker, held));
        assert_eq!(links.get_at("test:///new", later(2)).1.len(), 2);
        assert_eq!(links.get_at("test:///new", later(3)).1.len(), 0, "it is in use");
    }
}
