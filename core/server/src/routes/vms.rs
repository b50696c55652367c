//! `/v1/vms`.

use super::lookup;
use crate::app::{App, Shared};
use crate::auth::Caller;
use crate::clock::now;
use crate::convert::{self, Names, Unfit, named, word};
use crate::extract::{Body, Key, Params, Tagged};
use crate::looks;
use crate::problem::{ApiError, Handled};
use axum::Json;
use axum::extract::{Path, State as Shares};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ostler_api::{
    ActionReply, Counters, CreateVm, OperationPage, PAGE_DEFAULT, PAGE_MAX, PlanPreview,
    SnapshotAdvice, Vm, VmPage, Why,
};
use ostler_engine::{CreateRequest, Idempotency};
use ostler_model::{StateKind, VmId, VmName, VmRecord};
use ostler_store::{Page, Reader, VmFilter, VmSummary};
use serde::Deserialize;
use utoipa::IntoParams;

/// Most operations in the answer for one VM; the newest come first.
const OPERATIONS_MAX: usize = 100;

/// Which VMs to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParams {
    /// Only in this state; several are separated by commas.
    state: Option<String>,
    /// Only of this name.
    name: Option<String>,
    /// Also those that are done.
    all: bool,
    /// Only on this host, by name or id.
    host: Option<String>,
    /// Only of this owner.
    owner: Option<String>,
    /// Only with a higher id: `next` of the page before.
    after: Option<u64>,
    /// At most so many; 1 to 1000, 100 if not given.
    limit: Option<u32>,
}

/// VMs in pages, by rising id.
#[utoipa::path(
    get, path = "/v1/vms", tag = "vms",
    params(ListParams),
    responses((status = 200, body = VmPage), ApiError),
)]
pub(crate) async fn list(
    Shares(app): Shares<Shared>,
    Params(params): Params<ListParams>,
) -> Handled<Json<VmPage>> {
    let read = move |_: &App, reader: &Reader| {
        let page = page(reader, &params)?;
        let mut names = Names::default();
        for host in page.items.iter().filter_map(|vm| vm.host) {
            lookup::add_host(&mut names, reader, host)?;
        }
        let vms = page.items.into_iter().map(|vm| convert::vm_summary(vm, &names)).collect();
        Ok(VmPage { vms, next: page.next.map(|id| id.0), seq: page.seq.0 })
    };
    app.reading(read).await.map(Json)
}

fn page(reader: &Reader, params: &ListParams) -> Handled<Page<VmSummary>> {
    let limit = params.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(ApiError::invalid(
            "limit",
            format!("limit is {limit}, must be from 1 to {PAGE_MAX}"),
        ));
    }
    let states = params.state.iter().flat_map(|list| list.split(','));
    let filter = VmFilter {
        states: states.map(|state| word("state", state)).collect::<Result<_, Unfit>>()?,
        include_done: params.all,
        host: params
            .host
            .as_deref()
            .map(|host| lookup::host(reader, host))
            .transpose()?
            .map(|host| host.id),
        owner: params.owner.clone(),
    };
    let (after, limit) = (params.after.map(VmId), limit as usize);
    match &params.name {
        Some(name) => named(reader, name, &filter, after, limit),
        None => Ok(reader.vm_page(&filter, after, limit)?),
    }
}

/// A page of the VMs of one name, from the index of names.
fn named(
    reader: &Reader,
    name: &str,
    filter: &VmFilter,
    after: Option<VmId>,
    limit: usize,
) -> Handled<Page<VmSummary>> {
    let name: VmName = convert::parse("name", name)?;
    let mut items = Vec::new();
    let ids =
        reader.vms_by_name(&name)?.into_iter().filter(|id| after.is_none_or(|after| *id > after));
    for id in ids {
        if items.len() == limit {
            return Ok(Page {
                next: items.last().map(|vm: &VmSummary| vm.id),
                items,
                seq: reader.seq()?,
            });
        }
        items.extend(reader.vm_summary(id)?.filter(|vm| takes(filter, vm)));
    }
    Ok(Page { items, next: None, seq: reader.seq()? })
}

fn takes(filter: &VmFilter, vm: &VmSummary) -> bool {
    let state = if filter.states.is_empty() {
        filter.include_done || vm.state.kind() != StateKind::End
    } else {
        filter.states.contains(&vm.state)
    };
    state
        && filter.host.is_none_or(|host| vm.host == Some(host))
        && filter.owner.as_ref().is_none_or(|owner| vm.owner == *owner)
}

/// How a creation is asked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct CreateParams {
    /// Change nothing and tell what would happen.
    dry_run: bool,
}

/// Creates a VM. It is `pending`, or `hold` if that was asked for; the scheduler does the rest.
#[utoipa::path(
    post, path = "/v1/vms", tag = "vms", request_body = CreateVm,
    params(
        ("Idempotency-Key" = Option<String>, Header,
            description = "The same key and body again gives the same answer"),
        CreateParams
    ),
    responses(
        (status = 201, body = ActionReply),
        (status = 200, body = PlanPreview, description = "With `dry_run`"),
        ApiError,
    ),
)]
pub(crate) async fn create(
    Shares(app): Shares<Shared>,
    caller: Caller,
    Params(params): Params<CreateParams>,
    Key(key): Key,
    body: Body<CreateVm>,
) -> Handled<Response> {
    let spec = convert::spec_from_wire(&body.value.spec).map_err(in_spec)?;
    let once = key.map(|key| idempotency(&caller, "POST /v1/vms".to_owned(), key, body.hash));
    // A repeat of a request gets its old answer, even if files have gone since.
    let answered = match &once {
        Some(once) => {
            app.store().read()?.idempotency(&once.who, &once.route, &once.key, now())?.is_some()
        }
        None => false,
    };
    if !answered {
        looks::of_new_vm(&app, &spec).await?;
    }
    let request = CreateRequest { spec, hold: body.value.hold, by: caller.name };
    if params.dry_run {
        let preview =
            app.engine.preview_create(request).await.map_err(|err| named::refused(&app, err))?;
        return Ok(Json(convert::preview(preview, &app.store().read()?)).into_response());
    }
    let replied =
        app.engine.create(request, once).await.map_err(|err| named::refused(&app, err))?;
    let version = replied.answer.version.0;
    let location = Some(format!("/v1/vms/{}", replied.answer.vm));
    let reply = super::actions::reply(&app, replied)?;
    Ok(Tagged { status: StatusCode::CREATED, version, location, body: reply }.into_response())
}

fn in_spec(unfit: Unfit) -> ApiError {
    let field = format!("spec.{}", unfit.field);
    ApiError::from(unfit).field(field)
}

/// The values by which a repeat is recognised.
pub(crate) fn idempotency(
    caller: &Caller,
    route: String,
    key: String,
    body_hash: String,
) -> Idempotency {
    Idempotency { who: caller.name.clone(), route, key, body_hash }
}

/// One VM in full.
#[utoipa::path(
    get, path = "/v1/vms/{vm}", tag = "vms",
    params(("vm" = String, Path, description = "Id or name")),
    responses((status = 200, body = Vm), (status = 304, description = "If-None-Match names the \
                                                                       version it has"), ApiError)
)]
pub(crate) async fn show(
    Shares(app): Shares<Shared>,
    Path(which): Path<String>,
    headers: HeaderMap,
) -> Handled<Response> {
    let reader = app.store().read()?;
    let record = lookup::vm(&reader, &which)?;
    let tag = format!("\"{}\"", record.version);
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    let names = lookup::names_of(&reader, &record)?;
    Ok(Tagged::ok(record.version.0, convert::vm(&record, &names)).into_response())
}

/// What a VM waits for, and what can be done about it.
#[utoipa::path(
    get, path = "/v1/vms/{vm}/why", tag = "vms",
    params(("vm" = String, Path, description = "Id or name")),
    responses((status = 200, body = Why), ApiError)
)]
pub(crate) async fn why(
    Shares(app): Shares<Shared>,
    Path(which): Path<String>,
) -> Handled<Json<Why>> {
    let reader = app.store().read()?;
    let record = lookup::vm(&reader, &which)?;
    let unseen = unseen(&app, &reader, &record)?;
    let explained = app.engine.why(record.id).map_err(|err| named::refused(&app, err))?;
    Ok(Json(convert::why(explained, record.spec.name.to_string(), unseen, &reader)))
}

/// Says so if the VM's host does not answer. Then all that is known of the VM is from before that
/// time.
fn unseen(app: &App, reader: &Reader, record: &VmRecord) -> Handled<Option<String>> {
    let Some(place) = record.placement.as_ref() else { return Ok(None) };
    let Some(health) = app.engine.host_health(place.host).filter(|health| !health.reachable) else {
        return Ok(None);
    };
    let host =
        reader.host(place.host)?.map_or_else(|| place.host.to_string(), |host| host.name.into());
    let why = health.error.map_or_else(String::new, |error| format!(": {error}"));
    Ok(Some(format!("host {host} does not answer since {}{why}", convert::time(health.since))))
}

/// A VM's operations, the newest first.
#[utoipa::path(
    get, path = "/v1/vms/{vm}/operations", tag = "vms",
    params(("vm" = String, Path, description = "Id or name")),
    responses((status = 200, body = OperationPage), ApiError)
)]
pub(crate) async fn operations(
    Shares(app): Shares<Shared>,
    Path(which): Path<String>,
) -> Handled<Json<OperationPage>> {
    let reader = app.store().read()?;
    let id = lookup::vm(&reader, &which)?.id;
    let operations = reader.operations_of(id, OPERATIONS_MAX)?;
    Ok(Json(OperationPage { operations: operations.iter().map(convert::operation).collect() }))
}

/// Snapshots, and what the snapshot rules bound to the VM say now.
#[utoipa::path(
    get, path = "/v1/vms/{vm}/snapshots", tag = "vms",
    params(("vm" = String, Path, description = "Id or name")),
    responses((status = 200, body = SnapshotAdvice), ApiError)
)]
pub(crate) async fn snapshots(
    Shares(app): Shares<Shared>,
    Path(which): Path<String>,
) -> Handled<Json<SnapshotAdvice>> {
    let record = lookup::vm(&app.store().read()?, &which)?;
    let advice =
        app.engine.snapshot_advice(record.id).await.map_err(|err| named::refused(&app, err))?;
    let snapshots = record.snapshots.iter().map(convert::snapshot).collect();
    Ok(Json(SnapshotAdvice {
        snapshots,
        rules: advice.rules,
        allowed: advice.refused.is_none(),
        refused: advice.refused,
    }))
}

/// What a running VM uses, asked of its hypervisor now.
#[utoipa::path(
    get, path = "/v1/vms/{vm}/counters", tag = "vms",
    params(("vm" = String, Path, description = "Id or name")),
    responses((status = 200, body = Counters), ApiError)
)]
pub(crate) async fn counters(
    Shares(app): Shares<Shared>,
    Path(which): Path<String>,
) -> Handled<Json<Counters>> {
    let id = lookup::vm_id(&app.store().read()?, &which)?;
    Ok(Json(
        app.engine
            .counters(id)
            .await
            .map_err(|err| named::refused(&app, err))?
            .map(convert::counters)
            .unwrap_or_default(),
    ))
}
