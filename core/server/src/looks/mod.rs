//! Looks at files and datastores before they are added: on the front end and on the hosts that are
//! to use them, on all at the same time, and for a limited time. [`judge`] decides whether the
//! results are good enough.

pub(crate) mod judge;

use crate::app::{App, LOOKS_MAX};
use crate::problem::{ApiError, Handled};
use crate::services;
use axum::http::StatusCode;
use futures::future::join_all;
use ostler_api::code;
use ostler_driver::{FileKind, FileLook, FileRef, NOT_ABLE, Site, Transfer, require};
use ostler_model::{
    Datastore, DiskSource, DriverError, ErrorKind, HostId, ImageState, RelPath, VmSpec,
};
use ostler_store::Reader;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// How long a look may take before something is added. The client waits for it.
pub(crate) const BEFORE_ADDING: Duration = Duration::from_secs(10);
/// How long a look may take if a datastore is only to be shown.
pub(crate) const TO_SHOW: Duration = Duration::from_secs(3);
/// How long the front end's own file system may take to say whether a file is there.
const STAT_PATIENCE: Duration = Duration::from_secs(3);
/// At most this many machines are asked for one request. The others are reported as not looked at.
const PLACES_MAX: usize = 64;
/// To find out whether the root of a datastore is there, a look asks for this name below it. No
/// file has this name.
const NOTHING: &str = ".ostler-look";

/// The result of a look on one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The machine's name.
    pub(crate) at: String,
    pub(crate) found: Result<FileLook, Missed>,
}

/// Why a machine saw no file that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Missed {
    /// There is no such file.
    Gone,
    /// The datastore's directory is not there.
    NoRoot,
    /// The file is there, and may not be used.
    Refused(String),
    /// The machine could not look. `late` is true if the time was over.
    Blind { why: String, late: bool },
}

impl From<DriverError> for Missed {
    fn from(error: DriverError) -> Self {
        match error.kind {
            _ if error.code == "no-such-datastore" => Self::NoRoot,
            ErrorKind::Gone => Self::Gone,
            ErrorKind::Refused => Self::Refused(error.detail),
            ErrorKind::Retry
            | ErrorKind::NotHere
            | ErrorKind::Stale
            | ErrorKind::Cancelled
            | ErrorKind::Unknown => {
                Self::Blind { late: error.code == "driver-deadline", why: error.to_string() }
            }
        }
    }
}

/// Looks at a file on each machine, or without a `path` at the root of the datastore.
pub(crate) async fn everywhere(
    app: &App,
    datastore: &Datastore,
    path: Option<&RelPath>,
    patience: Duration,
) -> Handled<Vec<Seen>> {
    let driver = app
        .registry
        .transfer(&datastore.driver)
        .map_err(|err| ApiError::unusable("driver", &err))?;
    let permit = Arc::new(permit(app)?);
    // The constant is a valid path.
    let path = path
        .cloned()
        .unwrap_or_else(|| NOTHING.parse().unwrap_or_else(|_| unreachable!("{NOTHING} is a path")));
    let places = services::places(&app.store().read()?, datastore);
    let looks = places.into_iter().enumerate().map(|(at, site)| {
        let (driver, datastore, path, permit) =
            (Arc::clone(&driver), datastore.clone(), path.clone(), Arc::clone(&permit));
        async move {
            let name = site.name.to_string();
            let work =
                async move { look(&*driver, &site, &datastore, &path, patience, &permit).await };
            // Each look is a task of its own. So a driver that panics does not end the request, and
            // a look that has begun ends even if the client has gone.
            let found = if at < PLACES_MAX { tokio::spawn(work).await.ok() } else { None };
            let why = "it was not asked".to_owned();
            Seen { at: name, found: found.unwrap_or(Err(Missed::Blind { why, late: false })) }
        }
    });
    Ok(join_all(looks).await)
}

/// A file that a VM is to be made from.
struct Named {
    field: String,
    what: String,
    datastore: Datastore,
    path: RelPath,
}

/// Refuses a new VM if a file that it needs is missing for certain: the front end sees the
/// datastore's root, and the file is not there. In any doubt the VM is not refused, and its host
/// finds out.
pub(crate) async fn of_new_vm(app: &App, spec: &VmSpec) -> Handled<()> {
    let named = named(&app.store().read()?, spec)?;
    for Named { field, what, datastore, path } in named {
        // If too many requests look already, the VM is not refused here, and its host finds out.
        let Ok(permit) = permit(app) else { return Ok(()) };
        if matches!(by_hand(&datastore, &path, Arc::new(permit)).await, Err(Missed::Gone)) {
            let detail = format!("{what} is not there: {}:{path}", datastore.name);
            let hint =
                "put the file into the datastore's directory first, on each host that is to use it";
            return Err(ApiError::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                code::NO_SUCH_FILE,
                detail,
            )
            .field(field)
            .hint(hint));
        }
    }
    Ok(())
}

/// The files that a specification names, if the front end sees the same files as the VM's host.
fn named(reader: &Reader, spec: &VmSpec) -> Handled<Vec<Named>> {
    let mut named = Vec::new();
    for (field, file) in [("boot.kernel", &spec.boot.kernel), ("boot.initrd", &spec.boot.initrd)] {
        if let Some(file) = file
            && let Some(datastore) = reader.datastore_by_name(&file.datastore)?
        {
            named.push(Named {
                field: format!("spec.{field}"),
                what: format!("the file of {field}"),
                datastore,
                path: file.path.clone(),
            });
        }
    }
    for (at, disk) in spec.disks.iter().enumerate() {
        if let DiskSource::Image { image, .. } = &disk.source
            && let Some(image) =
                reader.image_by_name(image)?.filter(|image| image.state == ImageState::Ready)
            && let Some(datastore) = reader.datastore(image.datastore)?
        {
            let what = format!("the file of image {}", image.name);
            named.push(Named {
                field: format!("spec.disks[{at}].image"),
                what,
                datastore,
                path: image.path,
            });
        }
    }
    // In a datastore that is not shared, another machine may have a file that the front end lacks.
    // So these files are left out.
    named.retain(|named| {
        named.datastore.shared || services::places(reader, &named.datastore).len() == 1
    });
    Ok(named)
}

fn permit(app: &App) -> Handled<OwnedSemaphorePermit> {
    Arc::clone(&app.looks).try_acquire_owned().map_err(|_| {
        let detail = format!("{LOOKS_MAX} requests are looking at files already");
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, code::OVERLOADED, detail)
            .hint("try again in some seconds")
    })
}

async fn look(
    driver: &dyn Transfer,
    site: &Site,
    datastore: &Datastore,
    path: &RelPath,
    patience: Duration,
    permit: &Arc<OwnedSemaphorePermit>,
) -> Result<FileLook, Missed> {
    let absolute = format!("{}/{path}", datastore.root);
    let file =
        FileRef { host: site.id, datastore: datastore.name.clone(), path: path.clone(), absolute };
    let work = async {
        require(driver.inspect(), &datastore.driver)?.inspect(site, &file, patience).await
    };
    match tokio::time::timeout(patience, work).await {
        Err(_) => Err(late(patience)),
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) if error.code == NOT_ABLE && site.id == HostId::FRONT_END => {
            by_hand(datastore, path, Arc::clone(permit)).await
        }
        Ok(Err(error)) if error.code == NOT_ABLE => {
            Err(Missed::Blind { why: error.detail, late: false })
        }
        Ok(Err(error)) => Err(error.into()),
    }
}

fn late(patience: Duration) -> Missed {
    Missed::Blind { why: format!("no answer within {} s", patience.as_secs()), late: true }
}

/// Looks at a file with the front end's own file system: whether it is there, its kind and its
/// size. The format stays empty, because the content is not read.
async fn by_hand(
    datastore: &Datastore,
    path: &RelPath,
    permit: Arc<OwnedSemaphorePermit>,
) -> Result<FileLook, Missed> {
    let (root, path) = (datastore.root.clone(), path.to_string());
    // The thread keeps its permit until the file system answers, even if nobody waits any more. So
    // storage that hangs cannot take more and more threads.
    let work = tokio::task::spawn_blocking(move || {
        let found = stat(Path::new(&root), &path);
        drop(permit);
        found
    });
    match tokio::time::timeout(STAT_PATIENCE, work).await {
        Err(_) => Err(late(STAT_PATIENCE)),
        Ok(Err(error)) => Err(Missed::Blind { why: error.to_string(), late: false }),
        Ok(Ok(found)) => found,
    }
}

fn stat(root: &Path, path: &str) -> Result<FileLook, Missed> {
    if !root.is_dir() {
        return Err(Missed::NoRoot);
    }
    let found = match std::fs::metadata(root.join(path)) {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(Missed::Gone),
        Err(error) => return Err(Missed::Blind { why: error.to_string(), late: false }),
    };
    let kind = match found.file_type() {
        kind if kind.is_file() => FileKind::File,
        kind if kind.is_dir() => FileKind::Directory,
        _ => FileKind::Other,
    };
    let (format, names) = (String::new(), Vec::new());
    Ok(FileLook {
        kind,
        size: found.len(),
        format,
        virtual_size: 0,
        names,
        encrypted: false,
        damage: None,
    })
}
