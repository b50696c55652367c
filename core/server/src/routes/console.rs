//! `GET /v1/vms/{vm}/console-log`: the serial console's log, where its file can be read on this machine.

use super::find;
use crate::app::Shared;
use crate::extract::Params;
use crate::problem::{Answer, ApiError};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use ostler_api::{ConsoleChunk, code};
use ostler_model::{Host, VmRecord};
use ostler_store::Reader;
use serde::Deserialize;
use std::path::PathBuf;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use utoipa::IntoParams;

/// Most bytes told at once.
const CHUNK: u64 = 64 * 1024;
/// How much of the end is told when nothing else is asked for.
const TAIL: u64 = 16 * 1024;

/// Where the folders of VMs are, below a datastore's root (`ostler-engine` lays them out).
const FOLDERS: &str = "vms";
/// The log's name in a VM's folder.
const LOG: &str = "console.log";

/// Where to begin.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct FromParams {
    /// In bytes from the start of the log; near its end if not given.
    from: Option<u64>,
}

/// A part of the serial console's log.
#[utoipa::path(
    get, path = "/v1/vms/{vm}/console-log", tag = "vms", params(("vm" = String, Path, description = "Id or name"), FromParams),
    responses((status = 200, body = ConsoleChunk), ApiError)
)]
pub(crate) async fn console_log(
    State(app): State<Shared>,
    Path(which): Path<String>,
    Params(params): Params<FromParams>,
) -> Answer<Json<ConsoleChunk>> {
    let path = {
        let reader = app.store().read()?;
        file(&reader, &find::vm(&reader, &which)?)?
    };
    read(&path, params.from).await.map(Json).map_err(|err| unavailable(&format!("{} cannot be read: {err}", path.display())))
}

fn unavailable(detail: &str) -> ApiError {
    ApiError::new(StatusCode::CONFLICT, code::UNUSABLE, detail).hint("the log begins when the VM is first started")
}

/// Where the log is, if it is on this machine.
fn file(reader: &Reader, record: &VmRecord) -> Answer<PathBuf> {
    let (Some(place), Some(storage)) = (&record.placement, &record.storage) else {
        return Err(unavailable(&format!("VM {} is on no host", record.id)));
    };
    let host: Host = reader.host(place.host)?.ok_or_else(|| ApiError::not_found("host", &place.host.to_string()))?;
    let datastore = reader.datastore(storage.datastore)?;
    let datastore = datastore.ok_or_else(|| ApiError::not_found("datastore", &storage.datastore.to_string()))?;
    if !(storage.shared || matches!(host.transport, ostler_model::ExecTransport::Local)) {
        return Err(unavailable(&format!("the log is on host {}, out of sight from here", host.name)));
    }
    Ok(PathBuf::from(datastore.root).join(FOLDERS).join(record.folder()).join(LOG))
}

async fn read(path: &std::path::Path, from: Option<u64>) -> std::io::Result<ConsoleChunk> {
    // The guest's host writes there: a link must not lead elsewhere.
    if !tokio::fs::symlink_metadata(path).await?.is_file() {
        return Err(std::io::Error::other("it is no plain file"));
    }
    let mut file = tokio::fs::File::open(path).await?;
    let size = file.metadata().await?.len();
    let from = from.unwrap_or_else(|| size.saturating_sub(TAIL)).min(size);
    file.seek(std::io::SeekFrom::Start(from)).await?;
    let mut bytes = Vec::new();
    file.take(CHUNK).read_to_end(&mut bytes).await?;
    let next = from + bytes.len() as u64;
    Ok(ConsoleChunk { from, next, size, text: String::from_utf8_lossy(&bytes).into_owned() })
}
