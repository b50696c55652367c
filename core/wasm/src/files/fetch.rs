//! Brings a file from one host to another as a stream through this machine. The file is never held
//! here as a whole, and never passes through a component.

use super::part::Part;
use super::remote::{self, RECEIVE, SEND, STDERR_MAX, argv, judge};
use super::{FileError, Place, Progress, Way, blocking, changing, local};
use crate::services::Services;
use crate::transport::{RunError, Running};
use std::io::SeekFrom;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

/// How many bytes are moved at once.
const CHUNK: usize = 256 * 1024;
/// Zeros of this length become a hole: several times the usual block of file systems.
const HOLE: usize = 64 * 1024;

enum Source {
    Local(tokio::fs::File),
    Remote(Box<Running>),
}

enum Sink {
    Local { file: tokio::fs::File, part: Part },
    Remote(Box<Running>),
}

pub(super) async fn fetch(
    services: &Services,
    (from, from_rel): (&Place, Way),
    (to, rel): (&Place, Way),
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<u64, FileError> {
    let stat = from.clone().stat(services, from_rel.clone(), stop).await?;
    let total = stat.ok_or_else(|| FileError::Absent(from_rel.to_string()))?.size;
    let mut source = Source::open(services, from, &from_rel, stop).await?;
    let mut sink = Sink::open(services, to, &rel, stop).await?;
    let moved = tokio::select! {
        moved = pump(&mut source, &mut sink, &from_rel, total, progress) => moved,
        () = stop.cancelled() => Err(FileError::Cancelled),
    };
    if let Source::Remote(running) = &mut source {
        running.end().await;
    }
    match moved {
        Ok(size) => sink.commit(services, to, &rel, size, stop).await.map(|()| size),
        Err(problem) => {
            sink.discard(services, to, &rel).await;
            Err(problem)
        }
    }
}

/// Moves all bytes, and checks that the source ended without an error.
async fn pump(
    source: &mut Source,
    sink: &mut Sink,
    rel: &Way,
    total: u64,
    progress: &Progress,
) -> Result<u64, FileError> {
    let failed = |error: std::io::Error| local::explain_io(&rel.to_string(), &error);
    let (mut buffer, mut done) = (vec![0; CHUNK], 0);
    loop {
        let count = match source {
            Source::Local(file) => file.read(&mut buffer).await,
            Source::Remote(running) => running.stdout.read(&mut buffer).await,
        }
        .map_err(failed)?;
        if count == 0 {
            break;
        }
        sink.take(&buffer[..count], rel).await?;
        done += count as u64;
        progress(done, total.max(done));
    }
    if let Source::Remote(running) = source {
        let (code, said) = running.finish(STDERR_MAX).await?;
        judge(rel, Some(code), &said)?;
    }
    Ok(done)
}

impl Source {
    async fn open(
        services: &Services,
        from: &Place,
        rel: &Way,
        stop: &CancellationToken,
    ) -> Result<Self, FileError> {
        if from.is_local() {
            let (root, rel) = (from.root.clone(), rel.clone());
            return blocking(move || local::open(&root, &rel))
                .await
                .map(|file| Self::Local(tokio::fs::File::from_std(file)));
        }
        let running = services
            .transports
            .stream(&from.via, &argv(SEND, &[&from.root, &rel.for_script()]), false, None, stop)
            .await?;
        Ok(Self::Remote(Box::new(running)))
    }
}

impl Sink {
    async fn open(
        services: &Services,
        to: &Place,
        rel: &Way,
        stop: &CancellationToken,
    ) -> Result<Self, FileError> {
        if to.is_local() {
            let (root, name) = (to.root.clone(), rel.clone());
            let part = changing(to.charge.clone(), move || Part::open(&root, &name)).await?;
            let file = part
                .file
                .try_clone()
                .map_err(|error| local::explain_io(&rel.to_string(), &error))?;
            return Ok(Self::Local { file: tokio::fs::File::from_std(file), part });
        }
        let running = services
            .transports
            .stream(
                &to.via,
                &argv(RECEIVE, &[&to.root, &rel.for_script()]),
                true,
                to.charge.clone(),
                stop,
            )
            .await?;
        Ok(Self::Remote(Box::new(running)))
    }

    async fn take(&mut self, bytes: &[u8], rel: &Way) -> Result<(), FileError> {
        let failed = |error: std::io::Error| local::explain_io(&rel.to_string(), &error);
        match self {
            Self::Local { file, .. } => {
                for piece in bytes.chunks(HOLE) {
                    if piece.iter().all(|&byte| byte == 0) {
                        file.seek(SeekFrom::Current(piece.len() as i64)).await.map_err(failed)?;
                    } else {
                        file.write_all(piece).await.map_err(failed)?;
                    }
                }
                Ok(())
            }
            Self::Remote(running) => {
                // It writes a draft of its own, which nobody uses if it goes on.
                let lost = || {
                    let why = "the host takes no more of its content".to_owned();
                    FileError::Run(RunError::Lost {
                        program: format!("the transfer of {rel}"),
                        why,
                        at_most: Duration::ZERO,
                    })
                };
                let written = running.stdin.as_mut().ok_or_else(lost)?.write_all(bytes).await;
                if written.is_err() {
                    // The command at the far end ended early; its standard error says why.
                    let (code, said) = running.finish(STDERR_MAX).await?;
                    judge(rel, Some(code), &said)?;
                    return Err(lost());
                }
                Ok(())
            }
        }
    }

    async fn commit(
        self,
        services: &Services,
        to: &Place,
        rel: &Way,
        size: u64,
        stop: &CancellationToken,
    ) -> Result<(), FileError> {
        match self {
            Self::Local { mut file, part } => {
                let ended = async {
                    file.flush().await?;
                    // If the file ends with a hole, it is too short until now.
                    file.set_len(size).await
                };
                ended.await.map_err(|error| local::explain_io(&rel.to_string(), &error))?;
                changing(to.charge.clone(), move || part.commit()).await
            }
            Self::Remote(mut running) => {
                running.stdin = None;
                let (code, said) = running.finish(STDERR_MAX).await?;
                drop(running);
                judge(rel, Some(code), &said)?;
                remote::place(services, to, rel, size, stop).await
            }
        }
    }

    async fn discard(self, services: &Services, to: &Place, rel: &Way) {
        match self {
            Self::Local { part, .. } => part.discard(),
            Self::Remote(mut running) => {
                running.end().await;
                drop(running);
                remote::discard(services, to, rel).await;
            }
        }
    }
}
