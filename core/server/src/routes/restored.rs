//! `/v1/admin/restored`: the VMs that are not reconciled since the store was restored from a
//! backup.

use super::lookup;
use crate::app::Shared;
use crate::auth::Caller;
use crate::convert::{Names, named, time};
use crate::extract::Body;
use crate::problem::{ApiError, Handled};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use ostler_api::{NothingBody, RestoredReply, UnreconciledVm};
use ostler_engine::{Reconciliation, Unreconciled};

/// Tells which VMs are not reconciled, and which hosts are waited for.
#[utoipa::path(
    get, path = "/v1/admin/restored", tag = "admin",
    responses((status = 200, body = RestoredReply), ApiError),
)]
pub(crate) async fn show(State(app): State<Shared>) -> Handled<Json<RestoredReply>> {
    let Some(restored) = app.engine.restored().map_err(|err| named::refused(&app, err))? else {
        return Ok(Json(RestoredReply {
            waits: false,
            as_of: None,
            hosts: vec![],
            total: 0,
            vms: vec![],
        }));
    };
    let found = restored.vms.iter().flat_map(|vm| &vm.found).map(|found| found.host);
    let names =
        lookup::names_of_hosts(&app.store().read()?, restored.hosts.iter().copied().chain(found))?;
    Ok(Json(told(&names, restored)))
}

/// Takes a person's word that the record of a VM is right: domains of it that are newer are not the
/// VM.
#[utoipa::path(
    post, path = "/v1/admin/restored/{vm}/accept", tag = "admin", request_body = NothingBody,
    params(("vm" = String, Path, description = "id or name of the VM")),
    responses((status = 204), ApiError),
)]
pub(crate) async fn accept(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(which): Path<String>,
    _body: Body<NothingBody>,
) -> Handled<StatusCode> {
    let vm = lookup::vm_id(&app.store().read()?, &which)?;
    app.engine.accept_record(vm, caller.name).await.map_err(|err| named::refused(&app, err))?;
    Ok(StatusCode::NO_CONTENT)
}

fn told(names: &Names, restored: Reconciliation) -> RestoredReply {
    let Reconciliation { as_of, seq: _, hosts, vms, total } = restored;
    let listed = hosts.is_empty();
    RestoredReply {
        waits: true,
        as_of: Some(time(as_of)),
        hosts: hosts.into_iter().map(|host| names.host(host)).collect(),
        total: total as u64,
        vms: vms.into_iter().map(|vm| one(names, vm, listed)).collect(),
    }
}

fn one(names: &Names, unreconciled: Unreconciled, listed: bool) -> UnreconciledVm {
    let Unreconciled { vm, name, found, in_doubt } = unreconciled;
    let domains: Vec<String> = found
        .iter()
        .map(|found| {
            format!(
                "host {} has its domain {} ({})",
                names.host(found.host),
                found.seen.name,
                found.seen.power
            )
        })
        .collect();
    let why = match (listed, in_doubt) {
        (false, _) => "not all hosts have been listed yet".to_owned(),
        (true, false) => "all hosts have been listed; it is reconciled next".to_owned(),
        (true, true) => {
            "it cannot be told which domain is the VM: remove those that are not, or accept the \
             record as it is"
                .to_owned()
        }
    };
    UnreconciledVm { id: vm.0, name: name.to_string(), why, domains, in_doubt }
}
