//! `session`: small values that the calls of one driver for one host share, for a while. Needs no
//! grant: a driver reaches its own values only, and they are never logged.

use super::{Env, HasView, State, View, refused, view};
use crate::bindings::ostler::driver::session::{Host, add_to_linker as link};
use crate::bindings::ostler::driver::types::Error;
use crate::endpoint::Endpoint;
use ostler_model::HostId;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use wasmtime::component::Linker;

/// The longest key, in bytes.
const KEY_MAX: usize = 128;
/// The longest value, in bytes: a token of an API has a few KiB.
const VALUE_MAX: usize = 16 * 1024;
/// The most values of one driver for one host.
const EACH_MAX: usize = 16;
/// The most values of one driver. A thousand hosts have two each; with the bound of a value they
/// take 32 MiB at most.
const ALL_MAX: usize = 2048;
/// The longest time that a value is kept.
const LASTS_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// All values of a driver. They end with it: another build of the driver begins without any.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<Values>);

type Values = BTreeMap<(HostId, String), Value>;

struct Value {
    bytes: Vec<u8>,
    until: Instant,
    /// The settings and secrets that it was made with, as a number.
    made_with: u64,
}

impl Sessions {
    /// The values whose time is not over.
    fn values(&self, now: Instant) -> MutexGuard<'_, Values> {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        values.retain(|_, value| value.until > now);
        values
    }

    /// Forgets all values, as a daemon that ends does.
    pub(super) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// A value that was made with these settings and secrets. One that was made with others is
    /// dropped: it would be the session of another server or user.
    fn get(&self, host: HostId, key: &str, made_with: u64, now: Instant) -> Option<Vec<u8>> {
        let (mut values, key) = (self.values(now), (host, key.to_owned()));
        if values.get(&key)?.made_with != made_with {
            values.remove(&key);
        }
        values.get(&key).map(|value| value.bytes.clone())
    }

    /// Keeps a value. If there are too many, the one whose time is over first makes room.
    fn put(&self, host: HostId, key: String, value: Value, now: Instant) {
        let mut values = self.values(now);
        values.insert((host, key), value);
        if values.keys().filter(|(of, _)| *of == host).count() > EACH_MAX {
            drop_first(&mut values, |of| of == host);
        }
        if values.len() > ALL_MAX {
            drop_first(&mut values, |_| true);
        }
    }

    fn remove(&self, host: HostId, key: &str, now: Instant) {
        self.values(now).remove(&(host, key.to_owned()));
    }
}

/// Drops the value whose time is over first, of those hosts.
fn drop_first(values: &mut Values, of: impl Fn(HostId) -> bool) {
    let among = values.iter().filter(|((host, _), _)| of(*host));
    let first = among.min_by_key(|(_, value)| value.until).map(|(key, _)| key.clone());
    if let Some(first) = first {
        values.remove(&first);
    }
}

impl Env {
    /// The settings of the driver's endpoints and its secrets for the call's host, as a number.
    /// Another server, user or password is another number. A driver without endpoints may keep the
    /// session of anything, so all settings of the host count.
    fn made_with(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for key in self.side.manifest.endpoints.iter().flat_map(Endpoint::settings) {
            self.setting(key).hash(&mut hasher);
        }
        if let Some(site) = self.site.as_ref().filter(|_| self.side.manifest.endpoints.is_empty()) {
            site.config.hash(&mut hasher);
        }
        let host = self.site.as_ref().map(|site| site.id);
        self.side.services.secrets.edition(self.driver(), host).hash(&mut hasher);
        hasher.finish()
    }

    fn keep(&self, key: String, bytes: Vec<u8>, for_ms: u64) -> Result<(), Error> {
        let host = self.site()?.id;
        if key.len() > KEY_MAX || bytes.len() > VALUE_MAX {
            return Err(refused(
                "too-large",
                format!(
                    "a key has at most {KEY_MAX} bytes and a value {VALUE_MAX}; these have {} and \
                     {}",
                    key.len(),
                    bytes.len()
                ),
            ));
        }
        let now = Instant::now();
        let until = now + Duration::from_millis(for_ms).min(LASTS_MAX);
        let made_with = self.made_with();
        self.side.sessions.put(host, key, Value { bytes, until, made_with }, now);
        Ok(())
    }
}

impl Host for View<'_> {
    async fn get(&mut self, key: String) -> wasmtime::Result<Option<Vec<u8>>> {
        let host = self.env.site.as_ref().map(|site| site.id);
        let Some(host) = host else { return Ok(None) };
        let made_with = self.env.made_with();
        Ok(self.env.side.sessions.get(host, &key, made_with, Instant::now()))
    }

    async fn put(
        &mut self,
        key: String,
        value: Vec<u8>,
        for_ms: u64,
    ) -> wasmtime::Result<Result<(), Error>> {
        let begun = Instant::now();
        let answer = self.env.keep(key, value, for_ms);
        // Neither the key nor the value is traced: both may be secret.
        self.env.flight("session.put", &"", begun, &answer);
        Ok(answer)
    }

    async fn remove(&mut self, key: String) -> wasmtime::Result<()> {
        if let Some(site) = &self.env.site {
            self.env.side.sessions.remove(site.id, &key, Instant::now());
        }
        Ok(())
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    link::<State, HasView>(linker, view)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_end_with_their_time_and_make_room_in_its_order() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let put = |host: u32, key: usize, seconds: u64| {
            let until = now + Duration::from_secs(seconds);
            sessions.put(
                HostId(host),
                key.to_string(),
                Value { bytes: vec![1], until, made_with: 7 },
                now,
            );
        };
        let has = |host: u32, key: usize, seconds: u64| {
            let then = now + Duration::from_secs(seconds);
            sessions.get(HostId(host), &key.to_string(), 7, then).is_some()
        };
        put(1, 0, 10);
        assert!(has(1, 0, 9) && !has(2, 0, 9), "it is of one host");
        assert!(!has(1, 0, 10), "its time is over");
        // One more than one host may have: the one that ends first is dropped, not the newest.
        for key in 0..=EACH_MAX {
            put(1, key, if key == 3 { 50 } else { 100 });
        }
        assert!(!has(1, 3, 0) && (0..=EACH_MAX).filter(|key| has(1, *key, 0)).count() == EACH_MAX);
        // And one more than all hosts together may have.
        for host in 2..u32::try_from(ALL_MAX + 2).expect("small") {
            put(host, 0, 60);
        }
        assert_eq!(sessions.values(now).len(), ALL_MAX);
        assert!(has(1, 0, 0), "it ends later than the others");
        assert!(sessions.get(HostId(1), "0", 8, now).is_none(), "the settings are others");
        assert!(!has(1, 0, 0), "it was of the settings before");
    }
}
