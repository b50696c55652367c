//! The deeds with HTTP servers.

use super::ostler::driver::types::Error;
use super::told;
use ostler_sdk::host::http::Request;
use std::time::Duration;

/// Sends a request; tells the answer, or the error with its kind and code. The words after the path
/// are `header=VALUE`, `body:TEXT`, `zeros:BYTES`, `within:MS` (for each part of the answer) and
/// `times:N`.
pub(super) fn act(method: &str, endpoint: &str, path: &str, words: &[&str]) -> Error {
    let (mut request, mut times) = (Request::new(method, endpoint, path), 1);
    for word in words {
        let number = |text: &str| text.parse().unwrap_or(0);
        if let Some(text) = word.strip_prefix("body:") {
            request.body = text.as_bytes().to_vec();
        } else if let Some(bytes) = word.strip_prefix("zeros:") {
            request.body = vec![b'0'; number(bytes)];
        } else if let Some(ms) = word.strip_prefix("within:") {
            let limit = Duration::from_millis(number(ms) as u64);
            request = request.connect_within(limit * 10).answer_within(limit);
        } else if let Some(count) = word.strip_prefix("times:") {
            times = number(count);
        } else if let Some((name, value)) = word.split_once('=') {
            request = request.header(name, value);
        }
    }
    let mut last = None;
    for _ in 0..times {
        last = Some(request.send());
    }
    match last {
        Some(Ok(answer)) => told((
            answer.status,
            answer.header("location").unwrap_or_default(),
            answer.body.len(),
            answer.text().chars().take(400).collect::<String>(),
        )),
        Some(Err(error)) => {
            let kind = format!("{:?}", error.kind);
            told((kind.trim_start_matches("ErrorKind::"), error.code, error.detail))
        }
        None => told("no request"),
    }
}
