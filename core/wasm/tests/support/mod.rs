//! The test guest, built once, and hosts to call it on.

#![allow(dead_code, reason = "each test binary uses a part")]

use ostler_driver::{CallControl, DriverKind, Hypervisor, Site, SnapshotRules};
use ostler_model::{
    CallContext, DatastoreName, DriverError, DriverName, EffectKey, Epoch, ErrorKind,
    ExecTransport, Generation, HostId, HostName, Item, Observation, OperationId, StepNo, StoreId,
    Timestamp, VmUuid,
};
use ostler_wasm::{AuditSink, Grants, Host, HostOptions, LoadedDriver, SiteDirectory};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// The component, built from `tests/guest`.
pub(crate) fn guest() -> &'static [u8] {
    static GUEST: OnceLock<Vec<u8>> = OnceLock::new();
    GUEST.get_or_init(|| {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guest");
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest");
        let built = Command::new(env!("CARGO"))
            .args([
                "build",
                "--quiet",
                "--locked",
                "--release",
                "--target",
                "wasm32-wasip2",
                "--manifest-path",
            ])
            .arg(dir.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(&target)
            .env_remove("RUSTFLAGS")
            .status()
            .expect("cargo runs");
        assert!(
            built.success(),
            "the test guest does not build; is the target wasm32-wasip2 installed?"
        );
        std::fs::read(target.join("wasm32-wasip2/release/ostler_test_guest.wasm")).expect("built")
    })
}

/// The guest with one text replaced by another of the same length.
pub(crate) fn patched(from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = guest().to_vec();
    let places: Vec<usize> = bytes
        .windows(from.len())
        .enumerate()
        .filter(|(_, at)| *at == from.as_bytes())
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty(), "{from} is not in the guest");
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    bytes
}

/// Another driver than the guest: a component with another digest.
pub(crate) fn other_guest() -> Vec<u8> {
    patched("Does what a test tells it", "Does what a test asks it.")
}

#[derive(Default)]
pub(crate) struct Audit(pub(crate) Mutex<Vec<String>>);

impl AuditSink for Audit {
    fn denied(&self, driver: &DriverName, capability: &str, detail: &str) {
        self.0.lock().expect("not poisoned").push(format!("{driver} {capability}: {detail}"));
    }
}

/// Hosts by name.
#[derive(Default)]
pub(crate) struct Sites(pub(crate) Vec<Site>);

impl SiteDirectory for Sites {
    fn site(&self, name: &HostName) -> Option<Site> {
        self.0.iter().find(|site| site.name == *name).cloned()
    }

    fn host_name(&self, id: HostId) -> Option<HostName> {
        self.0.iter().find(|site| site.id == id).map(|site| site.name.clone())
    }
}

/// Small. A call may compute for long, so that a slow machine ends none.
pub(crate) fn options() -> HostOptions {
    HostOptions {
        cache_dir: Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled")),
        // Nobody makes it: jobs of other runs are none of this one's.
        jobs_folder: format!("{}/no-jobs", env!("CARGO_TARGET_TMPDIR")),
        instances: 32,
        max_memory: 64 << 20,
        cpu_budget: Duration::from_secs(120),
        ..HostOptions::default()
    }
}

pub(crate) fn host(options: HostOptions) -> Host {
    Host::new(options).expect("a host")
}

/// Everything the guest asks for. Of files: those of its calls.
pub(crate) fn asked() -> Grants {
    let manifest = ostler_wasm::inspect("guest", guest()).expect("a component").manifest;
    Grants::all(&manifest)
}

/// The same, and the whole datastore `ds`.
pub(crate) fn all() -> Grants {
    let mut grants = asked();
    grants.capabilities.insert("files".to_owned(), ["ds".to_owned()].into());
    grants
}

/// The same without commands. Then nobody asks a host for jobs.
pub(crate) fn without_commands() -> Grants {
    let mut grants = all();
    grants.capabilities.remove("exec");
    grants
}

/// Some capabilities, each with some of its parts.
pub(crate) fn granting(given: &[(&str, &[&str])]) -> Grants {
    let parts = |parts: &[&str]| parts.iter().map(|&part| part.to_owned()).collect();
    let capabilities = given.iter().map(|(of, all)| ((*of).to_owned(), parts(all))).collect();
    Grants { capabilities, ..Grants::none() }
}

pub(crate) async fn load(host: &Host, grants: Grants) -> LoadedDriver {
    host.load_bytes("guest.wasm", guest().to_vec(), grants).await.expect("loads")
}

pub(crate) fn hypervisor(driver: &LoadedDriver) -> Arc<dyn Hypervisor> {
    let kinds = driver.kinds().into_iter();
    kinds
        .filter_map(
            |kind| if let DriverKind::Hypervisor(driver) = kind { Some(driver) } else { None },
        )
        .next()
        .expect("a hypervisor driver")
}

pub(crate) fn rules(driver: &LoadedDriver) -> Arc<dyn SnapshotRules> {
    let kinds = driver.kinds().into_iter();
    kinds
        .filter_map(|kind| if let DriverKind::Rules(driver) = kind { Some(driver) } else { None })
        .next()
        .expect("rules")
}

/// A local host with one datastore `ds`, where the guest does `deed`.
pub(crate) fn site(root: &Path, deed: &str) -> Site {
    Site {
        id: HostId(1),
        name: "here".parse().expect("a name"),
        config: BTreeMap::from([("deed".to_owned(), deed.to_owned())]),
        transport: ExecTransport::Local,
        roots: BTreeMap::from([(
            "ds".parse::<DatastoreName>().expect("a name"),
            root.to_str().expect("text").to_owned(),
        )]),
    }
}

pub(crate) fn nowhere(deed: &str) -> Site {
    site(&PathBuf::from("/no/such/root"), deed)
}

pub(crate) fn vm(number: u128) -> VmUuid {
    VmUuid(uuid::Uuid::from_u128(number))
}

pub(crate) fn call(number: u128, patience: Duration) -> CallControl {
    let key = EffectKey {
        vm: vm(number),
        operation: OperationId(7),
        step: StepNo(8),
        item: Item::Domain,
    };
    let context = CallContext {
        store: StoreId(uuid::Uuid::from_u128(5)),
        key,
        attempt: 3,
        generation: Generation(9),
        epoch: Epoch(0),
        spares: None,
        deadline: Timestamp(0),
    };
    CallControl::detached(context, Instant::now() + patience)
}

/// Lets the guest do `deed` and answers what it says came of it. The call is a `remove`, because a
/// slow machine copies a file for longer than an `observe` may last.
pub(crate) async fn told(driver: &Arc<dyn Hypervisor>, site: &Site) -> Result<String, DriverError> {
    let control = call(1, Duration::from_secs(600));
    match driver.remove(site, &control).await {
        Err(error) if error.code == "told" => Ok(error.detail),
        Err(error) => Err(error),
        Ok(outcome) => {
            assert_eq!(outcome.seen, Some(Observation::Absent));
            Ok(String::new())
        }
    }
}

/// The same for local files and for those over ssh.
pub(crate) async fn files(driver: &Arc<dyn Hypervisor>, here: impl Fn(&str) -> Site, root: &Path) {
    for (deed, answer) in [
        ("stat ds a/b", "None"),
        ("read ds a/b", "None"),
        ("write ds a/b hello", "()"),
        ("read ds a/b", "Some(\"hello\")"),
        ("stat ds a/b", "Some((\"file\", 5))"),
        ("copy ds a/b ds c/d", "5"),
        ("fetch here ds c/d ds c/e", "5"),
        ("checksum ds c/e", "\"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\""),
        ("rename ds c/e ds f", "()"),
        ("list ds c", "[\"d\"]"),
        ("make ds g/h", "()"),
        ("make ds g/h", "()"),
        ("remove ds g", "()"),
        ("remove ds g", "()"),
        ("stat ds g", "None"),
    ] {
        assert_eq!(told(driver, &here(deed)).await.as_deref(), Ok(answer), "{deed}");
    }
    let absolute = format!("{:?}", root.join("c/new").display().to_string());
    assert_eq!(told(driver, &here("absolute ds c/new")).await, Ok(absolute));
    std::os::unix::fs::symlink("/etc", root.join("out")).expect("link");
    for (deed, code) in [
        ("absolute ds out/passwd", "outside-datastore"),
        ("read ds out/passwd", "outside-datastore"),
        ("copy ds out/passwd ds stolen", "outside-datastore"),
        ("write ds out/ostler-test x", "outside-datastore"),
        ("read ds ../x", "bad-path"),
        ("read ds /etc/passwd", "bad-path"),
        ("rename ds a/b ds ../x", "bad-path"),
        ("read other a", "no-such-datastore"),
        ("rename ds a/b other a/b", "other-datastore"),
        ("fetch nobody ds a ds b", "no-such-host"),
        ("list ds nothing", "no-such-file"),
    ] {
        assert_eq!(told(driver, &here(deed)).await.expect_err(deed).code, code, "{deed}");
    }
    assert!(!root.join("stolen").exists());
}

/// How many processes run exactly this.
pub(crate) fn processes(cmdline: &str) -> usize {
    let all = std::fs::read_dir("/proc").expect("proc").filter_map(Result::ok);
    all.filter(|process| {
        std::fs::read(process.path().join("cmdline")).is_ok_and(|text| text == cmdline.as_bytes())
    })
    .count()
}

/// Every deed that changes something, and those that only look.
pub(crate) const CHANGES: [&str; 8] = [
    "exec cat",
    "exec-quietly cat",
    "write ds a/b other",
    "make ds c",
    "remove ds a/b",
    "rename ds a/b ds d",
    "copy ds a/b ds e",
    "fetch here ds a/b ds f",
];
const LOOKS: [(&str, &str); 5] = [
    ("stat ds a/b", "Some((\"file\", 5))"),
    ("read ds a/b", "Some(\"hello\")"),
    ("list ds a", "[\"b\"]"),
    ("checksum ds a/b", "\"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\""),
    ("epoch", "Some(6)"),
];

/// As `told`, for a daemon with this epoch.
pub(crate) async fn told_at(
    driver: &Arc<dyn Hypervisor>,
    site: &Site,
    epoch: u64,
) -> Result<String, DriverError> {
    let mut control = call(1, Duration::from_secs(600));
    control.context.epoch = Epoch(epoch);
    match driver.remove(site, &control).await {
        Err(error) if error.code == "told" => Ok(error.detail),
        answer => answer.map(|_| String::new()),
    }
}

/// The same on this machine and over ssh: after a daemon with a higher epoch was seen, a host does
/// nothing for one with a lower epoch. `kept` is the folder of epochs.
pub(crate) async fn epochs(
    driver: &Arc<dyn Hypervisor>,
    here: impl Fn(&str) -> Site,
    root: &Path,
    kept: &Path,
) {
    let at = async |deed: &str, epoch: u64| told_at(driver, &here(deed), epoch).await;
    assert_eq!(at("write ds a/b hello", 6).await.as_deref(), Ok("()"));
    let file = kept.join(call(1, Duration::ZERO).context.store.to_string());
    assert_eq!(std::fs::read_to_string(&file).expect("kept before the write"), "6\n");
    for deed in CHANGES {
        let error = at(deed, 5).await.expect_err(deed);
        assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Stale, "epoch"), "{deed}");
        assert!(error.is_superseded(), "{deed}");
        assert!(error.detail.contains("ostlerd --epoch 7"), "{deed}: {error}");
    }
    assert_eq!(std::fs::read(root.join("a/b")).expect("there"), b"hello");
    assert_eq!(std::fs::read_dir(root).expect("folder").count(), 1, "nothing else was made");
    for (deed, answer) in &LOOKS[..4] {
        assert_eq!(at(deed, 5).await.as_deref(), Ok(*answer), "{deed}");
    }
    let looked = driver.observe(&here("exec cat"), vm(1)).await.expect_err("told");
    assert_eq!(looked.code, "told", "a look needs no epoch");
    // A driver cannot say it for a host.
    let said = at("say-epoch", 6).await.expect_err("an error");
    assert_eq!((said.kind, said.code.as_str()), (ErrorKind::Stale, "driver-epoch"));
    for (deed, answer) in LOOKS {
        assert_eq!(at(deed, 6).await.as_deref(), Ok(answer), "{deed}");
    }
    for deed in CHANGES {
        at(deed, 6).await.map_or_else(|error| assert_eq!(error.code, "no-such-file"), drop);
        assert!(std::fs::create_dir_all(root.join("a")).is_ok());
    }
    let mut other = call(1, Duration::from_secs(600));
    (other.context.store, other.context.epoch) = (StoreId(uuid::Uuid::from_u128(6)), Epoch(1));
    assert_eq!(
        driver.remove(&here("make ds g"), &other).await.expect_err("told").code,
        "told",
        "each store has its own"
    );
}
