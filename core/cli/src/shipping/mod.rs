//! Components on their way: `ostler plugin push` and `pull`, and what `ostler driver add` fetches.
//!
//! Everything is fetched here, by the command, and nothing by the daemon: decision 20 says why.

mod access;
mod login;
mod registry;
mod source;
mod web;

pub(crate) use source::{Source, digest};

use crate::context::Context;
use crate::signing::{PUBLIC, replace, unfit};
use crate::{Exit, Failure};
use clap::Args;
use login::Login;
use oci_client::Reference;
use ostler_api::Span;
use ostler_wasm::{Inspection, Package, Trust, signature_file};
use registry::Registry;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// How a server or a registry is asked.
#[derive(Debug, Args)]
pub(crate) struct Reach {
    /// The user of the registry. The password is the first line of standard input or of
    /// --password-file. Without a user, logins that docker or podman have kept are taken
    #[arg(long, value_name = "USER")]
    username: Option<String>,
    /// The file whose first line is the password
    #[arg(long, value_name = "FILE", requires = "username")]
    password_file: Option<PathBuf>,
    /// Ask in the clear, without TLS. This machine (127.0.0.1, localhost) is always asked so
    #[arg(long)]
    plain_http: bool,
    /// The longest that fetching or pushing may take, with the login at the registry. The sending
    /// to the daemon, and the daemon's work, are not counted
    #[arg(long, default_value = "5m", value_name = "TIME")]
    timeout: Span,
}

impl Reach {
    fn login(&self, reference: &Reference) -> Result<Login, Failure> {
        match &self.username {
            Some(user) => Login::typed(user, self.password_file.as_deref()),
            None => Login::kept(reference),
        }
    }

    fn registry(&self, reference: &Reference) -> Result<Registry, Failure> {
        Registry::new(reference.clone(), self.login(reference)?, self.plain_http)
    }

    /// Refuses options that would be ignored for this source.
    pub(crate) fn fits(&self, source: &Source) -> Result<(), Failure> {
        let login = match () {
            () if self.username.is_some() => Some("--username"),
            () if self.password_file.is_some() => Some("--password-file"),
            () => None,
        };
        let plain = self.plain_http.then_some("--plain-http");
        let (option, why) = match source {
            Source::File(_) => (login.or(plain), "a file on the daemon's machine is not fetched"),
            Source::Url(_) => (login, "a URL is fetched without a login"),
            Source::Registry(_) => (None, ""),
        };
        let Some(option) = option else { return Ok(()) };
        Err(Failure::usage(format!("{option} does not fit here: {why}"))
            .hint("https://... and oci://... are fetched; logins are for oci://"))
    }

    /// Does something within the time that is allowed.
    async fn within<T>(
        &self,
        what: &str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::time::timeout(self.timeout.duration(), work).await.unwrap_or_else(|_| {
            let what = format!("{what}: it took longer than {}", self.timeout);
            Err(Failure::new(Exit::Unreachable, what).hint("--timeout allows more"))
        })
    }

    /// Fetches a component that is not a file, with its signature.
    pub(crate) async fn fetch(&self, source: &Source) -> Result<Package, Failure> {
        match source {
            Source::File(file) => Package::read(file).await.map_err(|err| unfit(&err)),
            Source::Url(url) => {
                self.within(&source::shown(url), web::download(url, self.plain_http)).await
            }
            Source::Registry(reference) => {
                let registry = self.registry(reference)?;
                let pulled = self.within(&reference.to_string(), registry.pull()).await?;
                Ok(pulled.0)
            }
        }
    }
}

/// A component that is put into a registry.
#[derive(Debug, Args)]
pub struct PushArgs {
    /// The component: FILE.wasm; a signature beside it (FILE.minisig) goes with it
    file: PathBuf,
    /// Where to: REGISTRY/PATH:TAG
    reference: String,
    #[command(flatten)]
    reach: Reach,
}

/// A component that is fetched from a registry.
#[derive(Debug, Args)]
pub struct PullArgs {
    /// Which: REGISTRY/PATH:TAG or REGISTRY/PATH@sha256:DIGEST
    reference: String,
    /// The file to write; it may be there [default: NAME.wasm in the current folder, which must not
    /// be there]
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    #[command(flatten)]
    reach: Reach,
}

/// A component that was pushed or pulled, as it is printed.
#[derive(Serialize)]
struct Shipped<'a> {
    driver: &'a str,
    version: &'a str,
    /// The digest of the component.
    digest: &'a str,
    /// The ids of the keys that its signatures name. Nobody has verified them.
    signatures: Vec<String>,
    /// The reference that always means these bytes.
    reference: String,
    file: &'a Path,
}

impl<'a> Shipped<'a> {
    fn new(
        inspection: &'a Inspection,
        signatures: Vec<String>,
        reference: &Reference,
        manifest: &str,
        file: &'a Path,
    ) -> Self {
        let (host, path) = (reference.registry(), reference.repository());
        Self {
            driver: inspection.manifest.name.as_str(),
            version: &inspection.manifest.version,
            digest: &inspection.digest,
            signatures,
            reference: format!("{host}/{path}@{manifest}"),
            file,
        }
    }

    fn told(&self, deed: &str) -> String {
        let Self { driver, version, digest, reference, .. } = self;
        let signed = match self.signatures.as_slice() {
            [] => "none".to_owned(),
            keys => {
                let keys = keys.join(", ");
                format!("of key {keys}, not verified (`ostler plugin verify`)")
            }
        };
        format!(
            "driver {driver} {version}: {deed}\n  SHA-256: {digest}\n  signatures: {signed}\n  for \
             good: {reference}\n"
        )
    }
}

/// Reads a component as a daemon without trusted keys would judge it: a signature that does not fit
/// is refused. Answers the ids of the keys that its signatures name, too.
pub(crate) fn sound(package: &Package) -> Result<(Inspection, Vec<String>), Failure> {
    let judged = package.judge(&Trust::default()).map_err(|err| unfit(&err))?;
    let keys = judged.signers.into_iter().map(|signer| signer.key).collect();
    Ok((judged.inspection, keys))
}

/// Puts a component into a registry.
pub(crate) async fn push(cx: &Context, args: &PushArgs) -> Result<(), Failure> {
    let reference = source::reference(&args.reference)?;
    if reference.digest().is_some() {
        return Err(Failure::usage("a component is pushed to a tag, and not to a digest")
            .hint("push prints the digest that the component has there"));
    }
    let package = Package::read(&args.file).await.map_err(|err| unfit(&err))?;
    let (inspection, signatures) = sound(&package)?;
    let registry = args.reach.registry(&reference)?;
    let work = registry.push(package, inspection.clone());
    let manifest = args.reach.within(&reference.to_string(), work).await?;
    let shipped = Shipped::new(&inspection, signatures, &reference, &manifest, &args.file);
    let told = || shipped.told(&format!("pushed to {reference}"));
    cx.out.write(&cx.out.one(&shipped, &shipped.reference, told)?)
}

/// Fetches a component from a registry.
pub(crate) async fn pull(cx: &Context, args: &PullArgs) -> Result<(), Failure> {
    let reference = source::reference(&args.reference)?;
    let registry = args.reach.registry(&reference)?;
    let work = registry.pull();
    let (package, manifest) = args.reach.within(&reference.to_string(), work).await?;
    let (inspection, signatures) = sound(&package)?;
    let file = match &args.to {
        Some(file) => file.clone(),
        None => PathBuf::from(format!("{}.wasm", inspection.manifest.name)),
    };
    let beside = signature_file(&file);
    if args.to.is_none()
        && let Some(there) = [&file, &beside].into_iter().find(|path| path.exists())
    {
        let what = format!("{} is there already", there.display());
        return Err(Failure::new(Exit::Conflict, what).hint("--to FILE names the file to write"));
    }
    // After a crash in between, the old signature does not fit the new file, and so nobody takes
    // it.
    replace(&file, &package.bytes, PUBLIC)?;
    match &package.beside {
        Some(text) => replace(&beside, text, PUBLIC)?,
        None => match std::fs::remove_file(&beside) {
            Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
                let what = format!("{}: {err}", beside.display());
                return Err(Failure::new(Exit::Refused, what)
                    .hint("it does not belong to the component: remove it"));
            }
            Ok(()) | Err(_) => {}
        },
    }
    let shipped = Shipped::new(&inspection, signatures, &reference, &manifest, &file);
    let name = file.display().to_string();
    cx.out.write(&cx.out.one(&shipped, &name, || shipped.told(&format!("pulled to {name}")))?)
}
