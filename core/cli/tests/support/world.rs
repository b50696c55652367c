//! A daemon with two hosts of `sim`, and a VM.

use super::support::{self, Daemon, Ran};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Long enough for a loaded machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A daemon with two hosts that share their storage, and a VM called `web` that runs on one of
/// them.
pub(crate) struct World {
    pub(crate) daemon: Daemon,
    pub(crate) vm: String,
}

impl World {
    pub(crate) fn start() -> Option<Self> {
        let daemon = Daemon::start(Some(support::plugins()?))?;
        for (name, kind) in [("system", "system"), ("images", "image"), ("simhosts", "image")] {
            let root = daemon.folder.path().join(name);
            std::fs::create_dir(&root).expect("made");
            let root = root.display().to_string();
            daemon
                .run(&[
                    "datastore",
                    "add",
                    name,
                    "--kind",
                    kind,
                    "--driver",
                    "transfer-qcow2",
                    "--root",
                    &root,
                    "--shared",
                ])
                .expect(0);
        }
        for host in ["h1", "h2"] {
            let folder = format!("folder={host}");
            daemon
                .run(&[
                    "host",
                    "add",
                    host,
                    "--driver",
                    "sim",
                    "--set",
                    "datastore=simhosts",
                    "--set",
                    &folder,
                ])
                .expect(0);
        }
        daemon.run(&["driver", "bind-rules", "sim", "snapshots-kvm"]).expect(0);
        let spec = "name = \"web\"\nmemory = \"96MiB\"\nhost = \"h1\"\nheadroom = { vcpus = 4, memory = \"1GiB\" }\n\
                    [[disks]]\nname = \"vda\"\nsize = \"4MiB\"\n[[nics]]\nbridge = \"br0\"\n";
        let file = daemon.file("web.toml", spec);
        let vm = daemon
            .run(&["vm", "create", "-f", &file, "--wait", "-o", "name"])
            .expect(0)
            .out
            .trim()
            .to_owned();
        Some(Self { daemon, vm })
    }

    #[track_caller]
    pub(crate) fn vm(&self, args: &[&str]) -> Ran {
        self.daemon.run(&[&["vm"], args].concat())
    }

    #[track_caller]
    pub(crate) fn shown(&self) -> Value {
        self.vm(&["show", &self.vm, "-o", "json"]).expect(0).json()
    }

    /// The command must end with this code, print these words, and leave the VM as it was.
    #[track_caller]
    pub(crate) fn refused(&self, args: &[&str], code: i32, words: &str) {
        let before = self.shown();
        self.vm(args).expect(code).says(words);
        assert_eq!(self.shown(), before, "{args:?} changed something");
    }

    #[track_caller]
    pub(crate) fn eventually(&self, what: &str, so: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let shown = self.shown();
            if so(&shown) {
                return shown;
            }
            assert!(began.elapsed() < SOON, "waited for {what}: {shown:#}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

pub(crate) fn names(list: &Value, field: &str) -> Vec<String> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| one[field].as_str().map(str::to_owned))
        .collect()
}
