//! Waits for a state, with a time limit. [`crate::daemon::poll`] does the same for asynchronous
//! tests.

use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

/// An answer of one look: the state is reached (with what was found), or not yet (with what was
/// seen instead).
pub trait Seen {
    /// The type of what is found when the state is reached.
    type Found;
    /// The answer of one look, as a result.
    fn seen(self) -> Result<Self::Found, String>;
}

impl Seen for bool {
    type Found = ();
    fn seen(self) -> Result<(), String> {
        if self { Ok(()) } else { Err("false".into()) }
    }
}

impl<T> Seen for Option<T> {
    type Found = T;
    fn seen(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing".into())
    }
}

impl<T, E: Debug> Seen for Result<T, E> {
    type Found = T;
    fn seen(self) -> Result<T, String> {
        self.map_err(|other| format!("{other:?}"))
    }
}

/// Looks again and again until `look` finds something, and returns that.
///
/// `look` returns a `bool`, an `Option`, or a `Result` whose error is what it has seen instead. The
/// first look happens at once. The last one happens when the time has passed.
///
/// # Panics
///
/// When `timeout` has passed. The message has `what` and the last thing that was seen.
#[track_caller]
pub fn wait_until<S: Seen>(what: &str, timeout: Duration, mut look: impl FnMut() -> S) -> S::Found {
    let start = Instant::now();
    let mut pause = Duration::from_millis(2);
    loop {
        let late = start.elapsed() >= timeout;
        match look().seen() {
            Ok(found) => return found,
            Err(last) if late => panic!("waited {timeout:?} for {what}; last seen: {last}"),
            Err(_) => thread::sleep(pause),
        }
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic;

    #[test]
    fn returns_what_was_found_as_soon_as_it_is_there() {
        let mut looks = 0;
        let found = wait_until("the third look", Duration::from_secs(10), || {
            looks += 1;
            (looks == 3).then_some("found")
        });
        assert_eq!((found, looks), ("found", 3));
    }

    #[test]
    fn panics_with_what_it_waited_for_and_what_it_saw() {
        let failure = panic::catch_unwind(|| {
            wait_until("the guest to be off", Duration::ZERO, || Err::<(), _>("running"));
        })
        .expect_err("it cannot have been found");
        let text = failure.downcast_ref::<String>().expect("a panic with a text");
        assert!(text.contains("the guest to be off") && text.contains("running"), "{text}");
    }
}
