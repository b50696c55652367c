//! Looks at files before they are believed: at the front end and at the hosts that are to use them, at all of them at once, and for a
//! bounded time. What was seen is judged in [`judge`].

pub(crate) mod judge;

use crate::app::App;
use crate::problem::{Answer, ApiError};
use crate::services;
use axum::http::StatusCode;
use futures::future::join_all;
use ostler_api::code;
use ostler_driver::{FileKind, FileLook, FileRef, NOT_ABLE, Site, Transfer, require};
use ostler_model::{Datastore, DiskSource, DriverError, ErrorKind, HostId, ImageState, RelPath, VmSpec};
use ostler_store::Reader;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// How long a look may take before something is added. Whoever asked waits for it.
pub(crate) const BEFORE_ADDING: Duration = Duration::from_secs(10);
/// And for somebody who only wants to see.
pub(crate) const TO_SHOW: Duration = Duration::from_secs(3);
/// How long the front end's own file system may take to say whether a file is there.
const STAT_PATIENCE: Duration = Duration::from_secs(3);
/// How many machines are asked for one request. More are told of as not looked at.
const PLACES_MAX: usize = 64;
/// How many requests may look at once: each may hold threads for as long as a file system hangs.
pub(crate) const AT_ONCE: usize = 8;
/// The name below a datastore's root that is looked for to see whether the root is there. Nothing has this name.
const NOTHING: &str = ".ostler-look";

/// What one machine saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The machine's name.
    pub(crate) at: String,
    pub(crate) found: Result<FileLook, Missed>,
}

/// Why nothing was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Missed {
    /// There is no such file.
    Gone,
    /// The datastore's directory is not there.
    NoRoot,
    /// It is there, and may not be used.
    Refused(String),
    /// Nobody could look; `late` if the time was over.
    Blind { why: String, late: bool },
}

impl From<DriverError> for Missed {
    fn from(error: DriverError) -> Self {
        match error.kind {
            _ if error.code == "no-such-datastore" => Self::NoRoot,
            ErrorKind::Gone => Self::Gone,
            ErrorKind::Refused => Self::Refused(error.detail),
            ErrorKind::Retry | ErrorKind::NotHere | ErrorKind::Stale | ErrorKind::Cancelled | ErrorKind::Unknown => {
                Self::Blind { late: error.code == "driver-deadline", why: error.to_string() }
            }
        }
    }
}

/// A file, or with `path` none the root itself, as each machine sees it.
pub(crate) async fn everywhere(app: &App, datastore: &Datastore, path: Option<&RelPath>, patience: Duration) -> Answer<Vec<Seen>> {
    let driver = app.registry.transfer(&datastore.driver).map_err(|err| ApiError::unusable("driver", &err))?;
    let permit = Arc::new(permit(app)?);
    // A constant that is a path.
    let path = path.cloned().unwrap_or_else(|| NOTHING.parse().unwrap_or_else(|_| unreachable!("{NOTHING} is a path")));
    let places = services::places(&app.store().read()?, datastore);
    let looks = places.into_iter().enumerate().map(|(at, site)| {
        let (driver, datastore, path, permit) = (Arc::clone(&driver), datastore.clone(), path.clone(), Arc::clone(&permit));
        async move {
            let name = site.name.to_string();
            let work = async move { look(&*driver, &site, &datastore, &path, patience, &permit).await };
            // A task of its own: a panic of a driver is an answer, and a caller that goes away leaves nothing half done.
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

/// Refuses what a VM is to be made from if it surely is not there: the front end sees the datastore, and the file is not in it. Whatever
/// cannot be known is left to the host.
pub(crate) async fn of_new_vm(app: &App, spec: &VmSpec) -> Answer<()> {
    let named = named(&app.store().read()?, spec)?;
    for Named { field, what, datastore, path } in named {
        // Too many look already: then this one is found by the host.
        let Ok(permit) = permit(app) else { return Ok(()) };
        if matches!(by_hand(&datastore, &path, Arc::new(permit)).await, Err(Missed::Gone)) {
            let detail = format!("{what} is not there: {}:{path}", datastore.name);
            let hint = "put the file into the datastore's directory first, on each host that is to use it";
            return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, code::NO_SUCH_FILE, detail).field(field).hint(hint));
        }
    }
    Ok(())
}

/// The files that a specification names, as far as the front end sees what its host will.
fn named(reader: &Reader, spec: &VmSpec) -> Answer<Vec<Named>> {
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
        if let DiskSource::Image { image } = &disk.source
            && let Some(image) = reader.image_by_name(image)?.filter(|image| image.state == ImageState::Ready)
            && let Some(datastore) = reader.datastore(image.datastore)?
        {
            let what = format!("the file of image {}", image.name);
            named.push(Named { field: format!("spec.disks[{at}].image"), what, datastore, path: image.path });
        }
    }
    // Hosts that have files of their own may have what the front end has not.
    named.retain(|named| named.datastore.shared || services::places(reader, &named.datastore).len() == 1);
    Ok(named)
}

fn permit(app: &App) -> Answer<OwnedSemaphorePermit> {
    Arc::clone(&app.looks).try_acquire_owned().map_err(|_| {
        let detail = format!("{AT_ONCE} requests are looking at files already");
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, code::OVERLOADED, detail).hint("try again in some seconds")
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
    let file = FileRef { host: site.id, datastore: datastore.name.clone(), path: path.clone(), absolute };
    let work = async { require(driver.inspect(), &datastore.driver)?.inspect(site, &file, patience).await };
    match tokio::time::timeout(patience, work).await {
        Err(_) => Err(late(patience)),
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) if error.code == NOT_ABLE && site.id == HostId::FRONT_END => {
            by_hand(datastore, path, Arc::clone(permit)).await
        }
        Ok(Err(error)) if error.code == NOT_ABLE => Err(Missed::Blind { why: error.detail, late: false }),
        Ok(Err(error)) => Err(error.into()),
    }
}

fn late(patience: Duration) -> Missed {
    Missed::Blind { why: format!("no answer within {} s", patience.as_secs()), late: true }
}

/// As far as the front end's file system tells: whether it is there, of which kind and size. The format stays empty: nobody looked inside.
async fn by_hand(datastore: &Datastore, path: &RelPath, permit: Arc<OwnedSemaphorePermit>) -> Result<FileLook, Missed> {
    let (root, path) = (datastore.root.clone(), path.to_string());
    // The thread keeps its place until the file system answers, also when nobody waits any more.
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
    Ok(FileLook { kind, size: found.len(), format, virtual_size: 0, names, encrypted: false, damage: None })
}
