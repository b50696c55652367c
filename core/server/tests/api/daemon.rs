//! A real `ostlerd` on a fresh data directory, with a client on each of its sockets.

use ostler_api::{Client, CreateVm, Endpoint, Problem, Size, VmSpec};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// A daemon. Killed when dropped; its files go with it.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) dir: PathBuf,
    pub(crate) url: String,
    /// Over the unix socket: the local admin.
    pub(crate) local: Client,
    /// Over TCP, with the first admin token.
    pub(crate) http: reqwest::Client,
    pub(crate) token: String,
    /// The temporary folder of the data directory. It is removed with the daemon, unless a restart
    /// takes it over.
    files: Option<tempfile::TempDir>,
}

/// An answer of the daemon.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Reply {
    /// The problem. Fails the test if the answer is none, or does not have the form of one.
    pub(crate) fn problem(&self) -> Problem {
        assert_eq!(
            self.headers["content-type"], "application/problem+json",
            "{} {}",
            self.status, self.body
        );
        let problem: Problem = serde_json::from_value(self.body.clone()).expect("a problem");
        assert_eq!(problem.status, self.status.as_u16());
        assert!(!problem.detail.is_empty());
        assert_eq!(problem.kind, format!("urn:ostler:problem:{}", problem.code));
        problem
    }
}

/// Runs `ostlerd` to its end: for starts that must fail.
pub(crate) fn ostlerd(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ostlerd"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("ostlerd runs")
}

/// The same with standard error going to `err`.
pub(crate) fn ostlerd_into(arguments: &[&str], err: Stdio) -> std::process::ExitStatus {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ostlerd"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(err)
        .status()
        .expect("ostlerd runs")
}

impl Daemon {
    /// On a new data directory.
    pub(crate) fn start() -> Self {
        let files = tempfile::Builder::new().prefix("oapi-").tempdir().expect("a temporary folder");
        let dir = files.path().join("data");
        Self::on(dir, Some(files))
    }

    /// On this data directory.
    pub(crate) fn on(dir: PathBuf, files: Option<tempfile::TempDir>) -> Self {
        Self::logging(dir, files, "warn", Stdio::inherit())
    }

    /// On this data directory, with this log filter, and with standard error going to `err`.
    pub(crate) fn logging(
        dir: PathBuf,
        files: Option<tempfile::TempDir>,
        log: &str,
        err: Stdio,
    ) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ostlerd"))
            .args(["--listen", "127.0.0.1:0", "--log", log, "--data-dir"])
            .arg(&dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(err)
            .spawn()
            .expect("ostlerd starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("its output is a pipe");
        // The read ends with the line, or when the daemon ends. So it needs no time limit.
        BufReader::new(out).read_line(&mut line).expect("its output can be read");
        let url =
            line.split_whitespace().find(|word| word.starts_with("http://")).map(str::to_owned);
        let url = url.unwrap_or_else(|| panic!("ostlerd did not get ready: {line:?}"));
        let token = std::fs::read_to_string(dir.join("admin.token"))
            .expect("the first token is there")
            .trim()
            .to_owned();
        // Making this client also chooses the implementation of TLS, which the other one needs.
        let local = Client::new(&Endpoint::Unix(dir.join("ostler.sock")), None).expect("a client");
        Self { child, dir, url, local, http: reqwest::Client::new(), token, files }
    }

    /// Tells the daemon to end, and waits. Returns its exit code and the temporary folder.
    pub(crate) fn stop(mut self) -> (Option<i32>, Option<tempfile::TempDir>) {
        let told = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status()
            .expect("kill runs");
        assert!(told.success());
        let code = self.child.wait().expect("it ends").code();
        (code, self.files.take())
    }

    /// Waits for the end of the daemon.
    pub(crate) fn wait(&mut self) {
        self.child.wait().expect("it ends");
    }

    /// The temporary folder.
    pub(crate) fn take_files(&mut self) -> Option<tempfile::TempDir> {
        self.files.take()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A request over TCP as the admin.
    pub(crate) async fn send(&self, method: Method, path: &str, body: &str) -> Reply {
        self.send_with(method, path, body, &[]).await
    }

    /// The same with more headers; an `authorization` among them takes the place of the admin's.
    pub(crate) async fn send_with(
        &self,
        method: Method,
        path: &str,
        body: &str,
        headers: &[(&str, &str)],
    ) -> Reply {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if !headers.iter().any(|(name, _)| *name == "authorization") {
            request = request.bearer_auth(&self.token);
        }
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.body(body.to_owned()).send().await.expect("an answer");
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.bytes().await.expect("a body");
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Reply { status, headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Reply {
        self.send(Method::POST, path, body).await
    }

    /// The number of the last event. A refused request must not change it.
    pub(crate) async fn seq(&self) -> u64 {
        self.local.version().await.expect("a version").seq
    }

    /// A request that must be refused with this status and code, and change nothing.
    pub(crate) async fn refused(
        &self,
        method: Method,
        path: &str,
        body: &str,
        status: u16,
        code: &str,
    ) -> Problem {
        self.refused_with(method, path, body, &[], status, code).await
    }

    /// The same with more headers.
    pub(crate) async fn refused_with(
        &self,
        method: Method,
        path: &str,
        body: &str,
        headers: &[(&str, &str)],
        status: u16,
        code: &str,
    ) -> Problem {
        let before = self.seq().await;
        let what = format!("{method} {path} {}", body.get(..80).unwrap_or(body));
        let reply = self.send_with(method, path, body, headers).await;
        assert_eq!(reply.status.as_u16(), status, "{what}: {}", reply.body);
        let problem = reply.problem();
        assert_eq!(problem.code, code, "{what}: {problem:?}");
        assert_eq!(self.seq().await, before, "{what} changed something");
        problem
    }

    /// A VM on hold; its id.
    pub(crate) async fn vm(&self, name: &str) -> u64 {
        self.local.create_vm(&held(name), None).await.expect("a VM is created").vm
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The smallest VM, on hold: it needs no host.
pub(crate) fn held(name: &str) -> CreateVm {
    let spec: VmSpec =
        serde_json::from_value(serde_json::json!({ "name": name, "memory": "64MiB" }))
            .expect("a specification");
    assert_eq!(spec.memory, Size(64));
    CreateVm { spec, hold: true }
}

/// The mode of a file, without its kind.
pub(crate) fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}
