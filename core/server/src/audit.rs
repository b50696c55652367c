//! Makes events of what drivers are denied, few enough that a driver which asks in a loop cannot push all other events out.
//!
//! The first denial of a driver and a capability is an event and a line of the log at once. More of the same are counted, and told once
//! a minute.

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
/// How often the same driver is told of for the same capability.
const EVERY: Duration = Duration::from_secs(60);

/// A driver and what it wanted: of `exec:NAME` only `exec`, for a driver may make up names without end.
type About = (DriverName, String);

/// What was said last, and what is not said yet.
struct Said {
    at: Instant,
    more: u64,
    /// The last of those.
    detail: String,
}

/// Who was denied what, and when that was said.
#[derive(Default)]
struct Denials(BTreeMap<About, Said>);

impl Denials {
    /// Whether to say this one now; else it is counted.
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

    /// What is to be said of those that were counted. Those that gave no more cause are forgotten, and begin anew.
    fn due(&mut self, now: Instant) -> Vec<(About, String)> {
        let mut due = Vec::new();
        self.0.retain(|about, said| {
            if now.saturating_duration_since(said.at) < EVERY {
                return true;
            }
            if said.more == 0 {
                return false;
            }
            due.push((about.clone(), format!("{} more times since it was told last, the last time: {}", said.more, said.detail)));
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
    /// One whose events go to `store`. Ends with the last sender.
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
                        let due = counted.lock().unwrap_or_else(PoisonError::into_inner).due(Instant::now());
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

/// The event, which is in the log as well.
fn told((driver, capability): About, detail: String) -> EventDraft {
    tracing::warn!(%driver, capability, detail, "driver denied");
    let kind = EventKind::Denied { driver: driver.to_string(), capability, detail };
    EventDraft { at: now(), vm: None, version: None, kind }
}

impl AuditSink for AuditTrail {
    fn denied(&self, driver: &DriverName, capability: &str, detail: &str) {
        let about = (driver.clone(), capability.split(':').next().unwrap_or_default().to_owned());
        // A panic while it was held cannot leave it half changed in a way that matters: a count may be one too low.
        let first = self.denials.lock().unwrap_or_else(PoisonError::into_inner).enter(&about, detail, Instant::now());
        if first {
            // Full: the log has it.
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
        assert_eq!(told, [(about("files"), "1000 more times since it was told last, the last time: number 999".to_owned())]);
        assert!(denials.due(begun + EVERY).is_empty(), "told once");
        assert!(!denials.enter(&about("files"), "again", begun + EVERY));
        assert_eq!(denials.due(begun + 2 * EVERY).len(), 1);
        assert!(denials.due(begun + 3 * EVERY).is_empty());
        assert!(denials.0.is_empty(), "who is quiet is forgotten");
        assert!(denials.enter(&about("files"), "anew", begun + 3 * EVERY));
    }
}
