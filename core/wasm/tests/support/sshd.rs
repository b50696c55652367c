//! A real sshd on loopback.

#![allow(dead_code, reason = "each test binary uses a part")]

use super::support::site;
use ostler_driver::Site;
use ostler_model::{ExecTransport, HostId};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A daemon of our own; ends with the test.
pub(crate) struct Sshd {
    dir: tempfile::TempDir,
    child: Child,
    port: u16,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // A session that stands still outlives its daemon.
        for pid in self.sessions() {
            let _ = Command::new("kill").args(["-9", &pid]).status();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect(program);
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl Sshd {
    /// None, said aloud, where there is no sshd to start; in CI that is a failure.
    pub(crate) fn start() -> Option<Self> {
        if !Path::new("/usr/sbin/sshd").exists() {
            assert!(
                std::env::var_os("CI").is_none(),
                "openssh-server is not installed: run scripts/setup"
            );
            eprintln!("SKIPPED: openssh-server is not installed, nothing over ssh was tested");
            return None;
        }
        // Where sshd gives up its privileges; the package's service makes it.
        let _ = std::fs::create_dir("/run/sshd");
        let dir = tempfile::tempdir().expect("dir");
        let file = |name: &str| dir.path().join(name).to_str().expect("text").to_owned();
        for key in ["host", "user"] {
            run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &file(key)]);
        }
        std::fs::copy(file("user.pub"), file("authorized")).expect("copied");
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a port")
            .port();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nListenAddress ::1\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPidFile none\n\
             PasswordAuthentication no\nLogLevel INFO\nSetEnv HOME={}\n",
            file("host"),
            file("authorized"),
            // The start files of the machine's own root are not read: these tests end commands at
            // any moment, also in the middle of such a file, which may leave a lock behind.
            dir.path().display()
        );
        std::fs::write(file("config"), config).expect("written");
        let key = std::fs::read_to_string(file("host.pub")).expect("key");
        std::fs::write(file("known"), format!("[127.0.0.1]:{port} {key}[localhost]:{port} {key}"))
            .expect("written");
        let log = std::fs::File::create(file("log")).expect("log");
        let child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f", &file("config")])
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("sshd");
        let sshd = Self { dir, child, port };
        for _ in 0..1000 {
            if sshd.log().contains("Server listening on 127.0.0.1") {
                return Some(sshd);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("sshd does not listen: {}", sshd.log());
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().expect("text").to_owned()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn transport(&self, address: &str) -> ExecTransport {
        ExecTransport::Ssh {
            destination: format!("{}@{address}", run("id", &["-un"])),
            port: self.port,
            identity_file: Some(self.file("user")),
            known_hosts: Some(self.file("known")),
        }
    }

    pub(crate) fn site(&self, name: &str, address: &str, root: &Path, deed: &str) -> Site {
        Site {
            id: HostId(2),
            name: name.parse().expect("a name"),
            transport: self.transport(address),
            ..site(root, deed)
        }
    }

    /// Cuts all connections: both ends learn of it.
    pub(crate) fn cut(&self) {
        self.signal("-9");
    }

    /// Lets nothing through any more, as a network does whose cable is pulled: nobody learns of it.
    pub(crate) fn silence(&self) {
        self.signal("-STOP");
    }

    /// Sends a signal to the processes that serve the connections.
    pub(crate) fn signal(&self, signal: &str) {
        let sessions = self.sessions();
        assert!(!sessions.is_empty(), "no session of sshd");
        for pid in sessions {
            run("kill", &[signal, &pid]);
        }
    }

    /// The processes that serve the connections, without what they run.
    fn sessions(&self) -> Vec<String> {
        let status = |pid: &str| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let (head, rest) = stat.rsplit_once(") ")?;
            Some((head.contains("(sshd"), rest.split(' ').nth(1)?.to_owned()))
        };
        let of = |parents: &[String]| -> Vec<String> {
            let all = std::fs::read_dir("/proc")
                .expect("proc")
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            all.filter(|pid| {
                status(pid).is_some_and(|(sshd, parent)| sshd && parents.contains(&parent))
            })
            .collect()
        };
        let mut sessions = of(&[self.child.id().to_string()]);
        // For another user than root there is one more process for each session.
        sessions.extend(of(&sessions));
        sessions
    }
}
