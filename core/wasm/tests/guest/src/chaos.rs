//! Answers and host calls at random, from a seed: as valid, as strange and as large as they come.

use super::exports::ostler::driver::{adopt, changes, console, hypervisor, snapshot_rules};
use super::ostler::driver::types::{
    DomainSeen, EffectId, Error, ErrorKind, HostFacts, Identity, JobStatus, Observation,
    OpaqueState, Outcome, Progress,
};
use super::ostler::driver::{clock, config, exec, files, log, random, secrets, session, socket};

use ostler_sdk::host::http::Request;
use std::time::Duration;

/// Paths of the driver's own folder, and of what no call of it is about.
const NEIGHBOURS: [&str; 8] = [
    "own/a",
    "own/b",
    "own/link/disk",
    "neighbour/disk",
    "neighbour",
    "neighbour/new",
    "image",
    "own/../image",
];

/// Numbers from a seed (xorshift; Marsaglia, 2003).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..4 {
            dice.next();
        }
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    fn of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len() as u64) as usize]
    }

    fn number(&mut self) -> u64 {
        match self.below(6) {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << self.below(64),
            3 => self.next(),
            _ => self.below(5000),
        }
    }

    /// One of `valid`, most of the time.
    fn word(&mut self, valid: &[&str]) -> String {
        if self.one_in(8) { self.text() } else { self.of(valid).to_owned() }
    }

    fn text(&mut self) -> String {
        match self.below(12) {
            0 => String::new(),
            1 => "\u{1b}[2J\u{7}".to_owned(),
            2 => "a\nb\r\0c".to_owned(),
            3 => "\u{202e}\u{feff}ä\u{1f600}".to_owned(),
            4 => "../".repeat(1 + self.below(50) as usize) + "etc/passwd",
            5 => "x".repeat(self.below(300) as usize),
            6 if self.one_in(4) => "ä".repeat(self.below(200_000) as usize),
            7 => "%s%n{}${HOME}$(id)`id`'\"\\;|&".to_owned(),
            8 => format!("{}", self.next()),
            9 => "-".repeat(1 + self.below(3) as usize) + "version",
            10 => (0..self.below(64))
                .map(|_| char::from_u32(self.below(0x11_0000) as u32).unwrap_or('?'))
                .collect(),
            _ => "plain".to_owned(),
        }
    }

    fn uuid(&mut self) -> String {
        match self.below(8) {
            0 => self.text(),
            1 => "00000000-0000-0000-0000-000000000001".to_owned(),
            2 => "00000000-0000-0000-0000-00000000000A".to_owned(),
            3 => "{00000000-0000-0000-0000-000000000001}".to_owned(),
            _ => format!("00000000-0000-0000-0000-{:012x}", self.below(1 << 44)),
        }
    }

    fn list<T>(&mut self, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = match self.below(12) {
            0 => 0,
            1 if self.one_in(8) => 20_001,
            2 => self.below(1500),
            _ => self.below(4),
        };
        (0..count).map(|_| make(self)).collect()
    }

    fn extra(&mut self) -> Vec<(String, String)> {
        self.list(|dice| {
            (dice.word(&["identity", "interface", "change", "kernel", "cmdline"]), dice.text())
        })
    }

    fn effect(&mut self) -> EffectId {
        EffectId {
            vm: self.uuid(),
            operation: self.number(),
            step: self.number(),
            item: self.word(&[
                "domain",
                "disk:vda",
                "nic:52:54:00:00:00:01",
                "snapshot:a",
                "files",
            ]),
        }
    }

    fn domain(&mut self, uuid: String) -> DomainSeen {
        DomainSeen {
            uuid,
            name: self.word(&["web", "db-1"]),
            identity: (!self.one_in(3)).then(|| Identity {
                store: self.uuid(),
                vm: self.uuid(),
                generation: self.number(),
            }),
            power: self.word(&["running", "paused", "off", "crashed"]),
            reason: self.word(&["none", "person", "guest", "crashed", "saved", "io-error"]),
            last_edge: self.one_in(3).then(|| self.effect()),
            extra: self.extra(),
        }
    }

    pub(super) fn error(&mut self) -> Error {
        let kinds = [
            ErrorKind::Retry,
            ErrorKind::Refused,
            ErrorKind::NotHere,
            ErrorKind::Gone,
            ErrorKind::Stale,
            ErrorKind::Cancelled,
            ErrorKind::Unknown,
        ];
        let kind = kinds[self.below(7) as usize];
        Error { kind, code: self.word(&["busy", "no-space"]), detail: self.text() }
    }

    /// An answer, or an error now and then.
    pub(super) fn answer<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Result<T, Error> {
        if self.one_in(8) { Err(self.error()) } else { Ok(make(self)) }
    }

    pub(super) fn observation(&mut self, vm: &str) -> Observation {
        if self.one_in(4) {
            return Observation::Absent;
        }
        let uuid = if self.one_in(4) { self.uuid() } else { vm.to_owned() };
        Observation::Present(self.domain(uuid))
    }

    pub(super) fn outcome(&mut self, vm: &str) -> Outcome {
        Outcome {
            seen: (!self.one_in(4)).then(|| self.observation(vm)),
            state: self.one_in(3).then(|| OpaqueState {
                version: self.number() as u32,
                data: vec![7; self.below(80_000) as usize],
            }),
            extra: self.extra(),
        }
    }

    pub(super) fn job(&mut self, vm: &str) -> JobStatus {
        if self.one_in(2) {
            return JobStatus::Done(self.outcome(vm));
        }
        JobStatus::Pending(Progress {
            done: self.number(),
            total: self.number(),
            phase: self.text(),
        })
    }

    pub(super) fn facts(&mut self) -> HostFacts {
        HostFacts {
            cpu_milli: self.number(),
            memory_mib: self.number(),
            hypervisor: self.text(),
            unable: self.list(|dice| dice.word(&["suspend", "migrate", "time-travel"])),
            notes: self.list(Self::text),
            extra: self.extra(),
        }
    }

    pub(super) fn listed(&mut self) -> hypervisor::Listed {
        let domains = self.list(|dice| {
            let uuid = dice.uuid();
            dice.domain(uuid)
        });
        hypervisor::Listed { domains, unreadable: self.list(Self::uuid) }
    }

    pub(super) fn batch(&mut self) -> changes::Batch {
        changes::Batch { cursor: self.number(), vms: self.list(Self::uuid), lost: self.one_in(2) }
    }

    pub(super) fn names(&mut self) -> Vec<String> {
        self.list(|dice| dice.word(&["a", "b"]))
    }

    pub(super) fn wild(&mut self) -> adopt::WildDomain {
        adopt::WildDomain {
            name: self.word(&["web"]),
            vcpus: self.number() as u32,
            memory_mib: self.number(),
            disks: self.list(|dice| adopt::WildDisk {
                name: dice.word(&["vda", "vdb"]),
                file: dice.word(&["/x/y", "/x/z.qcow2"]),
                format: dice.word(&["raw", "qcow2"]),
                read_only: dice.one_in(2),
            }),
            nics: self.list(|dice| adopt::WildNic {
                mac: dice.word(&["52:54:00:aa:00:01", "ff:ff:ff:ff:ff:ff"]),
                bridge: dice.word(&["br0"]),
            }),
            extra: self.extra(),
        }
    }

    pub(super) fn endpoint(&mut self) -> console::Endpoint {
        console::Endpoint {
            kind: self.word(&["vnc", "serial"]),
            address: self.word(&["tcp:127.0.0.1:5900", "unix:/run/x"]),
            extra: self.extra(),
        }
    }

    pub(super) fn verdict(&mut self, snapshots: usize) -> snapshot_rules::Verdict {
        let fates =
            [snapshot_rules::Fate::Keep, snapshot_rules::Fate::Lose, snapshot_rules::Fate::Hide];
        let count = if self.one_in(4) { self.below(9) as usize } else { snapshots };
        snapshot_rules::Verdict {
            refused: self.one_in(2).then(|| self.text()),
            fates: (0..count).map(|_| fates[self.below(3) as usize]).collect(),
        }
    }

    fn path(&mut self) -> files::Path {
        let path = match self.below(10) {
            8 | 9 => self.of(&NEIGHBOURS).to_owned(),
            0 => self.text(),
            1 => "/etc/passwd".to_owned(),
            2 => "a/../../outside".to_owned(),
            3 => "a/./b".to_owned(),
            4 => "link/passwd".to_owned(),
            5 => "d/".repeat(self.below(40) as usize) + "f",
            _ => self.of(&["a", "b", "a/b", "c/d/e", ".a.ostler-part", "link"]).to_owned(),
        };
        files::Path { datastore: self.word(&["ds"]), path }
    }

    fn argument(&mut self) -> exec::Argument {
        exec::Argument {
            hole: self.word(&["word", "n", "file", "o", "r", "name"]),
            value: self.word(&["plain", "7", "ds:a", "ds:link/passwd", "-x", "ds:neighbour/disk"]),
        }
    }

    /// One call of the host, with whatever arguments.
    pub(super) fn ask(&mut self) {
        let (one, two) = (self.path(), self.path());
        let text = self.text();
        match self.below(23) {
            0 => log::write(&self.word(&["info", "error"]), &text),
            1 => drop(random::bytes(self.number() as u32)),
            20 => drop(session::get(&text)),
            21 => {
                let value = vec![b'x'; self.below(20_000) as usize];
                drop(session::put(&text, &value, self.number()));
            }
            22 => {
                let method = self.word(&["GET", "POST", "CONNECT", "HEAD"]);
                let endpoint = self.word(&["api", "other", "open"]);
                let path = if self.one_in(2) { format!("/{text}") } else { text };
                let header = self.word(&["host", "authorization", "content-length", "x-y"]);
                let value = self.word(&["{login}", "chunked", "7"]);
                let mut request = Request::new(&method, &endpoint, &path).header(&header, value);
                request.body = vec![b'x'; self.below(3) as usize * 50_000];
                drop(request.answer_within(Duration::from_millis(50)).send());
            }
            2 => drop(config::get(&text)),
            3 => drop(secrets::get(&text)),
            4 => drop(clock::sleep_ms(self.below(3))),
            5 => drop(files::stat(&one)),
            6 => drop(files::list(&one)),
            7 => drop(files::read(&one)),
            8 => drop(files::write(&one, &vec![b'x'; self.below(70_000) as usize])),
            9 => drop(files::make_folder(&one)),
            10 => drop(files::remove(&one)),
            11 => drop(files::rename(&one, &two)),
            12 => drop(files::copy(&one, &two)),
            13 => drop(files::fetch(&self.word(&["here"]), &one, &two)),
            14 => drop(files::checksum(&one)),
            15 => drop(files::absolute(&one)),
            16 => {
                let name = self.word(&["peer", "fixed"]);
                let holes = self.list(Self::argument);
                if let Ok(peer) = socket::connect(&name, &holes) {
                    drop(peer.read(self.number() as u32, self.below(3)));
                }
            }
            17 => {
                let line = |dice: &mut Self| exec::CommandLine {
                    command: dice.word(&["show", "groups", "missing"]),
                    arguments: dice.list(Self::argument),
                    input: dice.text().into_bytes(),
                };
                let lines: Vec<_> = (0..self.below(3)).map(|_| line(self)).collect();
                drop(exec::run_all(&lines));
            }
            _ => {
                let command = self.word(&["show", "groups", "cat", "missing"]);
                let arguments = self.list(Self::argument);
                drop(exec::run(&command, &arguments, text.as_bytes()));
            }
        }
    }
}
