//! `GET /v1/vms/{vm}/console-log`: the serial console's log, where its file can be read on this
//! machine.

use super::lookup;
use crate::app::Shared;
use crate::extract::Params;
use crate::problem::{ApiError, Handled, Thing};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use ostler_api::{ConsoleChunk, code};
use ostler_model::{Host, InvalidName, RelPath, VmRecord};
use ostler_store::Reader;
use serde::Deserialize;
use std::io::{self, Read, Seek, SeekFrom};
use std::time::Duration;
use utoipa::IntoParams;

/// Most bytes in one answer.
const CHUNK: u64 = 64 * 1024;
/// Without `from`, the answer begins this many bytes before the end.
const TAIL: u64 = 16 * 1024;
/// How long a read may take; storage over a network may not answer for hours.
const READ_TIMEOUT: Duration = Duration::from_secs(15);

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
    get, path = "/v1/vms/{vm}/console-log", tag = "vms",
    params(("vm" = String, Path, description = "Id or name"), FromParams),
    responses((status = 200, body = ConsoleChunk), ApiError)
)]
pub(crate) async fn console_log(
    State(app): State<Shared>,
    Path(which): Path<String>,
    Params(params): Params<FromParams>,
) -> Handled<Json<ConsoleChunk>> {
    let (root, path) = {
        let reader = app.store().read()?;
        file(&reader, &lookup::vm(&reader, &which)?)?
    };
    let permit = app.file_permit()?;
    let told = format!("{root}/{path} cannot be read");
    // The thread keeps its permit until the read returns, even if nobody waits for it any more. So
    // storage that hangs cannot take more and more threads.
    let read = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        read(&root, &path, params.from)
    });
    match tokio::time::timeout(READ_TIMEOUT, read).await {
        Ok(Ok(Ok(chunk))) => Ok(Json(chunk)),
        Ok(Ok(Err(err))) => Err(unavailable(&format!("{told}: {err}"))),
        Ok(Err(err)) => Err(unavailable(&format!("{told}: a defect of ostlerd: {err}"))),
        Err(_) => Err(unavailable(&format!("{told}: its storage does not answer"))),
    }
}

fn unavailable(detail: &str) -> ApiError {
    ApiError::new(StatusCode::CONFLICT, code::UNUSABLE, detail)
        .hint("the log begins when the VM is first started")
}

/// Where the log is, if it is on this machine.
fn file(reader: &Reader, record: &VmRecord) -> Handled<(String, RelPath)> {
    let (Some(place), Some(storage)) = (&record.placement, &record.storage) else {
        return Err(unavailable(&format!("VM {} is on no host", record.id)));
    };
    let host: Host = reader
        .host(place.host)?
        .ok_or_else(|| ApiError::not_found(Thing::Host, &place.host.to_string()))?;
    let datastore = reader.datastore(storage.datastore)?;
    let datastore = datastore
        .ok_or_else(|| ApiError::not_found(Thing::Datastore, &storage.datastore.to_string()))?;
    if !(storage.shared || matches!(host.transport, ostler_model::ExecTransport::Local)) {
        return Err(unavailable(&format!(
            "the log is on host {}, out of sight from here",
            host.name
        )));
    }
    let path = format!("{FOLDERS}/{}/{LOG}", record.folder());
    Ok((
        datastore.root,
        path.parse()
            .map_err(|err: InvalidName| unavailable(&format!("{path} is no path: {err}")))?,
    ))
}

/// Reads a part of the log. The VM's host writes into this folder, and may put a link or a pipe in
/// the place of the log or of a folder above it. Neither is followed, so no other file of this
/// machine can be read.
fn read(root: &str, path: &RelPath, from: Option<u64>) -> io::Result<ConsoleChunk> {
    let mut file = ostler_wasm::open_in_datastore(root, path)?;
    let size = file.metadata()?.len();
    let from = from.unwrap_or_else(|| size.saturating_sub(TAIL)).min(size);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(CHUNK).read_to_end(&mut bytes)?;
    let next = from + bytes.len() as u64;
    Ok(ConsoleChunk { from, next, size, text: String::from_utf8_lossy(&bytes).into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_log_is_read_in_parts_and_only_where_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let (root, outside) = (folder.path().join("root"), folder.path().join("outside"));
        std::fs::create_dir_all(root.join("vms/a")).expect("a folder");
        std::fs::create_dir_all(&outside).expect("a folder");
        std::fs::write(outside.join("console.log"), "secret").expect("a file");
        let (base, path) =
            (root.display().to_string(), "vms/a/console.log".parse().expect("a path"));
        assert!(read(&base, &path, None).is_err(), "there is none");

        std::fs::write(root.join("vms/a/console.log"), "0123456789").expect("a file");
        let chunk = read(&base, &path, Some(4)).expect("it is there");
        assert_eq!(
            (chunk.from, chunk.next, chunk.size, chunk.text.as_str()),
            (4, 10, 10, "456789")
        );
        assert_eq!(read(&base, &path, Some(99)).expect("it is there").text, "");

        // The host has put links, or a pipe, in its place.
        std::fs::remove_file(root.join("vms/a/console.log")).expect("it is gone");
        symlink(outside.join("console.log"), root.join("vms/a/console.log")).expect("a link");
        assert!(read(&base, &path, None).is_err(), "a link led out");
        std::fs::remove_file(root.join("vms/a/console.log")).expect("it is gone");
        let made = std::process::Command::new("mkfifo")
            .arg(root.join("vms/a/console.log"))
            .status()
            .expect("mkfifo runs");
        assert!(made.success());
        assert!(read(&base, &path, None).is_err(), "a pipe was read");
        std::fs::remove_dir_all(root.join("vms/a")).expect("it is gone");
        symlink(&outside, root.join("vms/a")).expect("a link");
        assert!(read(&base, &path, None).is_err(), "a link above led out");
    }
}
