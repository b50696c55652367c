//! Components that clients have sent, each in a file of its own, until a driver is made of it.
//!
//! A driver is added from a file on this machine. A client on another machine sends the file first.
//! Nothing of it is read here: it is judged when the driver is added, like every other file. The
//! folder is emptied when the daemon starts, and only the newest files stay in it.

use axum::body::BodyDataStream;
use futures::StreamExt as _;
use ostler_wasm::{FILE_MAX, signature_file};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::fs;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many components are received at once.
const AT_ONCE: usize = 2;
/// How many components stay. A client adds its driver right after it has sent the file.
const KEPT_MAX: usize = 4;
/// How long a client may send nothing.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long the whole component may take: 64 MiB over a slow line.
const ALL_MAX: Duration = Duration::from_secs(600);

/// Why a component was not received.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadProblem {
    /// It is larger than a driver may be.
    #[error("the component is larger than {FILE_MAX} bytes")]
    TooLarge,
    /// The client sent too slowly.
    #[error("the component took too long")]
    TooSlow,
    /// The connection broke off.
    #[error("the component broke off: {0}")]
    Broken(#[source] axum::Error),
    /// The file cannot be written.
    #[error("cannot keep the component in {path}")]
    File {
        /// The folder.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
}

/// A component that was received.
#[derive(Debug)]
pub(crate) struct Received {
    /// Its file.
    pub(crate) path: PathBuf,
    /// Its size in bytes.
    pub(crate) size: u64,
}

/// The folder of components that clients have sent.
pub(crate) struct Uploads {
    dir: PathBuf,
    places: Arc<Semaphore>,
}

impl Uploads {
    /// Empties the folder: what an earlier daemon has received is not added any more.
    pub(crate) fn start(dir: PathBuf) -> io::Result<Self> {
        match std::fs::remove_dir_all(&dir) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
            Ok(()) | Err(_) => {}
        }
        Ok(Self { dir, places: Arc::new(Semaphore::new(AT_ONCE)) })
    }

    /// A place for one more component. None if all are taken.
    pub(crate) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Receives a component, and the signature that lies beside it.
    pub(crate) async fn receive(
        &self,
        body: BodyDataStream,
        signature: Option<Vec<u8>>,
    ) -> Result<Received, UploadProblem> {
        let failed = |source| UploadProblem::File { path: self.dir.clone(), source };
        fs::create_dir_all(&self.dir).await.map_err(failed)?;
        let path = self.dir.join(format!("{}.wasm", uuid::Uuid::new_v4()));
        let work = tokio::time::timeout(ALL_MAX, self.write(&path, body));
        let size = match work.await.unwrap_or(Err(UploadProblem::TooSlow)) {
            Ok(size) => size,
            Err(problem) => {
                // The rest of it is removed with the folder at the latest.
                let _ = fs::remove_file(&path).await;
                return Err(problem);
            }
        };
        if let Some(text) = signature {
            fs::write(signature_file(&path), text).await.map_err(failed)?;
        }
        self.tidy().await;
        Ok(Received { path, size })
    }

    async fn write(&self, path: &Path, mut body: BodyDataStream) -> Result<u64, UploadProblem> {
        let failed = |source| UploadProblem::File { path: self.dir.clone(), source };
        let mut file = fs::File::create_new(path).await.map_err(failed)?;
        let mut size = 0_u64;
        loop {
            let part = tokio::time::timeout(SILENCE_MAX, body.next()).await;
            let Some(part) = part.map_err(|_| UploadProblem::TooSlow)? else { break };
            let part = part.map_err(UploadProblem::Broken)?;
            size += part.len() as u64;
            if size > FILE_MAX {
                return Err(UploadProblem::TooLarge);
            }
            file.write_all(&part).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)?;
        Ok(size)
    }

    /// Removes all files except those of the newest components.
    async fn tidy(&self) {
        let Ok(mut entries) = fs::read_dir(&self.dir).await else { return };
        let mut found: Vec<(SystemTime, PathBuf)> = Vec::new();
        while let Ok(Some(entry)) = entries.next_entry().await {
            let path = entry.path();
            let changed = entry.metadata().await.and_then(|meta| meta.modified());
            if let Ok(changed) = changed
                && path.extension().is_some_and(|extension| extension == "wasm")
            {
                found.push((changed, path));
            }
        }
        found.sort_by(|a, b| b.cmp(a));
        // One that is being received now is among the newest.
        for (_, path) in found.into_iter().skip(KEPT_MAX + AT_ONCE) {
            for file in [signature_file(&path), path] {
                match fs::remove_file(&file).await {
                    Err(err) if err.kind() != io::ErrorKind::NotFound => {
                        tracing::warn!(path = %file.display(), %err, "a received file stays");
                    }
                    Ok(()) | Err(_) => {}
                }
            }
        }
    }
}
