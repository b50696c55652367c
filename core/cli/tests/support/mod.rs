//! Runs the real command against the real daemon.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long a daemon may take to start. It needs a second, but a loaded machine may take a minute.
const READY: Duration = Duration::from_secs(60);

/// The file of a daemon's settings, if it has one.
const SETTINGS: &str = "ostlerd.toml";

/// The output and the exit code of a command.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// Panics unless the exit code is this one.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        // A command that fails prints why.
        assert!(code == 0 || !self.err.is_empty(), "{self:#?}");
        self
    }

    /// Panics unless standard error contains these words.
    #[track_caller]
    pub(crate) fn says(self, words: &str) -> Self {
        assert!(self.err.contains(words), "no {words:?} in {self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|err| panic!("{err}: {self:#?}"))
    }
}

/// The command, without the settings of this machine's environment.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ostler"));
    for name in ["OSTLER_SERVER", "OSTLER_TOKEN", "OSTLER_TOKEN_FILE", "OSTLER_DATA_DIR"] {
        command.env_remove(name);
    }
    command
}

pub(crate) fn run(args: &[&str]) -> Ran {
    Ran::of(&command().args(args).stdin(Stdio::null()).output().expect("the command starts"))
}

/// The folder that cargo builds into.
fn target() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_ostler")).parent().expect("a folder").to_owned()
}

/// Says that the test is skipped. On CI it panics instead, because nothing may be skipped there.
pub(crate) fn missing(what: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{what} is missing");
    eprintln!("SKIPPED: {what} is missing");
}

/// The folder of components. None if they are not built.
pub(crate) fn plugins() -> Option<PathBuf> {
    let folder = target().parent().expect("a folder").join("plugins");
    if ["sim.wasm", "transfer-qcow2.wasm"].iter().all(|file| folder.join(file).exists()) {
        return Some(folder);
    }
    missing("target/plugins (scripts/build-plugins makes it)");
    None
}

/// A daemon with its own store.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) http: String,
    plugins: Option<PathBuf>,
}

impl Daemon {
    /// None if the daemon is not built.
    pub(crate) fn start(plugins: Option<PathBuf>) -> Option<Self> {
        let binary = target().join("ostlerd");
        if !binary.exists() {
            missing("ostlerd (cargo build --workspace makes it)");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let (child, http) = launch(&binary, folder.path(), plugins.as_deref());
        Some(Self { child, folder, http, plugins })
    }

    /// The same, without components and with these settings.
    pub(crate) fn with_settings(settings: &str) -> Option<Self> {
        let mut daemon = Self::start(None)?;
        daemon.kill();
        daemon.file(SETTINGS, settings);
        daemon.start_again();
        Some(daemon)
    }

    pub(crate) fn socket(&self) -> String {
        format!("unix:{}", self.folder.path().join("data/ostler.sock").display())
    }

    pub(crate) fn admin_token(&self) -> PathBuf {
        self.folder.path().join("data/admin.token")
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = command();
        command.env("OSTLER_SERVER", self.socket()).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Ran::of(&self.command().args(args).output().expect("the command starts"))
    }

    /// Writes a file into the daemon's folder. Answers its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    }

    /// Kills the daemon, as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }

    /// Starts the daemon again on the same store.
    pub(crate) fn start_again(&mut self) {
        (self.child, self.http) =
            launch(&target().join("ostlerd"), self.folder.path(), self.plugins.as_deref());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn launch(binary: &Path, folder: &Path, plugins: Option<&Path>) -> (Child, String) {
    let mut command = Command::new(binary);
    command.arg("--data-dir").arg(folder.join("data")).args([
        "--listen",
        "127.0.0.1:0",
        "--log",
        "error",
    ]);
    command.arg("--epochs").arg(folder.join("epochs"));
    let settings = folder.join(SETTINGS);
    if settings.exists() {
        command.arg("--config").arg(settings);
    }
    if let Some(plugins) = plugins {
        command.arg("--plugin-dir").arg(plugins).args([
            "--grant",
            "sim=all",
            "--grant",
            "transfer-qcow2=all",
        ]);
    }
    let mut child = command.stdout(Stdio::piped()).spawn().expect("ostlerd starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let _ = tell.send(lines.next());
        // The output is read to its end. Otherwise the daemon would block on a full pipe.
        lines.for_each(drop);
    });
    let line =
        told.recv_timeout(READY).expect("ostlerd is ready in time").expect("a line").expect("text");
    let http = line
        .split_whitespace()
        .find(|word| word.starts_with("http://"))
        .expect("an address")
        .to_owned();
    (child, http)
}
