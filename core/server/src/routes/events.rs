//! `GET /v1/events`: the feed as server-sent events.
//!
//! The stream pulls: it reads a batch from the store, hands it to the connection, and reads on when
//! that is sent. A slow reader holds a connection and nothing else, and falls behind until the
//! events it wants are trimmed; then it is told so.

use super::lookup;
use crate::app::Shared;
use crate::convert;
use crate::extract::Params;
use crate::problem::{ApiError, Handled};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use ostler_api::{Event, StreamEnd, code};
use ostler_model::{EventSeq, VmId};
use ostler_store::EventsAfter;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};
use utoipa::IntoParams;

/// Events read at once: a few hundred bytes each, so a batch stays below 100 KiB.
const BATCH: usize = 256;
/// A stream without events sends a sign of life this often: well below the idle limits of common
/// proxies.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What to watch.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct WatchParams {
    /// Events after this sequence number; from now on if not given. `Last-Event-ID` comes first.
    after: Option<u64>,
    /// Only of this VM, by id or name.
    vm: Option<String>,
    /// Only of this kind; several are separated by commas.
    kind: Option<String>,
}

/// The feed of committed changes, resumable. Ends with an event `end` that says why.
#[utoipa::path(
    get, path = "/v1/events", tag = "events",
    params(
        ("Last-Event-ID" = Option<u64>, Header, description = "Go on after this event"),
        WatchParams,
    ),
    responses(
        (status = 200, body = Event, content_type = "text/event-stream",
            description = "One event a message"),
        ApiError,
    ),
)]
pub(crate) async fn watch(
    State(app): State<Shared>,
    Params(params): Params<WatchParams>,
    headers: HeaderMap,
) -> Handled<Response> {
    let permit = app.stream_permit()?;
    let reader = app.store().read()?;
    let vm = params.vm.as_deref().map(|vm| lookup::vm_id(&reader, vm)).transpose()?;
    let last = last_event_id(&headers)?;
    let after = match last.or(params.after) {
        Some(after) => EventSeq(after),
        None => reader.seq()?,
    };
    let kinds = params.kind.as_deref().map(kinds_of).transpose()?;
    let feed = app.store().feed();
    let stream =
        Stream { app, feed, after, vm, kinds, over: false, greeted: false, _permit: permit };
    let body = Body::from_stream(futures::stream::unfold(stream, next));
    Ok(([(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")], body)
        .into_response())
}

/// Checks the kinds that a client asks for. It would wait for ever for a kind that is misspelt.
fn kinds_of(list: &str) -> Handled<Vec<String>> {
    let kind = |kind: &str| match convert::EVENT_KINDS.contains(&kind) {
        true => Ok(kind.to_owned()),
        false => {
            let error = ApiError::invalid(
                "kind",
                format!("{kind:?} is not one of {}", convert::EVENT_KINDS.join(", ")),
            );
            Err(match ostler_api::nearest(kind, convert::EVENT_KINDS.iter().copied()) {
                Some(near) => error.hint(format!("did you mean {near}?")),
                None => error,
            })
        }
    };
    list.split(',').map(kind).collect()
}

fn last_event_id(headers: &HeaderMap) -> Handled<Option<u64>> {
    let Some(given) = headers.get("last-event-id") else { return Ok(None) };
    let number = given.to_str().ok().and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| {
        ApiError::invalid("Last-Event-ID", "Last-Event-ID must be a sequence number")
    })
}

struct Stream {
    app: Shared,
    feed: watch::Receiver<EventSeq>,
    after: EventSeq,
    vm: Option<VmId>,
    kinds: Option<Vec<String>>,
    over: bool,
    greeted: bool,
    _permit: OwnedSemaphorePermit,
}

impl Stream {
    fn takes(&self, event: &Event) -> bool {
        self.vm.is_none_or(|vm| event.vm == Some(vm.0))
            && self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&event.kind))
    }

    /// Reads the next batch. Returns its messages, which the filter may have left empty, and true
    /// if the batch had no events at all. An error is the end of the stream.
    fn pull(&mut self) -> Result<(String, bool), StreamEnd> {
        let read = self
            .app
            .store()
            .read()
            .and_then(|reader| Ok((reader.events_after(self.after, BATCH)?, reader)));
        match read {
            Ok((EventsAfter::Page { events, .. }, reader)) => {
                let mut text = String::new();
                for event in &events {
                    self.after = event.seq;
                    let event = convert::event(event, &reader);
                    if self.takes(&event) {
                        message(&mut text, Some(event.seq), &event.kind, &event);
                    }
                }
                Ok((text, events.is_empty()))
            }
            Ok((EventsAfter::Trimmed { oldest, last }, _)) => {
                let after = self.after;
                let why = match after > last {
                    true => format!(
                        "there is no event {after}, the last is {last}: the store was restored \
                         from an older backup"
                    ),
                    false => format!("events after {after} are not kept any more"),
                };
                let detail = format!("{why}: list again, then watch after {last}");
                Err(StreamEnd { code: code::TRIMMED.to_owned(), detail, oldest: Some(oldest.0) })
            }
            Err(err) => Err(end(code::STORE, &err.to_string())),
        }
    }
}

fn end(code: &str, detail: &str) -> StreamEnd {
    StreamEnd { code: code.to_owned(), detail: detail.to_owned(), oldest: None }
}

fn message(text: &mut String, id: Option<u64>, kind: &str, data: &impl Serialize) {
    use std::fmt::Write as _;
    // Writing into a String cannot fail, and our types are all JSON.
    if let Some(id) = id {
        let _ = writeln!(text, "id: {id}");
    }
    let _ = writeln!(
        text,
        "event: {kind}\ndata: {}\n",
        serde_json::to_string(data).unwrap_or_default()
    );
}

async fn next(mut stream: Stream) -> Option<(Result<Bytes, Infallible>, Stream)> {
    if stream.over {
        return None;
    }
    if !stream.greeted {
        // Something at once, so that the client knows that it is connected.
        stream.greeted = true;
        return Some((Ok(Bytes::from_static(b": connected\n\n")), stream));
    }
    loop {
        stream.feed.mark_unchanged();
        match stream.pull() {
            Ok((text, _)) if !text.is_empty() => return Some((Ok(text.into()), stream)),
            Ok((_, false)) => {}
            Ok((_, true)) => match idle(&mut stream).await {
                Wake::News => {}
                Wake::Quiet => return Some((Ok(Bytes::from_static(b": alive\n\n")), stream)),
                Wake::Stopping => {
                    return last(
                        stream,
                        &end(
                            code::SHUTTING_DOWN,
                            "the daemon ends; connect again with the last id",
                        ),
                    );
                }
            },
            Err(why) => return last(stream, &why),
        }
    }
}

enum Wake {
    News,
    Quiet,
    Stopping,
}

async fn idle(stream: &mut Stream) -> Wake {
    tokio::select! {
        () = stream.app.stopping.cancelled() => Wake::Stopping,
        changed = stream.feed.changed() => {
            if changed.is_ok() { Wake::News } else { Wake::Stopping }
        }
        () = tokio::time::sleep(HEARTBEAT) => Wake::Quiet,
    }
}

#[allow(clippy::unnecessary_wraps)] // the shape that unfold wants
fn last(mut stream: Stream, why: &StreamEnd) -> Option<(Result<Bytes, Infallible>, Stream)> {
    let mut text = String::new();
    message(&mut text, None, "end", why);
    stream.over = true;
    Some((Ok(text.into()), stream))
}
