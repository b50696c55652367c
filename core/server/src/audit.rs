//! Makes events when a driver is denied a capability. They are so few that a driver which asks in a
//! loop cannot push all other events out of the feed.
//!
//! The first denial of a driver and a capability is an event and a line of the log at once. Later
//! ones are counted, and reported at most once a minute.

use crate::clock::now;
use ostler_model::{DriverName, EventKind};
use ostler_store::{Commit, EventDraft, Store};
use ostler_wasm::AuditSink;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Denials that wait to be committed: more than all drivers and capabilities make in a minute.
const DENIALS_WAITING: usize = 256;
/// For one driver and one capability, at most one event is made in this time.
const EVERY: Duration = Duration::from_secs(60);

/// A driver and a capability. Of `exec:NAME` it has only `exec`: a driver may make up names without
/// end, and each would take memory.
type About = (DriverName, String);

/// When the last event was made, and how many denials came since.
struct Said {
    at: Instant,
    more: u64,
    /// The text of the last of these denials.
    detail: String,
}

/// The denials, for each driver and capability.
#[derive(Default)]
struct Denials(BTreeMap<About, Said>);

impl Denials {
    /// True if an event is to be made of this denial now. Otherwise the denial is counted.
    fn enter(&mut self, about: &About, detail: &str, now: Instant) -> bool {
        match self.0.get_mut(about) {
            Some(said) => {
                said.more += 1;
                detail.clone_into(&mut said.detail);
                false
            }
            None => {
                self.0.insert(about.clone(), Said { at: now, more: 0, detail: String::new() });
                true
            }
        }
    }

    /// The events to make of denials that were counted. An entry without a new denial in [`EVERY`]
    /// is removed, so that the next denial is an event at once.
    fn due(&mut self, now: Instant) -> Vec<(About, String)> {
        let mut due = Vec::new();
        self.0.retain(|about, said| {
            if now.saturating_duration_since(said.at) < EVERY {
                return true;
            }
            if said.more == 0 {
                return false;
            }
            due.push((
                about.clone(),
                format!(
                    "{} more times since it was told last, the last time: {}",
                    said.more, said.detail
                ),
            ));
            (said.at, said.more) = (now, 0);
            true
        });
        due
    }
}

/// Makes events of denials.
pub(crate) struct AuditTrail {
    denials: Arc<Mutex<Denials>>,
    queue: mpsc::Sender<EventDraft>,
}

impl AuditTrail {
    /// Starts the task that commits events to `store`. The task ends when the trail is dropped.
    pub(crate) fn start(store: Store) -> Self {
        let (queue, mut waiting) = mpsc::channel::<EventDraft>(DENIALS_WAITING);
        let denials: Arc<Mutex<Denials>> = Arc::default();
        let counted = Arc::clone(&denials);
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(EVERY / 4);
            loop {
                let events = tokio::select! {
                    denial = waiting.recv() => match denial {
                        Some(denial) => vec![denial],
                        None => return,
                    },
                    _ = ticks.tick() => {
                        let mut counted = counted.lock().unwrap_or_else(PoisonError::into_inner);
                        let due = counted.due(Instant::now());
                        due.into_iter().map(|(about, detail)| told(about, detail)).collect()
                    }
                };
                if events.is_empty() {
                    continue;
                }
                if let Err(err) = store.commit(Commit { events, ..Commit::default() }).await {
                    tracing::warn!(%err, "a denial could not be written down");
                }
            }
        });
        Self { denials, queue }
    }
}

/// Makes the event, and writes a line of the log.
fn told((driver, capability): About, detail: String) -> EventDraft {
    tracing::warn!(%driver, capability, detail, "driver denied");
    let kind = EventKind::Denied { driver: driver.to_string(), capability, detail };
    EventDraft { at: now(), vm: None, version: None, kind }
}

impl AuditSink for AuditTrail {
    fn denied(&self, driver: &DriverName, capability: &str, detail: &str) {
        let about = (driver.clone(), capability.split(':').next().unwrap_or_default().to_owned());
        // A poisoned lock is used as it is: after a panic a count may be one too low, and nothing
        // else is wrong.
        let first = self.denials.lock().unwrap_or_else(PoisonError::into_inner).enter(
            &about,
            detail,
            Instant::now(),
        );
        if first {
            // If the queue is full, only the log has this denial.
            let _ = self.queue.try_send(told((about.0, capability.to_owned()), detail.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_and_the_others_are_counted() {
        let (mut denials, begun) = (Denials::default(), Instant::now());
        let about = |capability: &str| ("d".parse().expect("a name"), capability.to_owned());
        assert!(denials.enter(&about("files"), "first", begun));
        for number in 0..1000 {
            assert!(!denials.enter(&about("files"), &format!("number {number}"), begun));
        }
        assert!(denials.enter(&about("exec"), "another capability", begun));
        assert!(denials.due(begun + EVERY / 2).is_empty(), "not yet");
        let told = denials.due(begun + EVERY);
        assert_eq!(
            told,
            [(
                about("files"),
                "1000 more times since it was told last, the last time: number 999".to_owned()
            )]
        );
        assert!(denials.due(begun + EVERY).is_empty(), "told once");
        assert!(!denials.enter(&about("files"), "again", begun + EVERY));
        assert_eq!(denials.due(begun + 2 * EVERY).len(), 1);
        assert!(denials.due(begun + 3 * EVERY).is_empty());
        assert!(denials.0.is_empty(), "who is quiet is forgotten");
        assert!(denials.enter(&about("files"), "anew", begun + 3 * EVERY));
    }
}
