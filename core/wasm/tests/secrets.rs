//! Secrets of drivers: where a value comes from, what a command is given, and that no text that
//! leaves a call tells a value.

mod support;

use ostler_driver::Hypervisor;
use ostler_model::{DriverError, DriverName, ErrorKind, HostId};
use ostler_wasm::{Grants, HostOptions, Secret, SecretDirectory};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;
use support::{Audit, all, call, host, hypervisor, load, nowhere, options, site, told, vm};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};

/// Secrets by host and name, as the daemon's store has them.
#[derive(Default)]
struct Secrets(Mutex<BTreeMap<(Option<u32>, String), String>>);

impl Secrets {
    fn set(&self, host: Option<u32>, name: &str, value: &str) {
        let mut all = self.0.lock().expect("not poisoned");
        all.insert((host, name.to_owned()), value.to_owned());
    }

    fn remove(&self, host: Option<u32>, name: &str) {
        self.0.lock().expect("not poisoned").remove(&(host, name.to_owned()));
    }
}

/// A secret that the store cannot read.
const UNREADABLE: &str = "unreadable";

impl SecretDirectory for Secrets {
    fn secret(
        &self,
        driver: &DriverName,
        host: Option<HostId>,
        name: &str,
    ) -> Result<Option<Secret>, String> {
        if name == UNREADABLE {
            return Err("the disk says no".to_owned());
        }
        assert_eq!(driver.as_str(), "test-guest");
        let all = self.0.lock().expect("not poisoned");
        let of = |host: Option<u32>| all.get(&(host, name.to_owned()));
        Ok(of(host.map(|host| host.0)).or_else(|| of(None)).map(Secret::new))
    }

    fn edition(&self, _: &DriverName, _: Option<HostId>) -> u64 {
        self.0.lock().expect("not poisoned").len() as u64
    }
}

async fn driver(grants: Grants) -> (Arc<dyn Hypervisor>, Arc<Secrets>, Arc<Audit>) {
    let (secrets, audit) = (Arc::new(Secrets::default()), Arc::new(Audit::default()));
    let host = host(HostOptions {
        secrets: Arc::clone(&secrets) as _,
        audit: Arc::clone(&audit) as _,
        ..options()
    });
    (hypervisor(&load(&host, grants).await), secrets, audit)
}

/// SHA-256 of `password=hunter2-of-all`, as `sha256sum` prints it.
const DIGEST: &str = "9cc1070d2827948ef435216e27933c79715597fbf8e8d1240bd2dc9290a0d134";

#[tokio::test]
async fn a_secret_comes_from_host_then_driver_then_settings_and_the_next_call_sees_a_change() {
    let mut grants = all();
    grants.secrets.insert("password".to_owned(), Secret::new("1"));
    let (driver, secrets, _) = driver(grants).await;
    let length = async |id: u32| {
        let mut here = nowhere("length password");
        here.id = HostId(id);
        told(&driver, &here).await.expect("told")
    };
    assert_eq!(length(1).await, "Some(1)", "of the settings");
    secrets.set(None, "password", "22");
    assert_eq!(length(1).await, "Some(2)", "of the driver");
    secrets.set(Some(1), "password", "333");
    assert_eq!((length(1).await, length(2).await), ("Some(3)".to_owned(), "Some(2)".to_owned()));
    secrets.remove(Some(1), "password");
    secrets.remove(None, "password");
    assert_eq!(length(1).await, "Some(1)");
    assert_eq!(told(&driver, &nowhere("length token")).await.expect("told"), "None");
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_is_not_taken_for_one_that_is_not_set() {
    let mut grants = all();
    grants.secrets.insert(UNREADABLE.to_owned(), Secret::new("an older value"));
    let (driver, _, _) = driver(grants).await;
    let error = told(&driver, &nowhere("secret unreadable")).await.expect_err("told");
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Retry, "store"), "{error}");
    assert!(error.detail.contains("the disk says no"), "{error}");
}

#[tokio::test]
async fn a_session_ends_when_settings_or_secrets_change() {
    let mut grants = all();
    grants.config.insert("deed".to_owned(), "keep-or-tell token 3600000".to_owned());
    let (driver, secrets, _) = driver(grants).await;
    let tells = async |url: &str| {
        let mut here = nowhere("");
        here.config.clear();
        here.config.insert("url".to_owned(), url.to_owned());
        told(&driver, &here).await.expect("told")
    };
    assert_eq!(tells("https://one").await, "\"kept\"");
    assert_eq!(tells("https://one").await, "\"there\"");
    assert_eq!(tells("https://two").await, "\"kept\"", "another server");
    assert_eq!(tells("https://two").await, "\"there\"");
    secrets.set(None, "password", "another");
    assert_eq!(tells("https://two").await, "\"kept\"", "another password");
}

#[tokio::test]
async fn a_command_is_given_secrets_that_the_driver_does_not_see() {
    let (driver, secrets, audit) = driver(all()).await;
    secrets.set(None, "password", "hunter2-of-all");
    let says = async |deed: &str| told(&driver, &nowhere(deed)).await;
    let told_digest = format!("(Some(0), \"{DIGEST}  -\\n\", \"\")");
    assert_eq!(says("fill login password={secret:password}").await, Ok(told_digest));
    // The command tells its input to the driver, and the driver's own answer is scrubbed.
    let echoed = "(Some(0), \"a [secret password] b\", \"\")";
    assert_eq!(says("fill echo a {secret:password} b").await, Ok(echoed.to_owned()));
    // Several commands: each is given its own secrets, and one that names none is given no other
    // input than the driver's.
    assert_eq!(
        says("fill-all password={secret:password}").await,
        Ok(format!(
            "[\"{DIGEST}  -\\n\", \"password={{secret:password}}\", \"password=[secret password]\"]"
        ))
    );
    // An argument has no marks: it stands in a command line.
    let word = says("exec groups o={secret:password}").await.expect("ran");
    assert!(word.contains("|-o|{secret:password}|"), "{word}");
    // A text that is not exactly a mark stays as it is.
    let plain = says("fill echo {secret:Password} {secret:} {secret").await.expect("ran");
    assert!(plain.contains("{secret:Password} {secret:} {secret"), "{plain}");
    for (deed, code, detail) in [
        ("fill echo {secret:token}", "bad-argument", "is given no secret token"),
        ("fill echo {secret:password}{secret:pin}", "bad-argument", "is given no secret pin"),
        (
            "fill login {secret:token}",
            "no-secret",
            "the secret token of driver test-guest is not set for host here: set it with `ostler \
             host secret-set here token`",
        ),
    ] {
        let error = says(deed).await.expect_err(deed);
        assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Refused, code), "{error}");
        assert!(error.detail.contains(detail), "{error}");
    }
    assert_eq!(audit.0.lock().expect("not poisoned").as_slice(), [] as [String; 0]);
    let many = format!("fill echo {}", "{secret:password}".repeat(5000));
    assert_eq!(says(&many).await.expect_err("too large").code, "bad-argument");
    // The grant of the command is needed and is enough: the driver cannot read what the command gets.
    let with = async |grants: Grants, deed: &str| {
        let (driver, secrets, audit) = self::driver(grants).await;
        secrets.set(None, "password", "hunter2-of-all");
        let answer = told(&driver, &nowhere(deed)).await;
        (answer, audit.0.lock().expect("not poisoned").len())
    };
    let mut grants = all();
    grants.capabilities.remove("secrets");
    let (filled, denials) = with(grants.clone(), "fill login {secret:password}").await;
    assert!(filled.is_ok() && denials == 0, "{filled:?}");
    let (read, denials) = with(grants, "secret password").await;
    assert_eq!((read.expect_err("denied").code.as_str(), denials), ("denied", 1));
    let mut grants = all();
    grants.capabilities.entry("exec".to_owned()).or_default().remove("login");
    let (filled, denials) = with(grants, "fill login {secret:password}").await;
    let error = filled.expect_err("denied");
    assert_eq!((error.code.as_str(), denials), ("denied", 1));
    assert!(error.detail.ends_with("has not granted exec:login"), "{error}");
}

/// Keeps all that Ostler logs, at every level.
struct Log;

static LOGGED: Mutex<String> = Mutex::new(String::new());

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, " {field}={value:?}");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = write!(self.0, " {field}={value}");
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("ostler")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(event.metadata().target().to_owned());
        event.record(&mut line);
        let mut logged = LOGGED.lock().expect("not poisoned");
        logged.push_str(&line.0);
        logged.push('\n');
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// A value with what escapes and blanks make of it.
const VALUE: &str = "hunter2 \"and\" more\nthan that";

/// Pieces of the value in all forms in which the guest tells it. Each piece is of one of its parts
/// that no mark, name or other text has.
fn pieces() -> [&'static str; 5] {
    // Base64 of "hunter2 \"and..." alone, and after "root:", without the edges.
    ["hunter2", "unter2", "than that", "aHVudGVyMi", "odW50ZXIy"]
}

fn is_clean(what: &str, text: &str) {
    for piece in pieces() {
        assert!(!text.contains(piece), "{what} tells {piece}: {text}");
    }
}

#[tokio::test]
async fn no_text_that_leaves_a_call_tells_a_secret() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Log).expect("there is no other"));
    let (driver, secrets, audit) = driver(all()).await;
    secrets.set(Some(1), "password", VALUE);
    secrets.set(None, "pin", "123");
    let says = async |deed: &str| {
        let (here, control) = (nowhere(deed), call(1, Duration::from_secs(600)));
        let error: DriverError = driver.remove(&here, &control).await.expect_err("told");
        (error, format!("{:?}", *control.progress.borrow()))
    };
    for way in ["log", "long-log", "progress", "denied", "hole", "panic", "print", "code", "error"]
    {
        let (error, progress) = says(&format!("tell password {way}")).await;
        for text in [error.code.as_str(), error.detail.as_str(), progress.as_str()] {
            is_clean(way, text);
        }
        let marked = match way {
            "progress" => progress,
            "log" | "long-log" | "denied" => continue,
            _ => error.detail,
        };
        assert!(marked.contains("[secret password]"), "{way}: {marked}");
    }
    let audited = audit.0.lock().expect("not poisoned").join("\n");
    is_clean("the audit", &audited);
    assert!(audited.contains("[secret password]"), "{audited}");
    // The answers of questions.
    let facts = driver.probe(&nowhere("note password")).await.expect("probed");
    assert_eq!(facts.total.cpu_milli, VALUE.len() as u64, "the driver has the value");
    is_clean("a note", &format!("{facts:?}"));
    assert!(facts.notes[0].contains("password <[secret password]>"), "{facts:?}");
    let error = driver.observe(&nowhere("tell password code"), vm(1)).await.expect_err("told");
    is_clean("a look", &format!("{error:?}"));
    // A command that tells what it was given.
    let dir = tempfile::tempdir().expect("dir");
    let echo = site(dir.path(), "fill echo {secret:password}");
    is_clean("a command", &told(&driver, &echo).await.expect("ran"));
    let logged = LOGGED.lock().expect("not poisoned").clone();
    is_clean("the log", &logged);
    for line in [
        "message=password <[secret password]> <\"[secret password]\"> <[secret password]>",
        "what=\"password <[secret password]>",
        "driver call failed",
        "function=secrets.get",
    ] {
        assert!(logged.contains(line), "no {line:?} in the log: {logged}");
    }
    // A value of three bytes is not scrubbed: it occurs anywhere.
    assert_eq!(told(&driver, &nowhere("secret pin")).await.expect("told"), "Some(\"123\")");
    // A secret of another call is no secret of this one.
    assert_eq!(told(&driver, &nowhere("config answer")).await.expect("told"), "Some(\"42\")");
}

#[tokio::test]
async fn what_the_manifest_lists_is_told_of_the_driver() {
    let mut grants = all();
    grants.secrets.insert("token".to_owned(), Secret::new("x"));
    let info = load(&host(options()), grants).await.info();
    let ostler_driver::DriverOrigin::Component { secrets, .. } = info.origin else {
        panic!("a component")
    };
    let names: Vec<&str> = secrets.reads.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["password", "pin", "token"]);
    assert_eq!(secrets.in_settings, ["token"]);
}
