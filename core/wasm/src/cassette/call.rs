//! One call of a driver on a cassette: its calls to the host are recorded, or compared and answered.

use super::{CALL_BYTES, Cassette, HostCall, Mode, shown};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One call of a driver on a cassette. Clones share everything.
#[derive(Clone)]
pub(crate) struct TapedCall(Arc<Inner>);

struct Inner {
    cassette: Cassette,
    /// Which call of the cassette it is.
    at: usize,
    /// How many calls to the host it has made.
    made: AtomicUsize,
    seed: [u8; 32],
    /// How many blocks of random bytes were made.
    blocks: AtomicUsize,
}

/// The way to answer a call to the host.
pub(crate) enum Turn {
    /// Do it, and tell the answer under this number.
    Real(usize),
    /// Answer this. None: it was not answered when it was recorded.
    Kept(Option<Value>),
}

impl TapedCall {
    pub(super) fn new(cassette: Cassette, at: usize, seed: [u8; 32]) -> Self {
        let (made, blocks) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self(Arc::new(Inner { cassette, at, made, seed, blocks }))
    }

    /// The driver makes a call to the host.
    ///
    /// # Errors
    /// It is played back, and another call was recorded there. The text is for people.
    pub(crate) fn turn(&self, does: &str, with: Value) -> Result<Turn, String> {
        let inner = &*self.0;
        let mut state = inner.cassette.state();
        let number = inner.made.fetch_add(1, Ordering::Relaxed);
        let now = HostCall { does: does.to_owned(), with, answer: None };
        match inner.cassette.0.mode {
            Mode::Record => {
                state.grow(CALL_BYTES + now.with.to_string().len());
                if state.problem.is_none()
                    && let Some(call) = state.calls.get_mut(inner.at)
                {
                    call.hosts.push(now);
                }
                Ok(Turn::Real(number))
            }
            Mode::Replay => {
                let Some(call) = state.calls.get(inner.at) else {
                    return Ok(Turn::Kept(None));
                };
                let problem = match call.hosts.get(number) {
                    Some(kept) if kept.does == now.does && kept.with == now.with => {
                        return Ok(Turn::Kept(kept.answer.clone()));
                    }
                    // The call was dropped there when it was recorded, and it goes on for a moment.
                    None if !call.ended => return Ok(Turn::Kept(None)),
                    Some(kept) => format!("recorded was {}", differs(kept, &now)),
                    None => format!("recorded were only {} calls to the host", call.hosts.len()),
                };
                let problem = format!(
                    "{}: call {} to the host is {}; {problem}",
                    call.key.told(),
                    number + 1,
                    now.told()
                );
                state.problem.get_or_insert(problem.clone());
                Err(problem)
            }
        }
    }

    /// The host has answered the call of that number.
    pub(crate) fn answered(&self, number: usize, answer: Value) {
        let mut state = self.0.cassette.state();
        state.grow(answer.to_string().len());
        if state.problem.is_none()
            && let Some(call) = state.calls.get_mut(self.0.at)
            && let Some(host) = call.hosts.get_mut(number)
        {
            host.answer = Some(answer);
        }
    }

    /// The driver has answered the call, and nobody told it to stop.
    pub(crate) fn ended(&self) {
        let inner = &*self.0;
        let made = inner.made.load(Ordering::Relaxed);
        let mut state = inner.cassette.state();
        let Some(call) = state.calls.get_mut(inner.at) else { return };
        match inner.cassette.0.mode {
            Mode::Record => call.ended = true,
            Mode::Replay => {
                if let Some(next) = call.hosts.get(made).filter(|_| call.ended) {
                    let problem = format!(
                        "{}: it has ended after {made} calls to the host; recorded was then {}",
                        call.key.told(),
                        next.told()
                    );
                    state.problem.get_or_insert(problem);
                }
            }
        }
    }

    /// Random bytes: the same ones when the run is played back.
    pub(crate) fn random(&self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count);
        while bytes.len() < count {
            let block = self.0.blocks.fetch_add(1, Ordering::Relaxed) as u64;
            let made = Sha256::new().chain_update(self.0.seed).chain_update(block.to_le_bytes());
            bytes.extend_from_slice(&made.finalize());
        }
        bytes.truncate(count);
        bytes
    }
}

/// The recorded call for a message. If only a part of the arguments differs, it is named.
fn differs(kept: &HostCall, now: &HostCall) -> String {
    if kept.does == now.does
        && let (Some(before), Some(after)) = (kept.with.as_object(), now.with.as_object())
        && let Some((key, value)) =
            before.iter().find(|(key, value)| after.get(*key) != Some(*value))
    {
        return format!("the same with {key} {}", shown(value));
    }
    kept.told()
}
