//! The event feed as a stream.

use super::{Client, ClientError};
use crate::{Event, StreamEnd};
use reqwest::{Method, Response};
use std::time::Duration;

/// The longest message of the stream, in bytes. An event is well below 64 KiB. This bounds the
/// buffer.
const MESSAGE_MAX: usize = 1024 * 1024;
/// How long a stream may be silent before it counts as dead. The daemon sends a sign of life every
/// 15 s.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Selects which events to watch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only events after this sequence number. None: events from now on.
    pub after: Option<u64>,
    /// Only events of this VM, by id or name.
    pub vm: Option<String>,
    /// Only events of this kind.
    pub kind: Option<String>,
}

/// The stream of events, each sent when it is committed.
pub struct EventStream {
    client: Client,
    response: Response,
    buffer: Vec<u8>,
    end: Option<StreamEnd>,
}

impl Client {
    /// Opens the feed.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn events(&self, filter: &EventFilter) -> Result<EventStream, ClientError> {
        let mut query: Vec<(&str, String)> = Vec::new();
        query.extend(filter.after.map(|after| ("after", after.to_string())));
        query.extend(filter.vm.clone().map(|vm| ("vm", vm)));
        query.extend(filter.kind.clone().map(|kind| ("kind", kind)));
        let forever = Duration::from_secs(u64::from(u32::MAX));
        let request = self.request(Method::GET, "/v1/events").query(&query).timeout(forever);
        let response = self.send(request).await?;
        Ok(EventStream { client: self.clone(), response, buffer: Vec::new(), end: None })
    }
}

impl EventStream {
    /// The next event. None when the stream has ended; then [`EventStream::end`] gives the daemon's
    /// reason, if it sent one.
    ///
    /// # Errors
    /// The connection broke, nothing came for a minute, or a message cannot be read.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            while let Some(message) = self.take_message() {
                match read_message(&message) {
                    Message::Event(event) => return Ok(Some(*event)),
                    Message::End(end) => {
                        self.end = Some(end);
                        return Ok(None);
                    }
                    Message::Nothing => {}
                    Message::Odd(detail) => return Err(self.client.garbled(detail)),
                }
            }
            if self.buffer.len() > MESSAGE_MAX {
                return Err(self
                    .client
                    .garbled(format!("a message is longer than {MESSAGE_MAX} bytes")));
            }
            let chunk = tokio::time::timeout(SILENCE_MAX, self.response.chunk())
                .await
                .map_err(|_| ClientError::TimedOut { endpoint: self.client.endpoint.clone() })?
                .map_err(|err| self.client.failed(err))?;
            let Some(chunk) = chunk else { return Ok(None) };
            self.buffer.extend_from_slice(&chunk);
        }
    }

    /// The reason why the daemon ended the stream, if it sent one.
    #[must_use]
    pub const fn end(&self) -> Option<&StreamEnd> {
        self.end.as_ref()
    }

    /// Takes everything up to the next empty line from the buffer.
    fn take_message(&mut self) -> Option<String> {
        let at = self.buffer.windows(2).position(|two| two == b"\n\n")?;
        let rest = self.buffer.split_off(at + 2);
        let message = std::mem::replace(&mut self.buffer, rest);
        Some(String::from_utf8_lossy(&message).into_owned())
    }
}

enum Message {
    Event(Box<Event>),
    End(StreamEnd),
    /// A message without data, for example a sign of life.
    Nothing,
    Odd(String),
}

fn read_message(message: &str) -> Message {
    let mut data = String::new();
    let mut kind = "";
    for line in message.lines() {
        match line.split_once(':') {
            Some(("data", text)) => data.push_str(text.strip_prefix(' ').unwrap_or(text)),
            Some(("event", text)) => kind = text.trim(),
            // Ignored: `id`, `retry`, comments, and fields that later versions may add.
            Some(_) | None => {}
        }
    }
    if data.is_empty() {
        return Message::Nothing;
    }
    let read = match kind {
        "end" => serde_json::from_str(&data).map(Message::End),
        _ => serde_json::from_str(&data).map(|event| Message::Event(Box::new(event))),
    };
    read.unwrap_or_else(|err| Message::Odd(err.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart() {
        assert!(matches!(read_message(": alive\n\n"), Message::Nothing));
        let event = "id: 7\nevent: created\ndata: {\"seq\":7,\"at\":\"1970-01-01T00:00:00.000Z\",\"kind\":\"created\",\
                     \"summary\":\"s\",\"data\":{}}\n\n";
        assert!(matches!(read_message(event), Message::Event(event) if event.seq == 7));
        assert!(matches!(
            read_message("event: end\ndata: {\"code\":\"x\",\"detail\":\"y\"}\n\n"),
            Message::End(_)
        ));
        assert!(matches!(read_message("data: nonsense\n\n"), Message::Odd(_)));
    }
}
