//! A driver that was granted `files` and wants those that its call is not about: on this machine
//! and over ssh. Nothing of a neighbour is read, changed or removed, the audit is told, and the
//! neighbour's own calls are answered.

#[path = "support/sshd.rs"]
mod sshd;
mod support;

use ostler_driver::{Hypervisor, RulesQuestion, Site, Verdict};
use ostler_model::{HostId, State};
use ostler_wasm::{Grants, HostOptions};
use sshd::Sshd;
use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use support::{Audit, Sites, asked, guest, host, hypervisor, load, options, rules, site, told, vm};

const VM: &str = "00000000-0000-0000-0000-000000000001";
const NEIGHBOUR: &str = "00000000-0000-0000-0000-000000000002";
const NOT_OF_CALL: &str = "not-of-this-call";
/// In every file that no call of the driver may read.
const SECRET: &str = "hunter2";

/// What a driver does, and the code of the error that it must get. `V` stands for the call's VM,
/// `N` for a neighbour of it. The words behind each say which failure its refusal prevents.
const ATTACKS: &[(&str, &str)] = &[
    // A guest's data are read by the driver of another guest.
    ("read ds vms/N/disk", NOT_OF_CALL),
    ("copy ds vms/N/disk ds own/stolen", NOT_OF_CALL),
    ("checksum ds vms/N/disk", NOT_OF_CALL),
    ("rename ds vms/N/disk ds own/stolen", NOT_OF_CALL),
    ("fetch here ds vms/N/disk ds own/stolen", NOT_OF_CALL),
    // A guest's data come from another host, where the call has no business.
    ("fetch far ds vms/N/disk ds own/stolen", NOT_OF_CALL),
    ("fetch far ds own/records ds own/stolen", NOT_OF_CALL),
    // A guest's disk is replaced: it boots what the driver says.
    ("write ds vms/N/disk planted", NOT_OF_CALL),
    ("copy ds own/file ds vms/N/disk", NOT_OF_CALL),
    ("rename ds own/file ds vms/N/disk", NOT_OF_CALL),
    ("fetch here ds own/file ds vms/N/disk", NOT_OF_CALL),
    // A guest's disks are gone.
    ("remove ds vms/N", NOT_OF_CALL),
    ("remove ds vms/N/disk", NOT_OF_CALL),
    ("remove ds vms", NOT_OF_CALL),
    ("rename ds vms/N ds own/away", NOT_OF_CALL),
    // The folders of all VMs, and their sizes and times, are told.
    ("list ds vms", NOT_OF_CALL),
    ("stat ds vms/N/disk", NOT_OF_CALL),
    ("list ds vms/N", NOT_OF_CALL),
    // A folder is made that stands in the way of a VM to come.
    ("make ds vms/N/snapshots", NOT_OF_CALL),
    ("make ds vms/00000000-0000-0000-0000-000000000003", NOT_OF_CALL),
    // The records of another driver are read and changed: its domains are lost.
    ("read ds other/records", NOT_OF_CALL),
    ("write ds other/records planted", NOT_OF_CALL),
    ("remove ds other", NOT_OF_CALL),
    // An image is read, or changed under all guests that stand on it.
    ("read ds image", NOT_OF_CALL),
    ("write ds image planted", NOT_OF_CALL),
    ("rename ds own/file ds image", NOT_OF_CALL),
    // A folder whose name only begins as an own one counts as own.
    ("read ds own2/file", NOT_OF_CALL),
    ("read ds vms/V2/disk", NOT_OF_CALL),
    // A folder of the VM's name below somebody else's counts as own.
    ("read ds other/V/file", NOT_OF_CALL),
    // A temporary name beside a folder counts as own.
    ("write ds own.new-1-1 planted", NOT_OF_CALL),
    // Another datastore has the same folders.
    ("read more own/file", NOT_OF_CALL),
    // A program is given the path of what its driver may not open.
    ("absolute ds vms/N/disk", NOT_OF_CALL),
    ("exec show word=x n=1 file=ds:vms/N/disk", NOT_OF_CALL),
    ("exec show word=x n=1 file=more:own/file", NOT_OF_CALL),
    // The monitor of another driver's guest is talked to.
    ("talk peer file=ds:other/monitor x", NOT_OF_CALL),
    // A path is written so that its parts do not say where it leads.
    ("read ds own/../vms/N/disk", "bad-path"),
    ("read ds ./vms/N/disk", "bad-path"),
    ("exec show word=x n=1 file=ds:own/../image", "bad-argument"),
    // A link that stands in an own folder leads to a neighbour.
    ("read ds own/link/disk", "outside-datastore"),
    ("list ds own/link", "outside-datastore"),
    ("write ds own/link/disk planted", "outside-datastore"),
    ("remove ds own/link/disk", "outside-datastore"),
    ("copy ds own/link/disk ds own/stolen", "outside-datastore"),
    ("exec show word=x n=1 file=ds:own/link/disk", "outside-datastore"),
    ("absolute ds vms/V/link", "outside-datastore"),
];

/// A datastore with files of the driver, of its VM, of a neighbour, of another driver.
struct Field {
    _dir: tempfile::TempDir,
    root: PathBuf,
    more: PathBuf,
}

impl Field {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("dir");
        let (root, more) = (dir.path().join("ds"), dir.path().join("more"));
        let ours = ["own/file".to_owned(), format!("vms/{VM}/disk")];
        let theirs = [
            format!("vms/{NEIGHBOUR}/disk"),
            format!("vms/{VM}2/disk"),
            format!("other/{VM}/file"),
            "other/records".to_owned(),
            "own2/file".to_owned(),
            "image".to_owned(),
        ];
        for (paths, text) in [(&ours[..], "ours"), (&theirs[..], SECRET)] {
            for path in paths {
                let path = root.join(path);
                std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
                std::fs::write(path, text).expect("written");
            }
        }
        std::fs::create_dir_all(more.join("own")).expect("made");
        std::fs::write(more.join("own/file"), SECRET).expect("written");
        symlink(format!("../vms/{NEIGHBOUR}"), root.join("own/link")).expect("linked");
        let to = format!("../{NEIGHBOUR}/disk");
        symlink(to, root.join(format!("vms/{VM}/link"))).expect("linked");
        Self { _dir: dir, root, more }
    }

    /// Puts the datastores and the folder of the driver into a host.
    fn site(&self, mut site: Site) -> Site {
        let more = self.more.to_str().expect("text").to_owned();
        site.roots.insert("more".parse().expect("a name"), more);
        site.config.extend(
            [("datastore", "ds"), ("folder", "own")]
                .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        site
    }

    fn here(&self, deed: &str) -> Site {
        self.site(site(&self.root, deed))
    }

    /// All files that are not the driver's or its VM's.
    fn theirs(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut all = BTreeMap::new();
        below(&self.root, &mut all);
        below(&self.more, &mut all);
        let ours = [self.root.join("own"), self.root.join(format!("vms/{VM}"))];
        all.retain(|path, _| !ours.iter().any(|ours| path.starts_with(ours)));
        all
    }
}

fn below(folder: &Path, all: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).expect("listed") {
        let entry = entry.expect("an entry");
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            all.insert(entry.path(), Vec::new());
            below(&entry.path(), all);
        } else {
            all.insert(entry.path(), std::fs::read(entry.path()).unwrap_or_default());
        }
    }
}

/// A driver with what it asks for, or with other grants, and the audit of it.
async fn driver(grants: Grants, far: Site) -> (Arc<dyn Hypervisor>, Arc<Audit>) {
    let audit = Arc::new(Audit::default());
    let sites = Arc::new(Sites(vec![far]));
    let host = host(HostOptions { audit: Arc::clone(&audit) as _, sites, ..options() });
    (hypervisor(&load(&host, grants).await), audit)
}

fn deed(text: &str) -> String {
    let parts = text.split(' ').map(|word| {
        let part = |part: &str| match part {
            "V" => VM.to_owned(),
            "V2" => format!("{VM}2"),
            "N" => NEIGHBOUR.to_owned(),
            other => other.to_owned(),
        };
        word.split('/').map(part).collect::<Vec<_>>().join("/")
    });
    parts.collect::<Vec<_>>().join(" ")
}

/// Tries all attacks on the hosts that `there` makes of deeds.
async fn attacked(field: &Field, there: impl Fn(&str) -> Site) {
    let far = Site { id: HostId(9), name: "far".parse().expect("a name"), ..field.here("") };
    let (driver, audit) = driver(asked(), far).await;
    let before = field.theirs();
    for (text, code) in ATTACKS {
        let error = told(&driver, &there(&deed(text))).await.expect_err(text);
        assert_eq!(error.code, *code, "{text}: {error}");
        assert!(!error.detail.contains(SECRET), "{text}: {error}");
        let audited = std::mem::take(&mut *audit.0.lock().expect("not poisoned"));
        if *code == NOT_OF_CALL {
            assert!(matches!(&audited[..], [one] if one.contains("files")), "{text}: {audited:?}");
            assert!(error.detail.contains("in remove"), "{text}: {error}");
        }
        // The driver's own call is answered.
        assert_eq!(told(&driver, &there("read ds own/file")).await, Ok("Some(\"ours\")".into()));
    }
    assert_eq!(field.theirs(), before, "a file of a neighbour has changed");
    let disk = format!("read ds vms/{VM}/disk");
    assert_eq!(told(&driver, &there(&disk)).await, Ok("Some(\"ours\")".into()));
}

#[tokio::test]
async fn a_driver_reaches_no_file_that_its_call_is_not_about() {
    let field = Field::new();
    attacked(&field, |deed| field.here(deed)).await;
}

#[tokio::test]
async fn a_driver_reaches_no_such_file_over_ssh() {
    let Some(sshd) = Sshd::start() else { return };
    let field = Field::new();
    // Sockets are not forwarded: that attack ends before the path is judged.
    attacked(&field, |deed| {
        let site = if deed.starts_with("talk") {
            site(&field.root, deed)
        } else {
            sshd.site("here", "127.0.0.1", &field.root, deed)
        };
        field.site(site)
    })
    .await;
}

/// An own folder that was replaced by a link leads nowhere.
#[tokio::test]
async fn an_own_folder_that_became_a_link_is_not_followed() {
    let field = Field::new();
    let far = field.here("");
    let (driver, _) = driver(asked(), far).await;
    let sshd = Sshd::start();
    std::fs::remove_dir_all(field.root.join("own")).expect("removed");
    symlink(format!("vms/{NEIGHBOUR}"), field.root.join("own")).expect("linked");
    let before = field.theirs();
    for text in [
        "read ds own/disk",
        "copy ds own/disk ds vms/V/stolen",
        "write ds own/disk x",
        "list ds own",
        "exec show word=x n=1 file=ds:own/disk",
    ] {
        let far = sshd
            .as_ref()
            .map(|sshd| field.site(sshd.site("here", "127.0.0.1", &field.root, &deed(text))));
        for site in [Some(field.here(&deed(text))), far].into_iter().flatten() {
            let answer = told(&driver, &site).await;
            // Not "None" either: a driver would take its records for gone.
            assert!(answer.is_err(), "{text}: {answer:?}");
        }
    }
    assert_eq!(field.theirs(), before);
}

/// A question that changes something is caught: looks are made all the time, also beside a call.
#[tokio::test]
async fn a_look_changes_no_file() {
    let field = Field::new();
    let (driver, _) = driver(asked(), field.here("")).await;
    for text in [
        "write ds own/file x",
        "remove ds own/file",
        "rename ds own/file ds own/b",
        "copy ds own/file ds own/b",
        "make ds own/b",
    ] {
        let error = driver.observe(&field.here(text), vm(1)).await.expect_err(text);
        assert_eq!(error.code, NOT_OF_CALL, "{text}: {error}");
    }
    let read = driver.observe(&field.here("read ds own/file"), vm(1)).await.expect_err("told");
    assert_eq!((read.code.as_str(), read.detail.as_str()), ("told", "Some(\"ours\")"));
    let other = deed("read ds vms/N/disk");
    assert_eq!(driver.observe(&field.here(&other), vm(1)).await.expect_err("no").code, NOT_OF_CALL);
}

/// Rules decide, and see no file.
#[tokio::test]
async fn snapshot_rules_reach_nothing() {
    let rules = rules(&load(&host(options()), asked()).await);
    let question = RulesQuestion {
        verb: "steal".to_owned(),
        state: State::Running,
        disks: Vec::new(),
        snapshots: Vec::new(),
        subject: None,
        abilities: Vec::new(),
        now_ms: 0,
    };
    let verdict = rules.judge(&question).await.expect("judged");
    assert_eq!(verdict.verdict, Verdict::Refused { reason: "no-host".to_owned() });
}

/// A default of the manifest makes neither the folders of all VMs nor the records of another driver
/// the driver's own.
#[tokio::test]
async fn a_manifest_cannot_name_the_folders_of_others() {
    let field = Field::new();
    let text = String::from_utf8_lossy(guest());
    assert!(text.contains("about = \"the folder in it\""), "the test knows the manifest");
    let host = host(options());
    for (folder, setting, steal) in [
        ("vms", "about=\"x\"\ndefault = \"vms\"\n", deed("read ds vms/N/disk")),
        ("other", "about=\"x\"\ndefault=\"other\"\n", "read ds other/records".to_owned()),
    ] {
        let hostile = support::patched("about = \"the folder in it\"", setting);
        let loaded = host.load_bytes("guest.wasm", hostile, asked()).await.expect("loads");
        let driver = hypervisor(&loaded);
        let mut site = field.here(&steal);
        site.config.remove("folder");
        let error = told(&driver, &site).await.expect_err("refused");
        assert_eq!(error.code, NOT_OF_CALL, "{folder}");
        // An operator may say so.
        site.config.insert("folder".to_owned(), folder.to_owned());
        assert_eq!(told(&driver, &site).await, Ok(format!("Some({SECRET:?})")), "{folder}");
    }
}

/// An operator can grant a whole datastore: what a driver kept elsewhere stays reachable.
#[tokio::test]
async fn a_whole_datastore_can_be_granted() {
    let field = Field::new();
    let mut grants = asked();
    grants.capabilities.insert("files".to_owned(), ["ds".to_owned()].into());
    let (driver, _) = driver(grants, field.here("")).await;
    let read = told(&driver, &field.here("read ds other/records")).await;
    assert_eq!(read, Ok(format!("Some({SECRET:?})")));
    let error = told(&driver, &field.here("read more own/file")).await.expect_err("refused");
    assert_eq!(error.code, NOT_OF_CALL);
}
