//! Whose drivers may load: with a real daemon, the command that signs, and the components that
//! ship.

use ostler_api::{Client, ClientError, Driver, DriverOrigin, NewDriver, Problem};
use ostler_tests::daemon::{self, Daemon, binaries, components, create, poll};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);
/// A driver without grants, which the daemons of these tests do not have from elsewhere.
const RULES: &str = "snapshots-vmware";

/// Runs `ostler`, which must succeed.
fn ostler(arguments: &[&str]) -> String {
    let output = Command::new(binaries().join("ostler")).args(arguments).output().expect("runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

/// A folder with keys, a plugin directory, and the settings of a daemon.
struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Option<Self> {
        if !daemon::is_built() {
            return None;
        }
        let world = Self { dir: tempfile::tempdir().expect("a folder") };
        std::fs::create_dir(world.path("plugins")).expect("made");
        std::fs::write(world.path("password"), "correct horse\n").expect("written");
        for key in ["acme", "other"] {
            let (name, password) = (world.path(key), world.path("password"));
            ostler(&["plugin", "keygen", text(&name), "--password-file", text(&password)]);
        }
        world.settings("");
        Some(world)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The settings of the next start.
    fn settings(&self, toml: &str) {
        std::fs::write(self.path("ostlerd.toml"), toml).expect("written");
    }

    /// The settings with this policy, and `acme` trusted.
    fn policy(&self, policy: &str) {
        let key = self.path("acme.pub");
        self.settings(&format!(
            "[trust]\npolicy = \"{policy}\"\n[trust.keys]\nacme = \"{}\"\n",
            text(&key)
        ));
    }

    fn daemon(&self) -> Daemon {
        let (config, plugins) = (self.path("ostlerd.toml"), self.path("plugins"));
        Daemon::with_plugins(self.dir.path(), &plugins, &["--config", text(&config)])
    }

    /// A copy of a component that ships. `mark` makes another build of it, with another digest.
    fn copy(&self, driver: &str, to: &str, mark: &str) -> PathBuf {
        let mut bytes = std::fs::read(components().join(format!("{driver}.wasm"))).expect("built");
        let authors = b"The Ostler authors";
        let at = bytes.windows(authors.len()).position(|part| part == authors).expect("there");
        bytes[at..at + mark.len()].copy_from_slice(mark.as_bytes());
        let file = self.path(to);
        std::fs::write(&file, bytes).expect("written");
        file
    }

    fn sign(&self, file: &Path, key: &str, more: &[&str]) {
        let (key, password) = (self.path(&format!("{key}.key")), self.path("password"));
        let arguments =
            ["plugin", "sign", text(file), "--key", text(&key), "--password-file", text(&password)];
        ostler(&[&arguments, more].concat());
    }

    /// How many components were compiled and kept.
    fn compiled(&self) -> usize {
        std::fs::read_dir(self.path("data/cache")).map_or(0, Iterator::count)
    }

    /// The files of the drivers that were added.
    fn kept(&self) -> Vec<PathBuf> {
        let folder = std::fs::read_dir(self.path("data/drivers"));
        let mut files: Vec<_> =
            folder.into_iter().flatten().map(|entry| entry.expect("a file").path()).collect();
        files.sort();
        files
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("ostlerd.log")).expect("a log")
    }
}

async fn add(client: &Client, file: &Path, replace: bool) -> Result<Driver, Problem> {
    let new = NewDriver { path: text(file).to_owned(), replace, ..NewDriver::default() };
    match client.add_driver(&new).await {
        Ok(driver) => Ok(driver),
        Err(ClientError::Problem(problem)) => Err(*problem),
        Err(error) => panic!("{error}"),
    }
}

async fn refused(client: &Client, file: &Path, says: &[&str]) {
    let problem = add(client, file, true).await.expect_err("it is not trusted");
    assert_eq!((problem.status, problem.code.as_str()), (422, "untrusted"), "{problem:?}");
    assert_eq!(problem.field.as_deref(), Some("path"));
    assert!(problem.hint.is_some(), "{problem:?}");
    for part in says {
        assert!(problem.detail.contains(part), "no {part:?} in {}", problem.detail);
    }
}

/// The names that the settings give the keys that have signed the driver, or their ids.
fn signers(driver: &Driver) -> Vec<String> {
    let DriverOrigin::Component { signed, .. } = &driver.origin else { panic!("{driver:?}") };
    signed.iter().map(|by| by.name.clone().unwrap_or_else(|| format!("{}?", by.key))).collect()
}

fn key_id(world: &World, key: &str) -> String {
    let text = std::fs::read_to_string(world.path(&format!("{key}.pub"))).expect("a key");
    let first = text.lines().next().expect("a comment");
    first.rsplit(' ').next().expect("an id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_is_added_only_if_a_trusted_key_has_signed_it() {
    let Some(world) = World::new() else { return };
    world.policy("signed");
    let mut daemon = world.daemon();
    let client = daemon.client().clone();
    let file = world.copy(RULES, "vendor.wasm", "");
    let acme = format!("acme ({})", key_id(&world, "acme"));
    refused(&client, &file, &[text(&file), RULES, "is not signed", &acme]).await;
    world.sign(&file, "other", &[]);
    let other = format!("signed by key {}", key_id(&world, "other"));
    refused(&client, &file, &[text(&file), RULES, &other, "not trusted", &acme]).await;
    world.sign(&file, "acme", &[]);
    let whole = std::fs::read(&file).expect("read");
    let mut bent = whole.clone();
    let last = bent.len() - 3;
    bent[last] ^= 1;
    std::fs::write(&file, &bent).expect("written");
    assert!(add(&client, &file, false).await.is_err(), "one bit is another");
    assert_eq!((world.compiled(), world.kept().len()), (0, 0), "nothing was compiled or kept");

    std::fs::write(&file, &whole).expect("written");
    let driver = add(&client, &file, false).await.expect("it is trusted");
    assert_eq!(signers(&driver), ["acme"]);
    assert_eq!(world.kept().len(), 2, "the file and its signature");
    assert_eq!(world.compiled(), 1);
    // Another build under that name, with the signature inside.
    let next = world.copy(RULES, "next.wasm", "Acme");
    refused(&client, &next, &["is not signed"]).await;
    world.sign(&next, "acme", &["--embed"]);
    let replaced = add(&client, &next, true).await.expect("it is trusted");
    assert_ne!(replaced.origin, driver.origin);
    let kept = world.kept().len();
    assert_eq!(kept, 3, "one file, and the one before with its signature");
    daemon.kill();
    daemon.up();
    assert_eq!(client.driver(RULES).await.expect("it is loaded").origin, replaced.origin);
    // The file before comes back with its signature, which is judged again.
    let back = client.roll_driver_back(RULES).await.expect("it is trusted");
    assert_eq!((&back.origin, signers(&back)), (&driver.origin, vec!["acme".to_owned()]));
    world.policy("pinned");
    daemon.kill();
    daemon.up();
    let refused = client.roll_driver_back(RULES).await.expect_err("no digest is pinned");
    let ClientError::Problem(problem) = refused else { panic!("{refused}") };
    assert_eq!((problem.status, problem.code.as_str()), (422, "untrusted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_added_is_judged_again_at_each_start() {
    let Some(world) = World::new() else { return };
    world.policy("signed");
    let mut daemon = world.daemon();
    let client = daemon.client().clone();
    let file = world.copy(RULES, "vendor.wasm", "");
    world.sign(&file, "acme", &[]);
    add(&client, &file, false).await.expect("it is trusted");
    let kept = world.kept();
    let [component, signature] = &kept[..] else { panic!("{kept:?}") };
    let not_loaded = async || client.driver(RULES).await.expect("known").not_loaded;

    // Both were altered by somebody who can write there: sound, but unsigned.
    let text_of_signature = std::fs::read(signature).expect("read");
    std::fs::remove_file(signature).expect("removed");
    daemon.kill();
    daemon.up();
    let why = not_loaded().await.expect("not loaded");
    assert!(why.contains("is not signed") && why.contains(text(component)), "{why}");
    std::fs::write(signature, &text_of_signature).expect("written");

    let whole = std::fs::read(component).expect("read");
    let unsigned = std::fs::read(world.copy(RULES, "x.wasm", "Evil")).expect("read");
    std::fs::write(component, unsigned).expect("written");
    daemon.kill();
    daemon.up();
    let why = not_loaded().await.expect("not loaded");
    assert!(why.contains("was damaged or altered"), "{why}");
    std::fs::write(component, whole).expect("written");

    // The key is withdrawn. Its name would have been `acme`.
    let other = world.path("other.pub");
    world.settings(&format!(
        "[trust]\npolicy = \"signed\"\n[trust.keys]\nours = \"{}\"\n",
        text(&other)
    ));
    daemon.kill();
    daemon.up();
    let why = not_loaded().await.expect("not loaded");
    assert!(why.contains(&key_id(&world, "acme")) && why.contains("ours ("), "{why}");
    // Whoever runs the daemon can sign it, too: beside the vendor's own signature, in one file.
    let again = world.copy(RULES, "again.wasm", "");
    world.sign(&again, "acme", &["--embed"]);
    world.sign(&again, "other", &[]);
    let driver = add(&client, &again, false).await.expect("it is the same component");
    assert_eq!(signers(&driver), [format!("{}?", key_id(&world, "acme")), "ours".to_owned()]);
    assert_eq!(driver.not_loaded, None);

    world.policy("signed");
    daemon.kill();
    daemon.up();
    let driver = client.driver(RULES).await.expect("known");
    assert_eq!((driver.not_loaded.as_deref(), signers(&driver)[0].as_str()), (None, "acme"));
}

/// A VM whose host is driven by `sim`, and what is told of it.
struct Told {
    list: Driver,
    host: String,
    why: String,
    log: String,
}

/// What is told where while `sim` is refused.
async fn told(world: &World, client: &Client, vm: &str) -> Told {
    let list = client.drivers().await.expect("a list");
    let host = poll("the host to be asked", PATIENCE, async || {
        let host = client.host("a").await.map_err(|error| error.to_string())?;
        host.health.and_then(|health| health.error).ok_or_else(|| "no error yet".to_owned())
    });
    let host = host.await;
    let why = client.why(vm).await.expect("an answer");
    Told {
        list: list.into_iter().find(|driver| driver.name == "sim").expect("it is listed"),
        host,
        why: format!("{} {}", why.summary, why.unseen.unwrap_or_default()),
        log: world.log(),
    }
}

async fn running(client: &Client, vm: &str) {
    daemon::reachable(client, "a").await;
    daemon::in_state(client, vm, "running", PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vms_of_a_driver_that_may_not_load_are_kept_and_say_why() {
    let Some(world) = World::new() else { return };
    let sim = world.copy("sim", "plugins/sim.wasm", "");
    let transfer = world.copy("transfer-qcow2", "plugins/transfer-qcow2.wasm", "");
    let mut daemon = world.daemon();
    let client = daemon.client().clone();
    daemon::datastores(&client, world.dir.path()).await;
    daemon::sim_host(&client, "a", &[]).await;
    let spec = "name = \"web\"\nmemory = \"64MiB\"\n[patience]\nboot_grace = \"0s\"\n\
        [[disks]]\nname = \"vda\"\nsize = \"1MiB\"\nformat = \"qcow2\"\n";
    let vm = create(&client, spec, false).await;
    running(&client, &vm).await;
    let uuid = client.vm(&vm).await.expect("a VM").uuid;

    // From now on drivers must be signed, and one of the two is.
    world.sign(&transfer, "acme", &["--embed"]);
    world.policy("signed");
    daemon.kill();
    daemon.up();
    let says = "plugins/sim.wasm (driver sim, SHA-256 ";
    let Told { list, host, why, log } = told(&world, &client, &vm).await;
    for text in [list.not_loaded.as_deref().unwrap_or_default(), &host, &why, &log] {
        assert!(text.contains(says) && text.contains("is not signed"), "{text}");
        assert!(text.contains("ostler plugin sign"), "it says how to go on: {text}");
    }
    assert!(list.kinds.is_empty());
    assert_eq!(signers(&client.driver("transfer-qcow2").await.expect("loaded")), ["acme"]);
    assert_eq!(client.vm(&vm).await.expect("it is kept").uuid, uuid);
    assert!(client.check().await.expect("checked").ok);

    // The vendor's signature arrives.
    world.sign(&sim, "acme", &[]);
    daemon.kill();
    daemon.up();
    running(&client, &vm).await;
    assert_eq!(signers(&client.driver("sim").await.expect("loaded")), ["acme"]);
    assert_eq!(client.vm(&vm).await.expect("it is kept").uuid, uuid);

    // Only listed digests: first without that of the driver in use, then with it.
    let DriverOrigin::Component { digest, .. } = client.driver("sim").await.expect("x").origin
    else {
        panic!("a component")
    };
    let pins = |pinned: &[&str]| {
        world.settings(&format!("[trust]\npolicy = \"pinned\"\npinned = {pinned:?}\n"));
    };
    pins(&[]);
    daemon.kill();
    daemon.up();
    let refused = told(&world, &client, &vm).await;
    assert!(refused.why.contains(&digest) && refused.why.contains("not pinned"), "{}", refused.why);
    pins(&[&digest]);
    daemon.kill();
    daemon.up();
    running(&client, &vm).await;
    assert_eq!(client.vm(&vm).await.expect("it is kept").uuid, uuid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_that_does_not_fit_is_refused_even_if_none_is_asked_for() {
    let Some(world) = World::new() else { return };
    let daemon = world.daemon();
    let client = daemon.client();
    let file = world.copy(RULES, "vendor.wasm", "");
    world.sign(&file, "other", &[]);
    world.copy(RULES, "vendor.wasm", "Evil");
    refused(client, &file, &["was damaged or altered", "(.minisig)", "another SHA-256"]).await;
    std::fs::write(world.path("vendor.wasm.minisig"), "").expect("written");
    refused(client, &file, &["not a signature in minisign's format"]).await;
    std::fs::remove_file(world.path("vendor.wasm.minisig")).expect("removed");
    let driver = add(client, &file, false).await.expect("all may be loaded");
    assert_eq!(signers(&driver), [""; 0]);
    world.sign(&file, "other", &[]);
    let driver = add(client, &file, false).await.expect("the same component, signed later");
    assert_eq!(signers(&driver), [format!("{}?", key_id(&world, "other"))]);
}
