//! A real `ostlerd` as a child process, and a client on its socket.

use crate::wait::wait_until;
use ostler_api::{
    ActionBody, ActionReply, Client, CreateVm, Endpoint, NewDatastore, NewDriver, NewHost,
    NewImage, Sent, Vm,
};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long a start may take: the daemon opens the store, loads components (and compiles them the
/// first time) and binds its socket. Also how long a new VM may wait for its first operation.
const READY: Duration = Duration::from_secs(120);

/// A daemon with its data directory and a client. It is killed when this is dropped.
pub struct Daemon {
    dir: PathBuf,
    arguments: Vec<String>,
    child: Option<Child>,
    client: Client,
    starts: u32,
}

/// The folder that holds this build's binaries.
#[must_use]
pub fn binaries() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own file");
    test.parent().and_then(Path::parent).expect("tests are built in target/PROFILE/deps").to_owned()
}

/// The folder of built components. `scripts/build-plugins` writes them there.
#[must_use]
pub fn components() -> PathBuf {
    binaries().parent().expect("profiles are below target").join("plugins")
}

/// Whether the daemon and the shipped components are built. If not, the test is reported as
/// skipped; on CI this panics.
#[must_use]
pub fn is_built() -> bool {
    let missing: Vec<PathBuf> = [
        binaries().join("ostlerd"),
        components().join("sim.wasm"),
        components().join("transfer-qcow2.wasm"),
    ]
    .into_iter()
    .filter(|file| !file.exists())
    .collect();
    if missing.is_empty() {
        return true;
    }
    crate::lab::skipped(&format!(
        "not built: {missing:?}; run scripts/build-plugins and cargo build --workspace"
    ));
    false
}

impl Daemon {
    /// Starts a daemon on `dir`, with the shipped components and all grants that they ask for. The
    /// snapshot rules are set by `more` (`--rules kvm=snapshots-kvm`), or later by [`rules`].
    ///
    /// # Panics
    /// When it is not ready in time.
    #[must_use]
    pub fn start(dir: &Path, more: &[&str]) -> Self {
        Self::with_plugins(dir, &components(), more)
    }

    /// The same with the components of this folder.
    ///
    /// # Panics
    /// When it is not ready in time.
    #[must_use]
    pub fn with_plugins(dir: &Path, plugins: &Path, more: &[&str]) -> Self {
        let socket = dir.join("s");
        let client =
            Client::new(&Endpoint::Unix(socket.clone()), None).expect("a client can be made");
        let mut arguments: Vec<String> = ["--listen", "off"].map(str::to_owned).to_vec();
        arguments.extend(["--data-dir".to_owned(), dir.join("data").display().to_string()]);
        arguments.extend(["--socket".to_owned(), socket.display().to_string()]);
        arguments.extend(["--plugin-dir".to_owned(), plugins.display().to_string()]);
        // Snapshot rules ask for no capability, so they need no grants.
        for grant in ["sim=all", "transfer-qcow2=all"] {
            arguments.extend(["--grant".to_owned(), grant.to_owned()]);
        }
        arguments.extend(more.iter().map(|&word| word.to_owned()));
        let mut daemon = Self { dir: dir.to_owned(), arguments, child: None, client, starts: 0 };
        if !more.contains(&"--epochs") {
            let epochs = dir.join("epochs").display().to_string();
            daemon.arguments.extend(["--epochs".to_owned(), epochs]);
        }
        if !more.contains(&"--log") {
            daemon.arguments.extend(["--log".to_owned(), "warn".to_owned()]);
        }
        daemon.up();
        daemon
    }

    /// Starts the daemon, or starts it again.
    ///
    /// # Panics
    /// When it is not ready in time.
    pub fn up(&mut self) {
        self.starts += 1;
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())
            .expect("the log can be written");
        let mut child = Command::new(binaries().join("ostlerd"))
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("ostlerd starts");
        let out = child.stdout.take().expect("its output is a pipe");
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            // After an error the line is empty, and the check below fails.
            let _ = BufReader::new(out).read_line(&mut line);
            let _ = tell.send(line);
        });
        let line = told.recv_timeout(READY).unwrap_or_default();
        self.child = Some(child);
        assert!(
            line.starts_with("ostlerd ready"),
            "ostlerd did not get ready ({line:?}); its log:\n{}",
            self.log_tail()
        );
    }

    /// Sends `kill -9` and waits until the process is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // The process may have ended by itself. Then there is nothing to kill, and the next
            // start shows it.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Makes the store from a backup, as an operator would. The daemon must not run, and the store
    /// must be gone.
    ///
    /// # Panics
    /// When the backup is refused.
    pub fn restore(&self, backup: &Path) {
        let output = Command::new(binaries().join("ostlerd"))
            .args(&self.arguments)
            .arg("--restore")
            .arg(backup)
            .stdin(Stdio::null())
            .output()
            .expect("ostlerd starts");
        assert!(
            output.status.success(),
            "the backup is refused: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Asks the daemon to end. Answers its exit code.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn stop(&mut self) -> Option<i32> {
        let mut child = self.child.take()?;
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it can be told");
        wait_until("ostlerd to end", Duration::from_secs(30), || child.try_wait().ok().flatten())
            .code()
    }

    /// The process id of the daemon, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// A client on the daemon's socket.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The daemon's unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.join("s")
    }

    /// The daemon's log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.dir.join("ostlerd.log")
    }

    fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("ostlerd's log ends with:\n{}", self.log_tail());
        }
    }
}

/// Adds the datastores that most tests use below `dir`: `images`, `system` and `simhosts`.
///
/// # Panics
/// When the daemon refuses.
pub async fn datastores(client: &Client, dir: &Path) {
    datastores_as(client, dir, false).await;
}

/// The same. With `shared` all hosts see the same files in `system`; otherwise each host has its
/// own.
///
/// # Panics
/// When the daemon refuses.
pub async fn datastores_as(client: &Client, dir: &Path, shared: bool) {
    for (name, kind) in [("images", "image"), ("system", "system"), ("simhosts", "image")] {
        let root = dir.join(name);
        std::fs::create_dir_all(&root).expect("a folder can be made");
        let new = NewDatastore {
            name: name.to_owned(),
            kind: kind.to_owned(),
            driver: "transfer-qcow2".to_owned(),
            root: root.display().to_string(),
            shared: shared && kind == "system",
        };
        client.add_datastore(&new).await.expect("a datastore is added");
    }
}

/// Adds a `sim` host whose domains are in `simhosts/NAME`, and waits until it answers.
///
/// # Panics
/// When the daemon refuses, or the host is not reached.
pub async fn sim_host(client: &Client, name: &str, settings: &[(&str, &str)]) {
    let mut config = std::collections::BTreeMap::from([
        ("datastore".to_owned(), "simhosts".to_owned()),
        ("folder".to_owned(), name.to_owned()),
        ("knobs-file".to_owned(), "knobs".to_owned()),
    ]);
    config.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    let new =
        NewHost { name: name.to_owned(), driver: "sim".to_owned(), config, ..NewHost::default() };
    client.add_host(&new).await.expect("a host is added");
    reachable(client, name).await;
}

/// Binds other snapshot rules to a hypervisor driver, from now on: `snapshots-kvm`,
/// `snapshots-xen`, `snapshots-vmware`, or rules that a test has added with [`driver`].
///
/// # Panics
/// When the daemon refuses.
pub async fn rules(client: &Client, hypervisor: &str, rules: &str) {
    let bound = client.bind_rules(hypervisor, rules).await.expect("rules are bound");
    assert_eq!(bound.rules.map(|rules| rules.driver).as_deref(), Some(rules));
}

/// Adds a component that does not ship, with all grants that it asks for. Answers its name.
///
/// # Panics
/// When the daemon refuses.
pub async fn driver(client: &Client, file: &Path) -> String {
    let new = NewDriver {
        path: file.display().to_string(),
        grants: Some(vec!["all".to_owned()]),
        ..NewDriver::default()
    };
    client.add_driver(&new).await.expect("a driver is added").name
}

/// Waits until a host has answered.
///
/// # Panics
/// When it has not answered in time.
pub async fn reachable(client: &Client, name: &str) {
    poll("the host to be reached", Duration::from_secs(30), async || {
        let host = client.host(name).await.map_err(|error| error.to_string())?;
        match &host.health {
            Some(health) if health.reachable => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

/// Registers an image that lies in datastore `images`.
///
/// # Panics
/// When the daemon refuses.
pub async fn image(client: &Client, name: &str, path: &str) {
    let new =
        NewImage { name: name.to_owned(), path: path.to_owned(), format: Some("qcow2".to_owned()) };
    client.add_image(&new).await.expect("an image is added");
}

/// Creates a VM from a specification in TOML and answers its id.
///
/// # Panics
/// When the daemon refuses.
pub async fn create(client: &Client, spec: &str, hold: bool) -> String {
    let spec = toml::from_str(spec).expect("the specification is one");
    client.create_vm(&CreateVm { spec, hold }, None).await.expect("a VM is created").vm.to_string()
}

/// Asks a verb, and waits for the end of the operation.
///
/// # Panics
/// When it is refused, fails or does not end in time.
pub async fn done(client: &Client, vm: &str, verb: &str) -> ActionReply {
    let sent = Sent { wait: Some(Duration::from_secs(120)), ..Sent::default() };
    let reply = client
        .act(vm, verb, &ActionBody::default(), &sent)
        .await
        .unwrap_or_else(|error| panic!("{verb} of {vm}: {error}"));
    assert!(!reply.timed_out, "{verb} of {vm} did not end: {reply:?}");
    if let Some(operation) = &reply.operation {
        assert_eq!(
            operation.outcome.as_deref(),
            Some("succeeded"),
            "{verb} of {vm}: {operation:?}"
        );
    }
    reply
}

/// Waits until a VM is in a state and has no operation.
///
/// # Panics
/// When it does not reach the state in time.
pub async fn in_state(client: &Client, vm: &str, state: &str, patience: Duration) -> Vm {
    poll(&format!("VM {vm} to be {state}"), patience, async || {
        let seen = client.vm(vm).await.map_err(|error| error.to_string())?;
        if seen.state == state && seen.operation.is_none() {
            Ok(seen)
        } else {
            Err(format!("{} {:?}", seen.state, seen.operation))
        }
    })
    .await
}

/// Waits for the newest operation of the VM, and no longer than `at_most` from its beginning. A test
/// that cuts an operation at many moments kills the daemon then, and never long after the
/// operation's end. A new VM has its first operation when the scheduler has found a host for it.
///
/// # Panics
/// When the daemon does not answer, or the VM gets no operation.
pub async fn into_operation(client: &Client, vm: &str, at_most: Duration) {
    let newest = poll(&format!("an operation of VM {vm}"), READY, async || {
        let known = client.operations_of(vm).await.map_err(|error| error.to_string())?.operations;
        known.iter().map(|operation| operation.id).max().ok_or_else(|| String::from("none"))
    })
    .await;
    client.operation(newest, Some(at_most)).await.expect("the operation is known");
}

/// Looks again and again, asynchronously, until `look` finds something.
///
/// # Panics
/// When the time has passed. The message has `what` and the last thing that was seen.
pub async fn poll<T>(
    what: &str,
    patience: Duration,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let began = std::time::Instant::now();
    let mut pause = Duration::from_millis(5);
    loop {
        let late = began.elapsed() >= patience;
        match look().await {
            Ok(found) => return found,
            Err(last) if late => panic!("waited {patience:?} for {what}; last seen: {last}"),
            Err(_) => tokio::time::sleep(pause).await,
        }
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}
