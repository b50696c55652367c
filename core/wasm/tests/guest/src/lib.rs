//! Does the deed that the setting `deed` names, and answers `refused`, code `told`, with what came
//! of it.

mod chaos;
mod jobs;
mod peers;
mod secrets;
mod web;

wit_bindgen::generate!({
    inline: "
        package test:guest;
        world guest {
            include ostler:driver/hypervisor-driver@0.1.0;
            include ostler:driver/with-changes@0.1.0;
            include ostler:driver/with-migrate@0.1.0;
            include ostler:driver/with-snapshots@0.1.0;
            include ostler:driver/with-adopt@0.1.0;
            include ostler:driver/with-console@0.1.0;
            include ostler:driver/with-fence@0.1.0;
            export ostler:driver/snapshot-rules@0.1.0;
        }
    ",
    path: "../../../../sdk/wit/0.1",
    world: "test:guest/guest",
    generate_all,
});

use chaos::Dice;
use exports::ostler::driver::{
    adopt, changes, console, fence, hypervisor, migrate, snapshot_rules, snapshots,
};
use ostler::driver::call_context::Call;
use ostler::driver::types::{
    Description, DomainSeen, DomainSpec, Error, ErrorKind, HostFacts, Identity, JobStatus,
    Observation, OpaqueState, Outcome, Progress,
};
use ostler::driver::{clock, config, exec, files, log, random, session};
use std::fmt::Debug;

const MANIFEST: &[u8] = include_bytes!("../manifest.toml");

#[unsafe(link_section = "ostler:manifest")]
#[used]
static SECTION: [u8; MANIFEST.len()] = {
    let mut bytes = [0; MANIFEST.len()];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = MANIFEST[at];
        at += 1;
    }
    bytes
};

struct Guest;

fn told(what: impl Debug) -> Error {
    Error { kind: ErrorKind::Refused, code: "told".to_owned(), detail: format!("{what:?}") }
}

fn deed() -> Result<String, Error> {
    Ok(config::get("deed")?.unwrap_or_default())
}

/// Dice for an answer at random, if the deed is `chaos SEED`.
fn dice() -> Option<Dice> {
    let deed = deed().unwrap_or_default();
    deed.strip_prefix("chaos ")?.parse().ok().map(Dice::new)
}

fn path(words: &[&str]) -> files::Path {
    files::Path { datastore: words[0].to_owned(), path: words[1].to_owned() }
}

fn spin() -> ! {
    let mut x = 0_u64;
    loop {
        x = std::hint::black_box(x.wrapping_add(1));
    }
}

#[allow(unconditional_recursion)]
fn recurse(n: u64) -> u64 {
    std::hint::black_box(recurse(n + 1) + n)
}

fn arguments(words: &[&str]) -> Vec<exec::Argument> {
    let pairs = words.iter().filter_map(|word| word.split_once('='));
    pairs.map(|(hole, value)| exec::Argument { hole: hole.into(), value: value.into() }).collect()
}

fn run(words: &[&str]) -> Result<exec::Exit, Error> {
    exec::run(words[0], &arguments(&words[1..]), b"input")
}

fn bad_domain(vm: &str, what: &str) -> DomainSeen {
    let mut seen = DomainSeen {
        uuid: vm.to_owned(),
        name: "name".to_owned(),
        identity: None,
        power: "off".to_owned(),
        reason: "none".to_owned(),
        last_edge: None,
        extra: Vec::new(),
    };
    match what {
        "power" => seen.power = "purple".to_owned(),
        "uuid" => seen.uuid = "not a uuid".to_owned(),
        "other" => seen.uuid = "00000000-0000-0000-0000-00000000ffff".to_owned(),
        "name" => seen.name = "x".repeat(1_000_000),
        "escape" => seen.name = "\u{1b}[2J".to_owned(),
        _ => {}
    }
    seen
}

fn act(vm: &str, call: Option<&Call>) -> Result<Observation, Error> {
    let deed = deed()?;
    let words: Vec<&str> = deed.split_whitespace().collect();
    match words[..] {
        [] => return Ok(Observation::Absent),
        ["loop"] => spin(),
        ["recurse"] => return Err(told(recurse(0))),
        ["eat"] => {
            let mut all = Vec::new();
            loop {
                all.push(vec![1_u8; 1 << 20]);
            }
        }
        ["panic"] => panic!("the guest says why"),
        ["unreachable"] => std::process::abort(),
        ["exit"] => std::process::exit(0),
        ["sleep"] => loop {
            let _ = clock::sleep_ms(u64::MAX);
        },
        ["wasi-sleep"] => std::thread::sleep(std::time::Duration::from_secs(3600)),
        ["lie", what] => return Ok(Observation::Present(bad_domain(vm, what))),
        ["code"] => {
            let (code, detail) = ("\n".repeat(1_000_000), "x".repeat(1_000_000));
            return Err(Error { kind: ErrorKind::Gone, code, detail });
        }
        ["print"] => (0..10_000).for_each(|n| println!("{n} {}", "x".repeat(100))),
        ["log"] => {
            (0..100_000).for_each(|n| log::write("info", &format!("{n}\n{}", "x".repeat(100))))
        }
        ["pour"] => {
            return Err(told(exec::run("cat", &[], &vec![0; 40 << 20]).map(|exit| exit.code)));
        }
        ["chaos", seed] => {
            let mut dice = Dice::new(seed.parse().unwrap_or(0));
            return dice.answer(|dice| dice.observation(vm));
        }
        ["ask", seed, count] => {
            let mut dice = Dice::new(seed.parse().unwrap_or(0));
            (0..count.parse().unwrap_or(0)).for_each(|_| dice.ask());
        }
        ["ambient"] => return Err(ambient()),
        ["keep" | "keep-or-tell" | "kept" | "drop", ..] => with_session(&words)?,
        ["random"] => {
            return Err(told((random::bytes(9999).len(), random::bytes(16) != random::bytes(16))));
        }
        // Its error is not passed on.
        ["exec-quietly", ..] => drop(run(&words[1..])),
        ["config", key] => return Err(told(config::get(key)?)),
        ["ask-often"] => {
            for _ in 0..1000 {
                let _ = exec::run("halt", &[], b"");
            }
        }
        ["secret" | "length" | "fill" | "fill-all" | "tell", ..] => {
            return Err(secrets::act(&words, call)?);
        }
        ["job", ..] => return Err(jobs::act(&words[1..])?),
        ["exec", ..] => {
            let exit = run(&words[1..])?;
            return Err(told((
                exit.code,
                exit.signal,
                String::from_utf8_lossy(&exit.stdout),
                String::from_utf8_lossy(&exit.stderr),
            )));
        }
        ["epoch" | "say-epoch"] => return Err(of_epoch(words[0], call)),
        _ => return Err(with_files(&words)?),
    }
    Ok(Observation::Absent)
}

fn of_epoch(word: &str, call: Option<&Call>) -> Error {
    match word {
        "epoch" => told(call.map(Call::epoch)),
        _ => Error { kind: ErrorKind::Stale, code: "epoch".to_owned(), detail: String::new() },
    }
}

/// Keeps a value between calls, tells or forgets it.
fn with_session(words: &[&str]) -> Result<(), Error> {
    match words {
        ["keep", key, "large", ms] => {
            session::put(key, &[0; 16 * 1024 + 1], ms.parse().unwrap_or_default())
        }
        ["keep", key, value, ms] => {
            session::put(key, value.as_bytes(), ms.parse().unwrap_or_default())
        }
        ["keep-or-tell", key, ms] => {
            if session::get(key).is_some() {
                return Err(told("there"));
            }
            session::put(key, b"token", ms.parse().unwrap_or_default())?;
            Err(told("kept"))
        }
        ["kept", key] => {
            let kept = session::get(key);
            Err(told(kept.map(|value| String::from_utf8_lossy(&value).into_owned())))
        }
        ["drop", key] => {
            session::remove(key);
            Ok(())
        }
        _ => Err(told("no such deed")),
    }
}

/// Tries to reach what no component is given: the file system, the network, the environment.
fn ambient() -> Error {
    let files = std::fs::read_dir("/").map(|dir| dir.count()).map_err(|error| error.kind());
    let passwd = std::fs::read("/etc/passwd").map(|_| ()).map_err(|error| error.kind());
    let net =
        std::net::TcpStream::connect("127.0.0.1:22").map(|_| ()).map_err(|error| error.kind());
    let bind = std::net::UdpSocket::bind("127.0.0.1:0").map(|_| ()).map_err(|error| error.kind());
    told((
        files.is_err(),
        passwd.is_err(),
        net.is_err(),
        bind.is_err(),
        std::env::vars().count(),
        std::env::args().count(),
    ))
}

/// The deeds with files; what came of them is told as an error.
fn with_files(words: &[&str]) -> Result<Error, Error> {
    Ok(match words {
        ["stat", ..] => told(files::stat(&path(&words[1..]))?.map(|stat| (stat.kind, stat.size))),
        ["list", ..] => told(files::list(&path(&words[1..]))?),
        ["read", ..] => {
            let read = files::read(&path(&words[1..]))?;
            told(read.map(|data| String::from_utf8_lossy(&data).into_owned()))
        }
        ["write", ..] => told(files::write(&path(&words[1..]), words[3].as_bytes())?),
        ["make", ..] => told(files::make_folder(&path(&words[1..]))?),
        ["remove", ..] => told(files::remove(&path(&words[1..]))?),
        ["rename", ..] => told(files::rename(&path(&words[1..]), &path(&words[3..]))?),
        ["copy", ..] => told(files::copy(&path(&words[1..]), &path(&words[3..]))?),
        ["fetch", host, ..] => told(files::fetch(host, &path(&words[2..]), &path(&words[4..]))?),
        ["checksum", ..] => told(files::checksum(&path(&words[1..]))?),
        ["absolute", ..] => told(files::absolute(&path(&words[1..]))?),
        ["http", method, endpoint, path, ..] => web::act(method, endpoint, path, &words[4..]),
        _ => return peers::act(words),
    })
}

fn describe() -> Description {
    Description {
        name: "test-guest".to_owned(),
        version: "1.2.3".to_owned(),
        summary: String::new(),
    }
}

fn outcome(state: Option<OpaqueState>) -> Outcome {
    Outcome { seen: Some(Observation::Absent), state, extra: Vec::new() }
}

impl hypervisor::Guest for Guest {
    fn describe() -> Description {
        describe()
    }

    fn probe() -> Result<HostFacts, Error> {
        if let Some(mut dice) = dice() {
            return dice.answer(Dice::facts);
        }
        let (cpu_milli, notes) = secrets::noted(&deed().unwrap_or_default())?;
        Ok(HostFacts {
            cpu_milli,
            memory_mib: 1024,
            hypervisor: "test 1".to_owned(),
            unable: vec!["changes".to_owned(), "time-travel".to_owned()],
            notes,
            extra: Vec::new(),
        })
    }

    /// Tells what it was handed.
    fn deploy(call: &Call, domain: DomainSpec) -> Result<Outcome, Error> {
        call.progress(1, 2, "half");
        let id = call.id();
        Err(told((
            id.item,
            id.operation,
            id.step,
            call.attempt(),
            call.generation(),
            call.remaining_ms() > 0,
            domain.name,
            domain.disks.len(),
        )))
    }

    /// Ends when it is told to.
    fn press_power(_: &Call) -> Result<Outcome, Error> {
        let ended = clock::sleep_ms(3_600_000);
        Err(Error {
            kind: ErrorKind::Cancelled,
            code: "cancelled".to_owned(),
            detail: format!("{ended:?}, {}", clock::told_to_stop()),
        })
    }

    /// Does not end when it is told to.
    fn destroy(call: &Call) -> Result<Outcome, Error> {
        while !call.cancelled() {
            let _ = clock::sleep_ms(10);
        }
        std::thread::sleep(std::time::Duration::from_secs(3600));
        Ok(outcome(None))
    }

    /// Does the deed, and keeps what it was handed as state.
    fn remove(call: &Call) -> Result<Outcome, Error> {
        if let Some(mut dice) = dice() {
            return dice.answer(|dice| dice.outcome(&call.id().vm));
        }
        act("", Some(call))?;
        Ok(outcome(call.state()))
    }

    fn observe(vm: String) -> Result<Observation, Error> {
        act(&vm, None)
    }

    fn list() -> Result<hypervisor::Listed, Error> {
        if let Some(mut dice) = dice() {
            return dice.answer(Dice::listed);
        }
        let count = if deed()? == "flood" { 30_000 } else { 0 };
        Ok(hypervisor::Listed {
            domains: Vec::new(),
            unreadable: vec!["00000000-0000-0000-0000-000000000001".to_owned(); count],
        })
    }
}

impl changes::Guest for Guest {
    fn changes(cursor: u64, wait_ms: u64) -> Result<changes::Batch, Error> {
        if let Some(mut dice) = dice() {
            return dice.answer(Dice::batch);
        }
        let _ = clock::sleep_ms(wait_ms);
        Ok(changes::Batch { cursor: cursor + 1, vms: Vec::new(), lost: false })
    }
}

/// Tells what it was handed.
impl migrate::Guest for Guest {
    fn begin(_: &Call, domain: DomainSpec, to: migrate::Destination) -> Result<JobStatus, Error> {
        if let Some(answer) = jobs::of_migration() {
            return Err(answer?);
        }
        Err(told((domain.extra, to.host, to.mode, to.move_disks, to.extra)))
    }

    fn poll(call: &Call) -> Result<JobStatus, Error> {
        if let Some(mut dice) = dice() {
            return dice.answer(|dice| dice.job(&call.id().vm));
        }
        if let Some(answer) = jobs::of_migration() {
            return Err(answer?);
        }
        Ok(JobStatus::Pending(Progress { done: 1, total: 2, phase: "half\nway".to_owned() }))
    }

    fn abort(_: &Call) -> Result<(), Error> {
        Err(told("abort"))
    }
}

impl snapshots::Guest for Guest {
    fn create(_: &Call, name: String) -> Result<Outcome, Error> {
        Err(told(name))
    }

    fn revert(_: &Call, name: String) -> Result<Outcome, Error> {
        Err(told(name))
    }

    fn delete(_: &Call, name: String) -> Result<Outcome, Error> {
        Err(told(name))
    }

    fn list(_: String) -> Result<Vec<String>, Error> {
        if let Some(mut dice) = dice() {
            return dice.answer(Dice::names);
        }
        Ok(if deed()? == "flood" {
            vec!["x".to_owned(); 30_000]
        } else {
            vec!["a".to_owned(), "b c".to_owned()]
        })
    }
}

/// Answers what the deed says.
impl adopt::Guest for Guest {
    fn inspect(_: String) -> Result<adopt::WildDomain, Error> {
        if let Some(mut dice) = dice() {
            return dice.answer(Dice::wild);
        }
        let mut wild = adopt::WildDomain {
            name: "wild".to_owned(),
            vcpus: 1,
            memory_mib: 64,
            disks: vec![adopt::WildDisk {
                name: "vda".into(),
                file: "/x/y".into(),
                format: "raw".into(),
                read_only: false,
            }],
            nics: vec![adopt::WildNic { mac: "52:54:00:AA:00:01".into(), bridge: "br0".into() }],
            extra: Vec::new(),
        };
        match deed()?.as_str() {
            "disk" => wild.disks[0].name = "../vda".to_owned(),
            "file" => wild.disks[0].file = "x/y".to_owned(),
            "format" => wild.disks[0].format = "vmdk".to_owned(),
            "mac" => wild.nics[0].mac = "ff:ff:ff:ff:ff:ff".to_owned(),
            "bridge" => wild.nics[0].bridge = "a\nb".to_owned(),
            "many" => wild.disks = vec![wild.disks[0].clone(); 5000],
            "units" => wild.memory_mib = u64::MAX,
            _ => {}
        }
        Ok(wild)
    }

    fn stamp(_: &Call, identity: Identity) -> Result<Outcome, Error> {
        Err(told((identity.vm, identity.generation)))
    }
}

/// Answers what the deed says.
impl console::Guest for Guest {
    fn open(_: String, kind: String) -> Result<console::Endpoint, Error> {
        if let Some(mut dice) = dice() {
            return dice.answer(Dice::endpoint);
        }
        let (kind, address) = match deed()?.as_str() {
            "kind" => ("hologram".to_owned(), "tcp:127.0.0.1:5900".to_owned()),
            "place" => (kind, "http://127.0.0.1".to_owned()),
            "lines" => (kind, "unix:/run/a\nb".to_owned()),
            "long" => (kind, format!("unix:/{}", "x".repeat(10_000))),
            _ => (kind, "tcp:127.0.0.1:5900".to_owned()),
        };
        Ok(console::Endpoint { kind, address, extra: Vec::new() })
    }
}

impl fence::Guest for Guest {
    fn fence(call: &Call) -> Result<(), Error> {
        if deed()? == "off" { Ok(()) } else { Err(told(call.generation())) }
    }
}

impl snapshot_rules::Guest for Guest {
    fn describe() -> Description {
        describe()
    }

    fn judge(question: snapshot_rules::Question) -> snapshot_rules::Verdict {
        if let Some(seed) = question.verb.strip_prefix("chaos-").and_then(|seed| seed.parse().ok())
        {
            return Dice::new(seed).verdict(question.snapshots.len());
        }
        match question.verb.as_str() {
            "loop" => spin(),
            // Rules decide, and see no file.
            "steal" => snapshot_rules::Verdict {
                refused: files::read(&path(&["ds", "own/file"])).err().map(|error| error.code),
                fates: Vec::new(),
            },
            "few" => snapshot_rules::Verdict { refused: None, fates: Vec::new() },
            _ => snapshot_rules::Verdict {
                refused: Some(format!("{} in {}", question.verb, question.state)),
                fates: vec![snapshot_rules::Fate::Hide; question.snapshots.len()],
            },
        }
    }
}

export!(Guest);
