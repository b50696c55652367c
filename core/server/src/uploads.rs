//! Components that clients have sent, each in a file of its own, until a driver is made of it.
//!
//! A driver is added from a file on this machine. A client on another machine sends the file first.
//! Nothing of it is read here: it is judged when the driver is added, like every other file. The
//! folder is emptied when the daemon starts, and only the newest files stay in it. Their order is
//! kept in memory, because the times of files go wrong when the clock is set back.

use axum::body::BodyDataStream;
use futures::StreamExt as _;
use ostler_wasm::{FILE_MAX, signature_file};
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::fs;
use tokio::io::AsyncWriteExt as _;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

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
        /// The file of the component.
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
    /// The components that were received whole, the oldest first.
    kept: Mutex<VecDeque<PathBuf>>,
}

/// The files of a component that is not received whole yet. They are removed when this is dropped.
struct Unkept(PathBuf);

/// The end of a reception: the component and its size.
type Ended = Result<(Unkept, u64), UploadProblem>;

impl Uploads {
    /// Empties the folder: nobody adds a file any more that an earlier daemon has received.
    pub(crate) fn start(dir: PathBuf) -> io::Result<Self> {
        match std::fs::remove_dir_all(&dir) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
            Ok(()) | Err(_) => {}
        }
        let places = Arc::new(Semaphore::new(AT_ONCE));
        Ok(Self { dir, places, kept: Mutex::default() })
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
        let (answer, answered) = oneshot::channel();
        let files = Unkept(self.dir.join(format!("{}.wasm", uuid::Uuid::new_v4())));
        // It is a task of its own, because this one ends at any point if the client leaves. Then a
        // file could still be made after the others were removed.
        tokio::spawn(receive(files, body, signature, answer));
        let ended = answered.await.unwrap_or_else(|_| {
            let source = io::Error::other("the task that writes it has ended");
            Err(UploadProblem::File { path: self.dir.clone(), source })
        });
        let (files, size) = ended?;
        let path = files.keep();
        let oldest = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push_back(path.clone());
            if kept.len() > KEPT_MAX { kept.pop_front() } else { None }
        };
        if let Some(oldest) = oldest {
            Unkept(oldest).remove().await;
        }
        Ok(Received { path, size })
    }
}

impl Unkept {
    fn keep(mut self) -> PathBuf {
        std::mem::take(&mut self.0)
    }

    async fn remove(self) {
        let path = self.keep();
        let removing = tokio::task::spawn_blocking(move || remove(&path));
        // It is an error only if the daemon ends, and the next one empties the folder.
        let _ = removing.await;
    }
}

impl Drop for Unkept {
    fn drop(&mut self) {
        let path = std::mem::take(&mut self.0);
        if path.as_os_str().is_empty() {
            return;
        }
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || remove(&path))),
            Err(_) => remove(&path),
        }
    }
}

/// The file of a component that is being received.
fn part_of(component: &Path) -> PathBuf {
    component.with_extension("wasm.part")
}

/// Removes the files of a component.
fn remove(component: &Path) {
    for file in [part_of(component), component.to_owned(), signature_file(component)] {
        match std::fs::remove_file(&file) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %file.display(), %err, "a received file stays");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

/// Receives a component. If nobody waits for it in the end, its files are removed.
async fn receive(
    files: Unkept,
    body: BodyDataStream,
    signature: Option<Vec<u8>>,
    mut answer: oneshot::Sender<Ended>,
) {
    let ended = match write(&files.0, body, signature, &mut answer).await {
        Ok(size) => Ok((files, size)),
        Err(problem) => {
            files.remove().await;
            Err(problem)
        }
    };
    // The files are in it: they are removed with it.
    drop(answer.send(ended));
}

/// Writes the files of a component. The component itself comes last, and whole.
async fn write(
    path: &Path,
    body: BodyDataStream,
    signature: Option<Vec<u8>>,
    answer: &mut oneshot::Sender<Ended>,
) -> Result<u64, UploadProblem> {
    let failed = |source| UploadProblem::File { path: path.to_owned(), source };
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).await.map_err(failed)?;
    }
    let part = part_of(path);
    let mut file = fs::File::create_new(&part).await.map_err(failed)?;
    let copied = tokio::select! {
        copied = tokio::time::timeout(ALL_MAX, copy(&mut file, path, body)) => copied,
        () = answer.closed() => {
            return Err(UploadProblem::Broken(axum::Error::new("the client has left")));
        }
    };
    let size = copied.unwrap_or(Err(UploadProblem::TooSlow))?;
    if let Some(text) = signature {
        fs::write(signature_file(path), text).await.map_err(failed)?;
    }
    fs::rename(part, path).await.map_err(failed)?;
    Ok(size)
}

/// Writes the body into a file.
async fn copy(
    file: &mut fs::File,
    path: &Path,
    mut body: BodyDataStream,
) -> Result<u64, UploadProblem> {
    let failed = |source| UploadProblem::File { path: path.to_owned(), source };
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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use futures::SinkExt as _;
    use std::pin::pin;
    use std::task::Poll;

    const LONG: Duration = Duration::from_secs(30);

    fn body(text: &'static str) -> BodyDataStream {
        Body::from(text).into_data_stream()
    }

    fn uploads() -> (tempfile::TempDir, Uploads) {
        let folder = tempfile::tempdir().expect("a folder");
        let uploads = Uploads::start(folder.path().join("uploads")).expect("started");
        (folder, uploads)
    }

    /// Waits until the sizes of the files in the folder are these.
    async fn until(uploads: &Uploads, sizes: &[u64]) {
        let mut found = Vec::new();
        let wait = async {
            loop {
                let entries = std::fs::read_dir(&uploads.dir).into_iter().flatten().flatten();
                found = entries.filter_map(|it| it.metadata().ok()).map(|it| it.len()).collect();
                found.sort_unstable();
                if found == sizes {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::timeout(LONG, wait).await;
        assert!(waited.is_ok(), "{found:?} instead of {sizes:?}");
    }

    /// Polls `work` so many times, and drops it when it would be polled again.
    async fn polled<T>(times: usize, work: impl Future<Output = T>) -> Option<T> {
        let (mut work, mut polls) = (pin!(work), 0);
        std::future::poll_fn(|cx| {
            if polls == times {
                return Poll::Ready(None);
            }
            polls += 1;
            work.as_mut().poll(cx).map(Some)
        })
        .await
    }

    #[tokio::test]
    async fn a_client_that_leaves_leaves_no_file() {
        let (_folder, uploads) = uploads();
        for times in 1.. {
            let signature = Some(b"a signature".to_vec());
            let ended = polled(times, uploads.receive(body("component"), signature)).await;
            if let Some(received) = ended {
                assert!(received.expect("received").path.exists());
                break;
            }
        }
        until(&uploads, &[9, 11]).await;
    }

    #[tokio::test]
    async fn the_body_of_a_client_that_has_left_is_not_waited_for() {
        let (_folder, uploads) = uploads();
        let (mut sender, pieces) = futures::channel::mpsc::channel::<io::Result<&str>>(1);
        sender.send(Ok("piece")).await.expect("taken");
        let mut work =
            Box::pin(uploads.receive(Body::from_stream(pieces).into_data_stream(), None));
        tokio::select! {
            _ = &mut work => panic!("the body has no end"),
            () = until(&uploads, &[5]) => {}
        }
        drop(work);
        until(&uploads, &[]).await;
        drop(sender);
    }

    #[tokio::test]
    async fn one_that_is_being_received_stays() {
        let (_folder, uploads) = uploads();
        let (mut sender, pieces) = futures::channel::mpsc::channel::<io::Result<&str>>(1);
        let slow = uploads.receive(Body::from_stream(pieces).into_data_stream(), None);
        let others = async {
            sender.send(Ok("begin ")).await.expect("taken");
            until(&uploads, &[6]).await;
            for _ in 0..7 {
                uploads.receive(body("x"), None).await.expect("received");
            }
            sender.send(Ok("end")).await.expect("taken");
            drop(sender);
        };
        let (slow, ()) = tokio::join!(slow, others);
        let path = slow.expect("received").path;
        assert_eq!(std::fs::read(path).expect("it stays"), b"begin end");
        until(&uploads, &[1, 1, 1, 9]).await;
    }
}
