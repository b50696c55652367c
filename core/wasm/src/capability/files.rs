//! `files`: files below a datastore's root on the target host. Needs the grant `files`.

use super::{Env, HasView, State, View, cancelled, error, refused, view};
use crate::bindings::ostler::driver::files::{FileStat, Host, Path, add_to_linker as link};
use crate::bindings::ostler::driver::types::{Error, ErrorKind};
use crate::files::{FileError, Place, Progress};
use crate::text::told;
use ostler_driver::Site;
use ostler_model::{HostName, RelPath};
use std::sync::Arc;
use std::time::Instant;
use wasmtime::component::Linker;

/// The place of a file on a host. Checks that the datastore is there and that the path has the
/// right form.
fn locate(site: &Site, path: &Path) -> Result<(Place, RelPath), Error> {
    let place = Place::find(site, &path.datastore)?;
    Ok((place, relative(&path.path)?))
}

fn relative(path: &str) -> Result<RelPath, Error> {
    path.parse()
        .map_err(|error: ostler_model::InvalidName| refused("bad-path", told(&error.to_string())))
}

/// The body of one host function: checks the grant and the path, does the work in its own task,
/// writes one line of trace.
macro_rules! act {
    (
        $view:ident, $name:literal, $path:expr,
        |$place:ident, $rel:ident, $services:ident, $stop:ident| $work:expr
    ) => {{
        let (begun, env, path) = (Instant::now(), Arc::clone($view.env), &$path);
        let what = format!("{}:{}", env.told(&path.datastore), env.told(&path.path));
        let work = async {
            env.granted("files", &format!("{} of {what:?}", $name))?;
            let ($place, $rel) = locate(env.site()?, path)?;
            let $place = $place.held_by(env.charge.clone());
            let $services = Arc::clone(&env.side.services);
            Ok(env.work(move |$stop| async move { $work.await }).await??)
        };
        let answer = env.reach(|| format!("{} {what}", $name), work).await;
        env.flight($name, &what, begun, &answer);
        Ok(answer)
    }};
}

impl Host for View<'_> {
    async fn stat(&mut self, file: Path) -> wasmtime::Result<Result<Option<FileStat>, Error>> {
        let answer: wasmtime::Result<Result<_, Error>> =
            act!(self, "files.stat", file, |place, rel, services, stop| place
                .stat(&services, rel, &stop));
        let convert = |stat: crate::files::Stat| FileStat {
            kind: stat.kind.to_owned(),
            size: stat.size,
            allocated: stat.allocated,
            modified_ms: stat.modified_ms,
        };
        answer.map(|answer| answer.map(|stat| stat.map(convert)))
    }

    async fn list(&mut self, folder: Path) -> wasmtime::Result<Result<Vec<String>, Error>> {
        act!(self, "files.list", folder, |place, rel, services, stop| place
            .list(&services, rel, &stop))
    }

    async fn read(&mut self, file: Path) -> wasmtime::Result<Result<Option<Vec<u8>>, Error>> {
        act!(self, "files.read", file, |place, rel, services, stop| place
            .read(&services, rel, &stop))
    }

    async fn write(&mut self, file: Path, data: Vec<u8>) -> wasmtime::Result<Result<(), Error>> {
        act!(self, "files.write", file, |place, rel, services, stop| place
            .write(&services, rel, data, &stop))
    }

    async fn make_folder(&mut self, folder: Path) -> wasmtime::Result<Result<(), Error>> {
        act!(self, "files.make-folder", folder, |place, rel, services, stop| place
            .make_folder(&services, rel, &stop))
    }

    async fn remove(&mut self, target: Path) -> wasmtime::Result<Result<(), Error>> {
        act!(self, "files.remove", target, |place, rel, services, stop| place
            .remove(&services, rel, &stop))
    }

    async fn rename(&mut self, source: Path, target: Path) -> wasmtime::Result<Result<(), Error>> {
        if source.datastore != target.datastore {
            return Ok(Err(refused(
                "other-datastore",
                "a rename stays within one datastore; copy and remove instead",
            )));
        }
        let to = match relative(&target.path) {
            Ok(to) => to,
            Err(problem) => return Ok(Err(problem)),
        };
        act!(self, "files.rename", source, |place, rel, services, stop| place
            .rename(&services, rel, to, &stop))
    }

    async fn copy(&mut self, source: Path, target: Path) -> wasmtime::Result<Result<u64, Error>> {
        let progress = progress(self.env, "copy");
        let env = Arc::clone(self.env);
        let from = env.site().and_then(|site| locate(site, &source));
        let (from, from_rel) = match (env.granted("files", "files.copy"), from) {
            (Err(denied), _) => return Ok(Err(denied)),
            (Ok(()), Err(wrong)) => return Ok(Err(wrong)),
            (Ok(()), Ok(from)) => from,
        };
        act!(self, "files.copy", target, |place, rel, services, stop| place
            .copy(&services, from, from_rel, rel, progress, &stop))
    }

    async fn fetch(
        &mut self,
        from_host: String,
        source: Path,
        target: Path,
    ) -> wasmtime::Result<Result<u64, Error>> {
        let progress = progress(self.env, "fetch");
        let env = Arc::clone(self.env);
        let from = other_site(&env, &from_host).and_then(|site| locate(&site, &source));
        let (from, from_rel) = match (env.granted("files", "files.fetch"), from) {
            (Err(denied), _) => return Ok(Err(denied)),
            (Ok(()), Err(wrong)) => return Ok(Err(wrong)),
            (Ok(()), Ok(from)) => from,
        };
        act!(self, "files.fetch", target, |place, rel, services, stop| place
            .fetch(&services, from, from_rel, rel, progress, &stop))
    }

    async fn checksum(&mut self, file: Path) -> wasmtime::Result<Result<String, Error>> {
        act!(self, "files.checksum", file, |place, rel, services, stop| place
            .checksum(&services, rel, &stop))
    }

    async fn absolute(&mut self, file: Path) -> wasmtime::Result<Result<String, Error>> {
        act!(self, "files.absolute", file, |place, rel, services, stop| place
            .absolute_checked(&services, rel, &stop))
    }
}

fn other_site(env: &Env, name: &str) -> Result<Site, Error> {
    let unknown = || refused("no-such-host", format!("no host named {:?}", told(name)));
    let name: HostName = name.parse().map_err(|_| unknown())?;
    match &env.site {
        Some(site) if site.name == name => Ok(site.clone()),
        _ => env.side.services.sites.site(&name).ok_or_else(unknown),
    }
}

fn progress(env: &Arc<Env>, phase: &'static str) -> Progress {
    let env = Arc::clone(env);
    Arc::new(move |done, total| env.report(done, total, phase))
}

impl From<FileError> for Error {
    fn from(problem: FileError) -> Self {
        let detail = problem.to_string();
        match problem {
            FileError::Run(problem) => problem.into(),
            FileError::Cancelled => cancelled(),
            FileError::NoDatastore(_) => refused("no-such-datastore", detail),
            FileError::Outside(_) => refused("outside-datastore", detail),
            FileError::Absent(_) => error(ErrorKind::Gone, "no-such-file", detail),
            FileError::TooMuch(_) => refused("too-large", detail),
            FileError::WrongKind(_) => refused("wrong-kind", detail),
            FileError::Busy(_) => error(ErrorKind::Retry, "busy", detail),
            FileError::NoSpace(_) => error(ErrorKind::NotHere, "no-space", detail),
            FileError::NoAccess(_) => refused("no-access", detail),
            FileError::Io(_) => error(ErrorKind::Retry, "io", detail),
        }
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    link::<State, HasView>(linker, view)
}
