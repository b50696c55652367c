//! A real registry (`docker-registry` of Debian) on a port of the loopback, with a folder of its
//! own.

use crate::support::missing;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long a registry may take to start. It needs a tenth of a second.
const READY: Duration = Duration::from_secs(60);
/// The user of a registry with a login, and the password.
pub(crate) const USER: &str = "ann";
pub(crate) const PASSWORD: &str = "correct horse";
/// The bcrypt hash of that password.
const HTPASSWD: &str = "ann:$2y$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2\n";

/// A registry. It ends when it is dropped.
pub(crate) struct Registry {
    child: Child,
    folder: tempfile::TempDir,
    /// `127.0.0.1:PORT`.
    pub(crate) host: String,
}

impl Registry {
    /// None if the package is not installed.
    pub(crate) fn start(login: bool) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let storage = folder.path().join("storage");
        let mut config = format!(
            "version: 0.1\nlog: {{level: info, formatter: text}}\nhttp: {{addr: '127.0.0.1:0'}}\n\
             storage: {{filesystem: {{rootdirectory: '{}'}}}}\n",
            storage.display()
        );
        if login {
            let file = folder.path().join("htpasswd");
            std::fs::write(&file, HTPASSWD).expect("written");
            let path = file.display();
            config += &format!("auth: {{htpasswd: {{realm: test, path: '{path}'}}}}\n");
        }
        let file = folder.path().join("config.yml");
        std::fs::write(&file, config).expect("written");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&file).stdin(Stdio::null()).stdout(Stdio::null());
        let Ok(child) = command.stderr(Stdio::piped()).spawn() else {
            missing("docker-registry (scripts/setup installs it)");
            return None;
        };
        // From here on a panic ends the registry, too.
        let mut registry = Self { child, folder, host: String::new() };
        let (tell, told) = mpsc::channel();
        let log = BufReader::new(registry.child.stderr.take().expect("piped"));
        std::thread::spawn(move || {
            // The log is read to its end. Otherwise the registry would block on a full pipe.
            for line in log.lines().map_while(Result::ok) {
                if let Some((_, rest)) = line.split_once("listening on ") {
                    let host = rest.split(['"', ' ', ',']).next().unwrap_or_default();
                    let _ = tell.send(host.to_owned());
                }
            }
        });
        registry.host = told.recv_timeout(READY).expect("the registry is ready in time");
        Some(registry)
    }

    pub(crate) fn reference(&self, rest: &str) -> String {
        format!("{}/{rest}", self.host)
    }

    /// The file that says which artifact the registry answers for this digest.
    pub(crate) fn link(&self, path: &str, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
        let all = self.folder.path().join("storage/docker/registry/v2/repositories").join(path);
        all.join("_manifests/revisions/sha256").join(hex).join("link")
    }

    /// The file in which the registry keeps the bytes with this digest (`sha256:...`).
    pub(crate) fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
        let blobs = Path::new("storage/docker/registry/v2/blobs/sha256");
        self.folder.path().join(blobs).join(&hex[..2]).join(hex).join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
