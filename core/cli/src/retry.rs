//! Sends requests again where this is safe.
//!
//! After a broken connection nobody knows whether the request was served. Requests that change
//! something carry an `Idempotency-Key`, so the same request gets the same answer again. Requests
//! that only read can always be repeated.

use ostler_api::{ClientError, code};
use std::time::Duration;

/// How often one request is sent at most. With the pauses below this takes about 11 s. A daemon
/// restarts in less.
const TRIES: u32 = 10;
/// The first pause. Each later pause is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// A new key for one request.
pub(crate) fn key() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// How long to pause after try `number`, counted from 1.
pub(crate) fn pause(number: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << number.saturating_sub(1).min(16)).min(LAST_PAUSE)
}

/// Sends until there is an answer. If nobody listens at the first try, it gives up at once: nothing
/// was sent, so nothing is in doubt.
pub(crate) async fn patiently<T, F>(send: impl FnMut() -> F) -> Result<T, ClientError>
where
    F: Future<Output = Result<T, ClientError>>,
{
    with_pauses(pause, send).await
}

async fn with_pauses<T, F>(
    pause: fn(u32) -> Duration,
    mut send: impl FnMut() -> F,
) -> Result<T, ClientError>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let mut tries = 1;
    loop {
        let error = match send().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if tries >= TRIES || !worth(&error, tries) {
            return Err(error);
        }
        tokio::time::sleep(pause(tries)).await;
        tries += 1;
    }
}

fn worth(error: &ClientError, tries: u32) -> bool {
    match error {
        ClientError::Unreachable { source, .. } => tries > 1 || !source.is_connect(),
        ClientError::Problem(problem) => {
            matches!(problem.code.as_str(), code::SHUTTING_DOWN | code::OVERLOADED)
        }
        // For `TimedOut` the request has waited for at least a minute already.
        ClientError::TimedOut { .. } | ClientError::Garbled { .. } | ClientError::Setup(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_api::Problem;
    use std::cell::Cell;

    fn problem(code: &str) -> ClientError {
        ClientError::Problem(Box::new(Problem::new(503, "", code, "")))
    }

    async fn sent(errors: u32, code: &str) -> (bool, u32) {
        let count = Cell::new(0);
        let answer = with_pauses(
            |_| Duration::ZERO,
            || {
                count.set(count.get() + 1);
                let over = count.get() > errors;
                async move { if over { Ok(()) } else { Err(problem(code)) } }
            },
        )
        .await;
        (answer.is_ok(), count.get())
    }

    #[tokio::test]
    async fn only_what_helps_is_sent_again() {
        assert_eq!(sent(3, code::OVERLOADED).await, (true, 4));
        assert_eq!(sent(3, code::NOT_FOUND).await, (false, 1));
        assert_eq!(sent(u32::MAX, code::SHUTTING_DOWN).await, (false, TRIES));
    }

    #[tokio::test]
    async fn nobody_there_is_asked_once() {
        let client = ostler_api::Client::new(
            &"unix:/nonexistent/ostler.sock".parse().expect("an endpoint"),
            None,
        )
        .expect("a client");
        let asked = std::cell::Cell::new(0);
        let version = || {
            asked.set(asked.get() + 1);
            client.version()
        };
        assert!(patiently(version).await.is_err());
        assert_eq!(asked.get(), 1);
    }

    #[test]
    fn pauses_grow_to_a_bound() {
        assert_eq!(pause(1), FIRST_PAUSE);
        assert_eq!(pause(3), FIRST_PAUSE * 4);
        assert_eq!(pause(60), LAST_PAUSE);
    }
}
