//! `log`: lines in the host's log. Needs no grant. There are limits on the length of a line, on the
//! lines of each call, and on the lines of each driver in a minute: a driver's call that ends at
//! once may be made again at once.

use super::{HasView, State, View, view};
use crate::bindings::ostler::driver::log::{Host, add_to_linker as link};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use wasmtime::component::Linker;

/// The most lines of one call: enough to follow it, too few to flood the log.
const LINES_MAX: u32 = 100;
/// The longest line, in bytes.
const LINE_MAX: usize = 2048;
/// The most lines of one driver in a minute: 10 per call on 100 hosts.
const MINUTE_MAX: u32 = 1000;
const MINUTE: Duration = Duration::from_secs(60);

/// The count of the lines that a driver has written in this minute.
#[derive(Default)]
pub(crate) struct Minute(Mutex<Count>);

#[derive(Default)]
struct Count {
    since: Option<Instant>,
    lines: u32,
    lost: u64,
}

/// Whether there is room for a line.
#[derive(Debug, PartialEq, Eq)]
enum Room {
    Yes,
    /// Yes, for the first line of a minute; so many lines before it were not written.
    YesAfter(u64),
    /// No, for the first line that is not written.
    NoMore,
    No,
}

impl Minute {
    fn room(&self, now: Instant) -> Room {
        // A panic while the lock was held can only have left a count too low.
        let mut count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if count.since.is_none_or(|since| now.saturating_duration_since(since) >= MINUTE) {
            let lost = count.lost;
            *count = Count { since: Some(now), lines: 1, lost: 0 };
            return if lost == 0 { Room::Yes } else { Room::YesAfter(lost) };
        }
        if count.lines < MINUTE_MAX {
            count.lines += 1;
            return Room::Yes;
        }
        count.lost += 1;
        if count.lost == 1 { Room::NoMore } else { Room::No }
    }
}

impl Host for View<'_> {
    async fn write(&mut self, level: String, message: String) -> wasmtime::Result<()> {
        match self.env.lines.fetch_add(1, Ordering::Relaxed) {
            count if count < LINES_MAX => {}
            LINES_MAX => {
                tracing::warn!(
                    target: "ostler::driver",
                    driver = %self.env.driver(),
                    call = self.env.name,
                    "writes too much; the rest of this call is not logged"
                );
                return Ok(());
            }
            _ => return Ok(()),
        }
        let driver = self.env.driver();
        match self.env.side.lines.room(Instant::now()) {
            Room::Yes => {}
            Room::YesAfter(lost) => {
                tracing::warn!(
                    target: "ostler::driver",
                    %driver,
                    lost,
                    "lines of this driver were not logged: it wrote too many"
                );
            }
            Room::NoMore => {
                tracing::warn!(
                    target: "ostler::driver",
                    %driver,
                    "writes more than {MINUTE_MAX} lines a minute; the rest of this minute is not \
                     logged"
                );
                return Ok(());
            }
            Room::No => return Ok(()),
        }
        // A line break or an escape sequence could forge other lines.
        let message: String = (self.env.scrub(&message, LINE_MAX).chars())
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let call = self.env.name;
        match level.as_str() {
            "error" => tracing::error!(target: "ostler::driver", %driver, call, "{message}"),
            "warn" => tracing::warn!(target: "ostler::driver", %driver, call, "{message}"),
            "debug" => tracing::debug!(target: "ostler::driver", %driver, call, "{message}"),
            _ => tracing::info!(target: "ostler::driver", %driver, call, "{message}"),
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
    fn a_minute_has_room_for_so_many_lines() {
        let (minute, begun) = (Minute::default(), Instant::now());
        for _ in 0..MINUTE_MAX {
            assert_eq!(minute.room(begun), Room::Yes);
        }
        assert_eq!(
            [minute.room(begun), minute.room(begun), minute.room(begun)],
            [Room::NoMore, Room::No, Room::No]
        );
        assert_eq!(
            [minute.room(begun + MINUTE), minute.room(begun + MINUTE)],
            [Room::YesAfter(3), Room::Yes]
        );
        assert_eq!(minute.room(begun + 3 * MINUTE), Room::Yes);
    }
}
