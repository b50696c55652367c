//! `files`: files below a datastore's root on the target host. Needs the grant `files`.

use super::kept::bytes;
use super::{Env, HasView, State, View, cancelled, error, refused, view};
use crate::bindings::ostler::driver::files::{FileStat, Host, Path, add_to_linker as link};
use crate::bindings::ostler::driver::types::{Error, ErrorKind};
use crate::files::{FileError, Place, Progress};
use crate::text::told;
use ostler_driver::Site;
use ostler_model::{HostName, RelPath};
use serde_json::json;
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

fn named(path: &Path) -> String {
    format!("{}:{}", path.datastore, path.path)
}

impl Env {
    /// The place of a file that the driver may use.
    fn allowed(&self, does: &str, what: &str, path: &Path) -> Result<(Place, RelPath), Error> {
        self.granted("files", &format!("{does} of {what:?}"))?;
        locate(self.site()?, path)
    }
}

/// The body of one host function: checks the grant and the path, does the work in its own task,
/// writes one line of trace.
macro_rules! act {
    (
        $view:ident, $name:literal, $path:expr, $more:expr,
        |$place:ident, $rel:ident, $services:ident, $stop:ident| $work:expr
    ) => {{
        let (begun, env, path) = (Instant::now(), Arc::clone($view.env), &$path);
        let what = format!("{}:{}", env.told(&path.datastore), env.told(&path.path));
        let more = env.tape.as_ref().map(|_| $more);
        let with = || {
            let mut with = more.unwrap_or_default();
            with["file"] = named(path).into();
            with
        };
        let work = async {
            let ($place, $rel) = match env.allowed($name, &what, path) {
                Ok(place) => place,
                Err(error) => return Ok(Err(error)),
            };
            let $services = Arc::clone(&env.side.services);
            let work = async {
                let done: Result<_, Error> =
                    match env.work(move |$stop| async move { $work.await }).await {
                        Ok(done) => done.map_err(Error::from),
                        Err(error) => Err(error),
                    };
                done
            };
            env.taped($name, with, work).await
        };
        let answer: wasmtime::Result<Result<_, Error>> =
            env.reach(|| format!("{} {what}", $name), work).await;
        let answer = answer?;
        env.flight($name, &what, begun, &answer);
        Ok(answer)
    }};
}

impl Host for View<'_> {
    async fn stat(&mut self, file: Path) -> wasmtime::Result<Result<Option<FileStat>, Error>> {
        let convert = |stat: crate::files::Stat| FileStat {
            kind: stat.kind.to_owned(),
            size: stat.size,
            allocated: stat.allocated,
            modified_ms: stat.modified_ms,
        };
        act!(self, "files.stat", file, json!({}), |place, rel, services, stop| async {
            let stat = place.stat(&services, rel, &stop).await;
            stat.map(|stat| stat.map(convert))
        })
    }

    async fn list(&mut self, folder: Path) -> wasmtime::Result<Result<Vec<String>, Error>> {
        act!(self, "files.list", folder, json!({}), |place, rel, services, stop| place
            .list(&services, rel, &stop))
    }

    async fn read(&mut self, file: Path) -> wasmtime::Result<Result<Option<Vec<u8>>, Error>> {
        act!(self, "files.read", file, json!({}), |place, rel, services, stop| place
            .read(&services, rel, &stop))
    }

    async fn write(&mut self, file: Path, data: Vec<u8>) -> wasmtime::Result<Result<(), Error>> {
        act!(
            self,
            "files.write",
            file,
            json!({ "data": bytes(&data) }),
            |place, rel, services, stop| place.write(&services, rel, data, &stop)
        )
    }

    async fn make_folder(&mut self, folder: Path) -> wasmtime::Result<Result<(), Error>> {
        act!(self, "files.make-folder", folder, json!({}), |place, rel, services, stop| place
            .make_folder(&services, rel, &stop))
    }

    async fn remove(&mut self, target: Path) -> wasmtime::Result<Result<(), Error>> {
        act!(self, "files.remove", target, json!({}), |place, rel, services, stop| place
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
        act!(
            self,
            "files.rename",
            source,
            json!({ "to": target.path }),
            |place, rel, services, stop| place.rename(&services, rel, to, &stop)
        )
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
        act!(
            self,
            "files.copy",
            target,
            json!({ "from": named(&source) }),
            |place, rel, services, stop| place
                .copy(&services, from, from_rel, rel, progress, &stop)
        )
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
        act!(
            self,
            "files.fetch",
            target,
            json!({ "from": named(&source), "host": from_host }),
            |place, rel, services, stop| place
                .fetch(&services, from, from_rel, rel, progress, &stop)
        )
    }

    async fn checksum(&mut self, file: Path) -> wasmtime::Result<Result<String, Error>> {
        act!(self, "files.checksum", file, json!({}), |place, rel, services, stop| place
            .checksum(&services, rel, &stop))
    }

    async fn absolute(&mut self, file: Path) -> wasmtime::Result<Result<String, Error>> {
        act!(self, "files.absolute", file, json!({}), |place, rel, services, stop| place
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
