//! A driver whose command is a shell, on this machine: the kernel holds it to the files of its call
//! and to the limits of its template. Over ssh the limits hold, too.

#[path = "support/sshd.rs"]
mod sshd;
mod support;

use ostler_driver::{FileRef, Hypervisor, Site};
use ostler_model::{DriverError, HostId};
use ostler_wasm::can_confine;
use sshd::Sshd;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use support::{asked, call, host, hypervisor, load, options, site, told};

const VM: &str = "00000000-0000-0000-0000-000000000001";
const NEIGHBOUR: &str = "00000000-0000-0000-0000-000000000002";

/// What a script does that a driver hands to a shell, in the root of the datastore. Each must leave
/// the neighbour and the image as they are, and print no `hunter2`. The words say which failure the
/// kernel prevents.
const SCRIPTS: &[&str] = &[
    // A guest's disk is read.
    "cat vms/N/disk",
    "cp vms/N/disk own/stolen; cat own/stolen",
    "ln -s ../vms/N/disk own/soft; cat own/soft",
    "ln vms/N/disk own/hard; cat own/hard",
    "mv vms/N/disk own/stolen; cat own/stolen",
    "cat other/records",
    "cat unknown",
    // A guest's disk is replaced or damaged.
    "echo planted >vms/N/disk",
    "echo planted >>vms/N/disk",
    ": >vms/N/disk",
    "cp own/script vms/N/disk",
    "mv own/script vms/N/disk",
    "truncate -s 0 vms/N/disk",
    "dd if=/dev/zero of=vms/N/disk conv=notrunc",
    // A guest's disk is gone.
    "rm -rf vms/N",
    "rm -f vms/N/disk",
    "mv vms/N vms/V/away",
    // A link stands in the way of Ostler's own work for a neighbour.
    "ln -s /etc/passwd vms/N/disk2",
    "mkdir vms/N/console.log",
    "mkdir vms/00000000-0000-0000-0000-000000000003",
    // An image that the call only reads is changed under all guests that stand on it.
    "echo planted >image",
    ": >image",
    "rm -f image",
    "mv image own/image",
    "ln -f own/script image",
    // The folder of the VM is swapped for a link, and Ostler would follow it.
    "mv vms/V vms/away; ln -s N vms/V",
    "rm -rf vms/V; ln -s N vms/V",
    // The list of all VMs is told.
    "ls vms/N && echo hunter2",
];

struct Field {
    _dir: tempfile::TempDir,
    root: PathBuf,
}

impl Field {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("dir");
        let root = dir.path().to_owned();
        for (path, text) in [
            ("own/file", "ours"),
            (format!("vms/{VM}/disk").as_str(), "ours"),
            (format!("vms/{NEIGHBOUR}/disk").as_str(), "hunter2"),
            ("other/records", "hunter2"),
            ("unknown", "hunter2"),
            ("image", "an image"),
        ] {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        Self { _dir: dir, root }
    }

    fn script(&self, text: &str) {
        let text = text.replace("vms/V", &format!("vms/{VM}"));
        let text = text.replace("vms/N", &format!("vms/{NEIGHBOUR}"));
        let text = text.replace("-s N ", &format!("-s {NEIGHBOUR} "));
        let script = format!("cd {}\n{text}\n", self.root.display());
        std::fs::write(self.root.join("own/script"), script).expect("written");
    }

    fn own(&self, mut site: Site) -> Site {
        site.config.extend(
            [("datastore", "ds"), ("folder", "own")]
                .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        site
    }

    fn site(&self, deed: &str) -> Site {
        self.own(site(&self.root, deed))
    }

    fn is_whole(&self) -> bool {
        let read = |path: &str| std::fs::read_to_string(self.root.join(path)).unwrap_or_default();
        let names = |path: &str| {
            let names = std::fs::read_dir(self.root.join(path)).map(Iterator::count);
            names.unwrap_or_default()
        };
        let neighbour = format!("vms/{NEIGHBOUR}");
        let vm = self.root.join("vms").join(VM);
        read(&format!("{neighbour}/disk")) == "hunter2"
            && names(&neighbour) == 1
            && names("vms") == 2
            && !vm.is_symlink()
            && read("image") == "an image"
            && read("other/records") == "hunter2"
    }
}

async fn driver() -> Arc<dyn Hypervisor> {
    hypervisor(&load(&host(options()), asked()).await)
}

fn can() -> bool {
    let can = can_confine();
    if !can {
        let _ = std::io::stderr().write_all(b"SKIPPED: the kernel has no Landlock\n");
    }
    can
}

/// Runs the script as a command of a call that only reads the image.
async fn run(
    driver: &Arc<dyn Hypervisor>,
    field: &Field,
    deed: &str,
) -> Result<String, DriverError> {
    let mut control = call(1, Duration::from_secs(600));
    control.related.read.push(FileRef {
        host: HostId(1),
        datastore: "ds".parse().expect("a name"),
        path: "image".parse().expect("a path"),
        absolute: field.root.join("image").display().to_string(),
    });
    match driver.remove(&field.site(deed), &control).await {
        Err(error) if error.code == "told" => Ok(error.detail),
        Err(error) => Err(error),
        Ok(_) => Ok(String::new()),
    }
}

#[tokio::test]
async fn a_shell_reaches_no_file_that_its_call_is_not_about() {
    if !can() {
        return;
    }
    let driver = driver().await;
    for text in SCRIPTS {
        let field = Field::new();
        field.script(text);
        let answer = run(&driver, &field, "exec do script=ds:own/script").await.expect(text);
        assert!(!answer.contains("hunter2"), "{text}: {answer}");
        assert!(field.is_whole(), "{text}: {answer}");
    }
    // What the call is about, a shell reaches: otherwise nothing was tested.
    let field = Field::new();
    field.script("cat image own/file vms/V/disk && echo new >vms/V/made && echo new >own/made");
    let answer = run(&driver, &field, "exec do script=ds:own/script").await.expect("told");
    assert!(answer.starts_with("(Some(0)") && answer.contains("an imageoursours"), "{answer}");
    assert!(field.root.join("own/made").is_file());
    assert!(field.root.join("vms").join(VM).join("made").is_file());
}

/// The negative control: a template that names all datastores does harm, and the test sees it.
#[tokio::test]
async fn a_command_reaches_all_datastores_if_its_template_says_so() {
    let driver = driver().await;
    for text in ["cat vms/N/disk", "rm -f image"] {
        let field = Field::new();
        field.script(text);
        let answer = run(&driver, &field, "exec everywhere script=ds:own/script").await;
        let answer = answer.expect("told");
        assert!(answer.contains("hunter2") || !field.is_whole(), "{text}: {answer}");
    }
}

/// A shell that swaps a file for a link while its path is checked.
#[tokio::test]
async fn a_file_that_is_swapped_while_its_path_is_checked_leads_nowhere() {
    if !can() {
        return;
    }
    let driver = driver().await;
    let field = Field::new();
    field.script(
        "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do \
         echo cat own/x >own/x; cat own/x; ln -sf ../vms/N/disk own/x; cat own/x; rm -f own/x; done",
    );
    let swaps = run(&driver, &field, "exec do script=ds:own/script");
    let reads = async {
        for _ in 0..20 {
            let site = field.site("exec do script=ds:own/x");
            if let Ok(answer) = told(&driver, &site).await {
                assert!(!answer.contains("hunter2"), "{answer}");
            }
        }
    };
    let (answer, ()) = tokio::join!(swaps, reads);
    assert!(!answer.expect("told").contains("hunter2") && field.is_whole());
}

/// What a script with few resources does, and what its answer shows.
const EATERS: &[(&str, &str)] = &[
    // It eats the memory of its host.
    ("head -c 200000000 /dev/zero | tail; echo ended", "memory exhausted"),
    // It eats descriptors.
    (
        "bash -c 'for i in $(seq 64); do exec {fd}</dev/null || break; done; echo $i'",
        "Too many open files",
    ),
    // It fills the datastore with one file.
    ("head -c 3000000 /dev/zero >own/big; stat -c size=%s own/big", "size=1048576"),
    // It eats a CPU for ever.
    ("while :; do :; done", "None, Some(9)"),
    // It takes its limits back.
    ("ulimit -v unlimited; ulimit -n 1000; ulimit -v; ulimit -n", "65536\\n32\\n"),
    // It writes the memory of a process, with its secrets, to the disk.
    ("ulimit -c unlimited; ulimit -c", "0\\n"),
];

/// Root over ssh keeps the right to lift its limits: nothing there takes it away.
async fn eaten(field: &Field, lifts: bool, there: impl Fn(&str) -> Site) {
    let driver = driver().await;
    for (text, shows) in EATERS.iter().filter(|(text, _)| !(lifts && text.starts_with("ulimit"))) {
        field.script(text);
        let answer = told(&driver, &there("exec limited script=ds:own/script")).await;
        let answer = answer.expect(text);
        assert!(answer.contains(shows), "{text}: {answer}");
        // Neighbours are served.
        assert_eq!(told(&driver, &there("read ds own/file")).await, Ok("Some(\"ours\")".into()));
    }
    // The default: no dump, and less memory than there may be.
    field.script("ulimit -c; ulimit -v; ulimit -n");
    let answer = told(&driver, &there("exec do script=ds:own/script")).await.expect("told");
    assert!(answer.contains("0\\n16777216\\n"), "{answer}");
}

#[tokio::test]
async fn a_command_that_eats_its_host_is_held() {
    let field = Field::new();
    eaten(&field, false, |deed| field.site(deed)).await;
}

#[tokio::test]
async fn a_command_that_eats_its_host_is_held_over_ssh() {
    let Some(sshd) = Sshd::start() else { return };
    let field = Field::new();
    let lifts = rustix::process::geteuid().is_root();
    eaten(&field, lifts, |deed| field.own(sshd.site("here", "127.0.0.1", &field.root, deed))).await;
}

/// Nothing of a driver is found in the folder that it was not given.
#[tokio::test]
async fn a_hostile_command_leaves_nothing_at_the_root() {
    if !can() {
        return;
    }
    let driver = driver().await;
    let field = Field::new();
    let names = |root: &Path| std::fs::read_dir(root).expect("listed").count();
    let before = names(&field.root);
    field.script("echo x >planted; mkdir made; ln -s /etc linked; mkfifo pipe; echo done");
    let answer = run(&driver, &field, "exec do script=ds:own/script").await.expect("told");
    assert!(answer.contains("done"), "{answer}");
    assert_eq!(names(&field.root), before);
}
