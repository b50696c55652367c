//! `ostler plugin build`: builds the crate of a driver with cargo, and shows what came out.

use crate::context::Context;
use crate::inspection::Shown;
use crate::signing::unfit;
use crate::{Exit, Failure};
use clap::Args;
use ostler_wasm::Package;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Command;

/// The target that drivers are built for.
const TARGET: &str = "wasm32-wasip2";
/// The longest line of cargo's that is read. One about a crate has some kilobytes.
const LINE_MAX: u64 = 1024 * 1024;

/// A driver to build.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// The folder of its crate
    #[arg(default_value = ".", value_name = "DIRECTORY")]
    dir: PathBuf,
}

/// A line of `cargo build --message-format json`, as far as it matters here.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    manifest_path: PathBuf,
    #[serde(default)]
    filenames: Vec<PathBuf>,
    #[serde(default)]
    target: Target,
}

/// The part of a crate that a line is about.
#[derive(Default, Deserialize)]
struct Target {
    #[serde(default)]
    crate_types: Vec<String>,
}

/// The component that was built, as it is printed.
#[derive(Serialize)]
struct Built<'a> {
    file: &'a Path,
    driver: Shown<'a>,
}

/// The manifest of the crate.
fn crate_of(dir: &Path) -> Result<PathBuf, Failure> {
    let shown = dir.display();
    let manifest = dir.join("Cargo.toml");
    match manifest.canonicalize() {
        Ok(path) => Ok(path),
        Err(_) if dir.join("build.sh").exists() => {
            let what = format!("{shown} has no Cargo.toml: it is no driver in Rust");
            Err(Failure::usage(what).hint(format!(
                "its build.sh is yours to read and to run: (cd {shown} && ./build.sh)"
            )))
        }
        Err(err) if dir.is_dir() => Err(Failure::usage(format!("{}: {err}", manifest.display()))
            .hint("`ostler plugin new` lays down a driver that builds")),
        Err(_) => Err(Failure::usage(format!("{shown} is not a folder"))),
    }
}

/// The failure if a tool of Rust does not start.
fn no_tool(tool: &str, err: &io::Error) -> Failure {
    let failure = Failure::new(Exit::Refused, format!("{tool} does not start: {err}"));
    match err.kind() {
        io::ErrorKind::NotFound => failure.hint("install Rust: https://rustup.rs"),
        _ => failure,
    }
}

/// Whether the compiler that this folder is built with has the target.
async fn has_target(dir: &Path) -> Result<bool, Failure> {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", TARGET]).current_dir(dir);
    // The reason of a failure, for example that the toolchain is not installed, goes to the user.
    rustc.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let failed = |err| no_tool("rustc", &err);
    let child = rustc.spawn().map_err(failed)?;
    let output = child.wait_with_output().await.map_err(failed)?;
    let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(output.status.success() && Path::new(&folder).is_dir())
}

/// The next line, without what is longer than [`LINE_MAX`]. None at the end.
async fn line(out: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let (mut line, mut first) = (Vec::new(), true);
    loop {
        let mut part = Vec::new();
        if (&mut *out).take(LINE_MAX).read_until(b'\n', &mut part).await? == 0 {
            return Ok((!first).then_some(line));
        }
        let ends = part.ends_with(b"\n");
        if first {
            line = part;
        }
        if ends {
            return Ok(Some(line));
        }
        first = false;
    }
}

/// Builds the crate. Answers the component that cargo says it has made of it.
async fn cargo(dir: &Path, manifest: &Path) -> Result<Option<PathBuf>, Failure> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--target", TARGET]);
    cargo.args(["--message-format", "json-render-diagnostics"]).current_dir(dir);
    cargo.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let failed = |err: io::Error| no_tool("cargo", &err);
    let mut child = cargo.spawn().map_err(failed)?;
    let mut made = None;
    if let Some(out) = child.stdout.take() {
        let mut out = BufReader::new(out);
        while let Some(line) = line(&mut out).await.map_err(failed)? {
            let Ok(message) = serde_json::from_slice::<Message>(&line) else { continue };
            // A program of the same crate (src/main.rs) is no driver.
            let library = message.target.crate_types.iter().any(|kind| kind == "cdylib");
            let artifact = message.reason == "compiler-artifact" && library;
            if artifact && message.manifest_path == manifest {
                let wasm = |file: &PathBuf| file.extension().is_some_and(|it| it == "wasm");
                made = message.filenames.into_iter().find(wasm).or(made);
            }
        }
    }
    let status = child.wait().await.map_err(failed)?;
    if status.success() {
        return Ok(made);
    }
    // Cargo has said why.
    Err(Failure::new(Exit::Cargo, format!("cargo could not build {}: {status}", dir.display())))
}

/// Builds a driver and shows it.
pub(crate) async fn build(cx: &Context, args: &BuildArgs) -> Result<(), Failure> {
    let manifest = crate_of(&args.dir)?;
    if !has_target(&args.dir).await? {
        let what = format!("the Rust compiler cannot build for {TARGET} here");
        return Err(Failure::new(Exit::Refused, what)
            .hint(format!("in {}: rustup target add {TARGET}", args.dir.display())));
    }
    let Some(file) = cargo(&args.dir, &manifest).await? else {
        let what = format!("{} builds no component", manifest.display());
        return Err(
            Failure::usage(what).hint("its Cargo.toml needs [lib] with crate-type = [\"cdylib\"]")
        );
    };
    let package = Package::read(&file).await.map_err(|err| unfit(&err))?;
    let inspection =
        ostler_wasm::inspect(&package.what, &package.bytes).map_err(|err| unfit(&err))?;
    let built = Built { file: &file, driver: Shown::new(&inspection) };
    let name = file.display().to_string();
    let page = || built.driver.page(cx.out.colour);
    cx.out.write(&cx.out.one(&built, &name, page)?)?;
    if cx.out.for_people() {
        crate::out::aside(&format!("built {name}\nnext: ostler plugin test {name}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_that_is_too_long_is_cut_and_the_next_one_is_whole() {
        let long = "x".repeat(2 * LINE_MAX as usize + 5);
        let text = format!("a\n{long}\nb\nc");
        let mut out = BufReader::new(text.as_bytes());
        let mut lines = Vec::new();
        while let Some(line) = line(&mut out).await.expect("read") {
            lines.push(line);
        }
        let sizes: Vec<usize> = lines.iter().map(Vec::len).collect();
        assert_eq!(sizes, [2, LINE_MAX as usize, 2, 1]);
    }
}
