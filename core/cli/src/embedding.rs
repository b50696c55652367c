//! `ostler plugin wit` and `ostler plugin embed`: for drivers that other tools than the SDK's build.

use crate::context::Context;
use crate::signing::{PUBLIC, replace, unfit};
use crate::{Exit, Failure};
use clap::Args;
use ostler_testkit::PlantError;
use ostler_wasm::{MANIFEST_MAX, Package};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// A component that gets a manifest.
#[derive(Debug, Args)]
pub struct EmbedArgs {
    /// The component, as the tools of its language have built it: FILE.wasm
    file: PathBuf,
    /// The manifest
    #[arg(long, value_name = "FILE", default_value = "manifest.toml")]
    manifest: PathBuf,
    /// The file to write: the driver
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

/// Writes the files of the contract.
pub(crate) fn wit(cx: &Context, dir: &Path) -> Result<(), Failure> {
    ostler_testkit::write_contract(dir).map_err(|err| match err {
        PlantError::Exists { path } => {
            let what = format!("{} is there already, with other content", path.display());
            Failure::new(Exit::Conflict, what).hint("remove it, or name another folder")
        }
        other => Failure::usage(crate::failure::chain(&other)),
    })?;
    cx.out.line(&dir.display().to_string())
}

/// The manifest's text, or enough of it to show that it is too long.
fn manifest(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MANIFEST_MAX as u64 + 1).read_to_end(&mut text))
        .map_err(|err| Failure::usage(format!("{}: {err}", path.display())))?;
    Ok(text)
}

/// Puts a manifest into a component. Nothing is written unless the result is a driver.
pub(crate) async fn embed(cx: &Context, args: &EmbedArgs) -> Result<(), Failure> {
    let package = Package::read(&args.file).await.map_err(|err| unfit(&err))?;
    let signed = ostler_wasm::split(&package.bytes).is_ok_and(|split| split.signature.is_some());
    if signed {
        let failure = Failure::usage(format!("{} is signed already", package.what));
        return Err(failure.hint("put the manifest in first, then sign"));
    }
    let driver = ostler_wasm::with_manifest(&package.bytes, &manifest(&args.manifest)?);
    ostler_wasm::inspect(&package.what, &driver).map_err(|err| unfit(&err))?;
    replace(&args.to, &driver, PUBLIC)?;
    let driver = args.to.display();
    cx.out.line(&driver.to_string())?;
    if cx.out.for_people() {
        crate::out::aside(&format!("next: ostler plugin test {driver}"));
    }
    Ok(())
}
