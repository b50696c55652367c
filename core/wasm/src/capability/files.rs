//! `files`: files below a datastore's root on the target host. Needs the grant `files`.

use super::kept::bytes;
use super::{Env, HasView, State, View, cancelled, error, refused, view};
use crate::bindings::ostler::driver::files::{FileStat, Host, Path, add_to_linker as link};
use crate::bindings::ostler::driver::types::{Error, ErrorKind};
use crate::files::{FileError, Place, Progress, Way};
use crate::own_files::Wanted;
use crate::text::told;
use ostler_driver::Site;
use ostler_model::{HostName, RelPath};
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;
use wasmtime::component::Linker;

/// The code of the error for a file that the call is not about.
const NOT_OF_CALL: &str = "not-of-this-call";

impl Env {
    /// The place of a file on a host of the call. Checks that the datastore is there, and that the
    /// call is about the file. `what` names the use of the file.
    pub(super) fn locate(
        &self,
        site: &Site,
        what: &str,
        (datastore, path): (&str, &RelPath),
        wanted: Wanted,
    ) -> Result<(Place, Way), Error> {
        let place = Place::find(site, datastore)?;
        let here = self.own.here(datastore, path, wanted);
        match here.or_else(|| self.own.there(&site.name, datastore, path)) {
            Some(way) => Ok((place, way)),
            None => Err(self.not_of_call(what, datastore, path)),
        }
    }

    fn located(&self, what: &str, path: &Path, wanted: Wanted) -> Result<(Place, Way), Error> {
        self.locate(self.site()?, what, (&path.datastore, &relative(&path.path)?), wanted)
    }

    /// The same for a file that is fetched from any host.
    fn fetched(&self, from_host: &str, path: &Path) -> Result<(Place, Way), Error> {
        let site = other_site(self, from_host)?;
        if self.site.as_ref().is_some_and(|here| here.name == site.name) {
            return self.located("files.fetch", path, Wanted::Read);
        }
        let (place, rel) = (Place::find(&site, &path.datastore)?, relative(&path.path)?);
        match self.own.there(&site.name, &path.datastore, &rel) {
            Some(way) => Ok((place, way)),
            None => {
                let what = format!("files.fetch from host {}", site.name);
                Err(self.not_of_call(&what, &path.datastore, &rel))
            }
        }
    }

    fn not_of_call(&self, what: &str, datastore: &str, path: &RelPath) -> Error {
        let wanted = format!("{what} of {:?}", self.told(&format!("{datastore}:{path}")));
        let why = format!(
            "the call is not about that file, or it only reads it. A driver reaches the folders \
             of the call's VM, the files that the call names, and its own folder (settings \
             `datastore` and `folder`); an operator can grant a whole datastore: files:{datastore}"
        );
        self.deny("files", NOT_OF_CALL, &wanted, &why)
    }
}

fn relative(path: &str) -> Result<RelPath, Error> {
    path.parse()
        .map_err(|error: ostler_model::InvalidName| refused("bad-path", told(&error.to_string())))
}

fn named(path: &Path) -> String {
    format!("{}:{}", path.datastore, path.path)
}

/// The body of one host function: checks the grant and the path, does the work in its own task,
/// writes one line of trace.
macro_rules! act {
    (
        $view:ident, $name:literal, $wanted:ident, $path:expr, $more:expr,
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
            let allowed = env
                .granted("files", &format!("{} of {what:?}", $name))
                .and_then(|()| env.located($name, path, Wanted::$wanted));
            let ($place, $rel) = match allowed {
                Ok(place) => place,
                Err(error) => return Ok(Err(error)),
            };
            let $place = $place.held_by(env.charge.clone());
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
        act!(self, "files.stat", Stat, file, json!({}), |place, rel, services, stop| async {
            let stat = place.stat(&services, rel, &stop).await;
            stat.map(|stat| stat.map(convert))
        })
    }

    async fn list(&mut self, folder: Path) -> wasmtime::Result<Result<Vec<String>, Error>> {
        act!(self, "files.list", Read, folder, json!({}), |place, rel, services, stop| place
            .list(&services, rel, &stop))
    }

    async fn read(&mut self, file: Path) -> wasmtime::Result<Result<Option<Vec<u8>>, Error>> {
        act!(self, "files.read", Read, file, json!({}), |place, rel, services, stop| place
            .read(&services, rel, &stop))
    }

    async fn write(&mut self, file: Path, data: Vec<u8>) -> wasmtime::Result<Result<(), Error>> {
        act!(
            self,
            "files.write",
            Write,
            file,
            json!({ "data": bytes(&data) }),
            |place, rel, services, stop| place.write(&services, rel, data, &stop)
        )
    }

    async fn make_folder(&mut self, folder: Path) -> wasmtime::Result<Result<(), Error>> {
        act!(self, "files.make-folder", Make, folder, json!({}), |place, rel, services, stop| place
            .make_folder(&services, rel, &stop))
    }

    async fn remove(&mut self, target: Path) -> wasmtime::Result<Result<(), Error>> {
        act!(self, "files.remove", Write, target, json!({}), |place, rel, services, stop| place
            .remove(&services, rel, &stop))
    }

    async fn rename(&mut self, source: Path, target: Path) -> wasmtime::Result<Result<(), Error>> {
        if source.datastore != target.datastore {
            return Ok(Err(refused(
                "other-datastore",
                "a rename stays within one datastore; copy and remove instead",
            )));
        }
        let granted = self.env.granted("files", "files.rename");
        let to = granted.and_then(|()| self.env.located("files.rename", &target, Wanted::Write));
        let to = match to {
            Ok((_, to)) => to,
            Err(problem) => return Ok(Err(problem)),
        };
        act!(
            self,
            "files.rename",
            Write,
            source,
            json!({ "to": target.path }),
            |place, rel, services, stop| place.rename(&services, rel, to, &stop)
        )
    }

    async fn copy(&mut self, source: Path, target: Path) -> wasmtime::Result<Result<u64, Error>> {
        let progress = progress(self.env, "copy");
        let env = Arc::clone(self.env);
        let granted = env.granted("files", "files.copy");
        let from = granted.and_then(|()| env.located("files.copy", &source, Wanted::Read));
        let (from, from_rel) = match from {
            Ok(from) => from,
            Err(problem) => return Ok(Err(problem)),
        };
        act!(
            self,
            "files.copy",
            Write,
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
        let granted = env.granted("files", "files.fetch");
        let (from, from_rel) = match granted.and_then(|()| env.fetched(&from_host, &source)) {
            Ok(from) => from,
            Err(problem) => return Ok(Err(problem)),
        };
        act!(
            self,
            "files.fetch",
            Write,
            target,
            json!({ "from": named(&source), "host": from_host }),
            |place, rel, services, stop| place
                .fetch(&services, from, from_rel, rel, progress, &stop)
        )
    }

    async fn checksum(&mut self, file: Path) -> wasmtime::Result<Result<String, Error>> {
        act!(self, "files.checksum", Read, file, json!({}), |place, rel, services, stop| place
            .checksum(&services, rel, &stop))
    }

    async fn absolute(&mut self, file: Path) -> wasmtime::Result<Result<String, Error>> {
        act!(self, "files.absolute", Read, file, json!({}), |place, rel, services, stop| place
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
