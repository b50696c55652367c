//! `POST /v1/vms/{vm}/actions/{verb}`.

use super::action_body::{self, AnyBody};
use super::{lookup, vms};
use crate::app::{App, Shared};
use crate::auth::Caller;
use crate::convert::{self, named};
use crate::extract::{Body, IfMatch, Key, Params, Tagged};
use crate::problem::{ApiError, Handled};
use axum::Json;
use axum::extract::{Path, State as Shares};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use ostler_api::{ActionReply, PlanPreview, Span, VERBS, code};
use ostler_engine::{ActionRequest, Replied, WAIT_MAX};
use ostler_model::{OperationId, Verb, Version, VmId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};

/// How an action is asked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct ActionParams {
    /// Wait so long for the operation to end: `30s`, at most 5 minutes.
    #[param(value_type = Option<String>)]
    wait: Option<Span>,
    /// Change nothing and tell what would happen.
    dry_run: bool,
}

/// The answers of status 200, for the OpenAPI document.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[allow(dead_code)] // never built: handlers answer with the parts
pub(crate) enum Settled {
    /// It was so already, or it ended.
    Reply(Box<ActionReply>),
    /// With `dry_run`.
    Preview(Box<PlanPreview>),
}

/// Asks something of a VM. `202` with the operation that does it; `200` if it was so already, or if
/// `wait` saw it end.
#[utoipa::path(
    post, path = "/v1/vms/{vm}/actions/{verb}", tag = "vms",
    request_body(
        content = AnyBody,
        description = "Each verb has its own; may be left out where nothing is required",
    ),
    params(
        ("vm" = String, Path, description = "Id or name"),
        ("verb" = String, Path,
            description = "`deploy`, `shutdown`, `poweroff-hard`, `migrate-live`, `disk-attach`, ..."),
        ("If-Match" = Option<String>, Header,
            description = "Only if the VM still has this version"),
        ("Idempotency-Key" = Option<String>, Header,
            description = "The same key and body again gives the same answer"),
        ActionParams
    ),
    responses(
        (status = 202, body = ActionReply, description = "Accepted, and durable"),
        (status = 200, body = Settled,
            description = "It was so already, it ended while waited for, or `dry_run`"),
        ApiError
    )
)]
pub(crate) async fn act(
    Shares(app): Shares<Shared>,
    caller: Caller,
    Path((which, verb)): Path<(String, String)>,
    Params(params): Params<ActionParams>,
    IfMatch(if_version): IfMatch,
    Key(key): Key,
    body: Body<Value>,
) -> Handled<Response> {
    let wait = checked(params.wait)?;
    let (id, request) = request(&app, &which, &verb, body.value, caller.name.clone(), if_version)?;
    if params.dry_run {
        let preview =
            app.engine.preview(id, request).await.map_err(|err| named::refused(&app, err))?;
        return Ok(Json(convert::preview(preview, &app.store().read()?)).into_response());
    }
    let route = format!("POST /v1/vms/{id}/actions/{verb}");
    let once = key.map(|key| vms::idempotency(&caller, route, key, body.hash));
    let replied =
        app.engine.act(id, request, once).await.map_err(|err| named::refused(&app, err))?;
    Ok(followed(&app, replied, wait).await?.into_response())
}

fn request(
    app: &App,
    which: &str,
    verb: &str,
    body: Value,
    by: String,
    if_version: Option<Version>,
) -> Handled<(VmId, ActionRequest)> {
    let verb: Verb =
        verb.parse().ok().filter(|verb| *verb != Verb::Adopt).ok_or_else(|| unknown_verb(verb))?;
    let reader = app.store().read()?;
    let id = lookup::vm_id(&reader, which)?;
    let action_body::Asked { args, host, enforce, force } =
        action_body::asked(&reader, id, verb, body, &by)?;
    Ok((
        id,
        ActionRequest { args, host, enforce, force, if_version, ..ActionRequest::of(verb, by) },
    ))
}

fn unknown_verb(given: &str) -> ApiError {
    let error = ApiError::new(
        StatusCode::NOT_FOUND,
        code::NOT_FOUND,
        format!("there is no action {given}"),
    );
    if given == "adopt" {
        return error.hint("POST /v1/hosts/{host}/adopt makes a domain a VM");
    }
    match ostler_api::nearest(given, VERBS.iter().map(|info| info.verb)) {
        Some(near) => error.hint(format!("did you mean {near}?")),
        None => error.hint(format!(
            "known: {}",
            VERBS.iter().map(|info| info.verb).collect::<Vec<_>>().join(", ")
        )),
    }
}

/// Checks how long a request wants to wait.
pub(crate) fn checked(wait: Option<Span>) -> Handled<Option<Duration>> {
    match wait.map(Span::duration) {
        Some(wait) if wait > WAIT_MAX => {
            let error =
                ApiError::invalid("wait", format!("wait is longer than {} s", WAIT_MAX.as_secs()));
            Err(error.hint("ask again when it is over, or watch /v1/events"))
        }
        wait => Ok(wait),
    }
}

/// The answer, after a wait for the operation's end if that was asked for.
pub(crate) async fn followed(
    app: &App,
    replied: Replied,
    wait: Option<Duration>,
) -> Handled<Tagged<ActionReply>> {
    let operation = replied.answer.operation;
    let mut reply = reply(app, replied)?;
    let mut status = if reply.already { StatusCode::OK } else { StatusCode::ACCEPTED };
    if let (Some(id), Some(wait)) = (operation, wait) {
        let waited = app.engine.wait(id, wait).await.map_err(|err| named::refused(app, err))?;
        reply.operation = Some(convert::operation(&waited.operation));
        reply.state = waited.state.to_string();
        reply.version = waited.version.0;
        reply.timed_out = waited.timed_out;
        status = if waited.timed_out { StatusCode::ACCEPTED } else { StatusCode::OK };
    }
    Ok(Tagged { status, version: reply.version, location: operation.map(location), body: reply })
}

fn location(operation: OperationId) -> String {
    format!("/v1/operations/{operation}")
}

/// The answer as it is sent.
pub(crate) fn reply(app: &App, replied: Replied) -> Handled<ActionReply> {
    let Replied { answer, replayed } = replied;
    let operation = match answer.operation {
        Some(id) => app.store().read()?.operation(id)?,
        None => None,
    };
    Ok(ActionReply {
        vm: answer.vm.0,
        state: answer.state.to_string(),
        version: answer.version.0,
        operation: operation.as_ref().map(convert::operation),
        already: answer.already,
        overtook: answer.overtook.map(|operation| operation.0),
        destroys: answer.destroys.iter().map(convert::destroyed).collect(),
        replayed,
        timed_out: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use strum::IntoEnumIterator;

    #[test]
    fn the_api_knows_every_verb() {
        let ours: Vec<String> =
            Verb::iter().filter(|verb| *verb != Verb::Adopt).map(|verb| verb.to_string()).collect();
        let told: Vec<&str> = VERBS.iter().map(|info| info.verb).collect();
        assert_eq!(told, ours);
    }

    #[test]
    fn waits_have_a_bound() {
        assert_eq!(checked(Some(Span(1000))).expect("short"), Some(Duration::from_secs(1)));
        assert!(checked(Some(Span(3_600_000))).is_err());
    }
}
