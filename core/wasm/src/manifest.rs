//! The manifest: the facts about a driver that cannot be read from the component.
//! `docs/plugin-guide.md` is its reference.

mod secrets;

pub use self::secrets::SecretUse;

use crate::confine::Reach;
use crate::endpoint::{self, Endpoint, RawEndpoint};
use crate::limits::Limits;
use crate::template::{Argument, SocketTemplate, Template};
use ostler_driver::DriverSetting;
use ostler_model::{DriverName, SecretName};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The name of the custom section.
pub(crate) const SECTION: &str = "ostler:manifest";
/// The largest manifest, in bytes; the longest that ships is 2 KiB.
pub const MANIFEST_MAX: usize = 64 * 1024;
/// The most commands, settings, capabilities and authors: far above what a driver needs, and few
/// enough to print.
const ENTRIES_MAX: usize = 128;
/// The longest text in it, in bytes.
const TEXT_MAX: usize = 512;

/// The shortest time limit of a command. A command over ssh needs some ten milliseconds to begin.
const TIMEOUT_LEAST: Duration = Duration::from_millis(100);
/// The longest time limit of a command: longer than any call may take.
const TIMEOUT_MOST: Duration = Duration::from_secs(24 * 3600);

/// Capabilities that need a grant. All others are given to every driver.
pub(crate) const GRANTABLE: [&str; 6] = ["config", "secrets", "exec", "files", "socket", "http"];

/// A capability that the driver asks for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// `config`, `secrets`, `exec`, `files`, `socket` or `http`.
    pub name: String,
    /// The purpose, for people.
    pub why: String,
}

/// A setting that the driver reads.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// The meaning of the setting, for people.
    pub about: String,
    /// The value if nobody has set it.
    #[serde(default)]
    pub default: Option<String>,
    /// Whether the driver cannot work without it.
    #[serde(default)]
    pub required: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCommand {
    name: String,
    program: String,
    #[serde(default)]
    argv: Vec<toml::Value>,
    #[serde(default)]
    timeout: Option<String>,
    #[serde(default)]
    reads: Vec<String>,
    #[serde(default)]
    writes: Vec<String>,
    #[serde(default)]
    sys_admin: bool,
    #[serde(default)]
    all_datastores: bool,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    secrets: Vec<String>,
}

impl RawCommand {
    fn template(&self) -> Result<Template, String> {
        let argv = self.argv.iter().map(argument).collect::<Result<Vec<_>, _>>()?;
        let limit = self.timeout.as_deref().map(time_limit).transpose()?;
        let (reads, writes) = (self.reads.clone(), self.writes.clone());
        let (sys_admin, all_datastores) = (self.sys_admin, self.all_datastores);
        let reach = Reach { reads, writes, sys_admin, all_datastores };
        let template = Template::parse(&self.name, &self.program, &argv)?.limited(self.limits)?;
        template.given(secrets::of_command(&self.secrets)?).ended_after(limit).reaching(reach)
    }
}

/// One entry of an argv: a text, or a table with a list of texts.
fn argument(value: &toml::Value) -> Result<Argument, String> {
    let texts = |list: &toml::Value| {
        let texts = list.as_array()?.iter().map(|text| text.as_str().map(str::to_owned));
        texts.collect::<Option<Vec<_>>>()
    };
    let table =
        |key: &str| value.as_table().filter(|table| table.len() == 1)?.get(key).and_then(texts);
    if let Some(text) = value.as_str() {
        return Ok(Argument::Once(text.to_owned()));
    }
    table("optional")
        .map(Argument::Optional)
        .or_else(|| table("repeated").map(Argument::Repeated))
        .ok_or_else(|| {
            format!(
                "argument {value} must be a text, {{ optional = [\"...\"] }} or {{ repeated = \
                 [\"...\"] }}"
            )
        })
}

/// Reads how long a command may run, for example `10s` or `5m`.
fn time_limit(text: &str) -> Result<Duration, String> {
    let read = text.parse::<jiff::SignedDuration>().ok();
    let limit = read.and_then(|limit| Duration::try_from(limit).ok());
    limit.filter(|limit| (TIMEOUT_LEAST..=TIMEOUT_MOST).contains(limit)).ok_or_else(|| {
        format!(
            "timeout {text:?} must be a time from {TIMEOUT_LEAST:?} to {} hours, for example 10s",
            TIMEOUT_MOST.as_secs() / 3600
        )
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSocket {
    name: String,
    path: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: DriverName,
    version: String,
    summary: String,
    #[serde(default)]
    licence: String,
    #[serde(default)]
    authors: Vec<String>,
    #[serde(default)]
    capability: Vec<Asked>,
    #[serde(default)]
    command: Vec<RawCommand>,
    #[serde(default)]
    socket: Vec<RawSocket>,
    #[serde(default)]
    endpoint: Vec<RawEndpoint>,
    #[serde(default)]
    config: BTreeMap<String, Setting>,
    #[serde(default)]
    secret: BTreeMap<SecretName, SecretUse>,
}

/// A checked manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The driver's name.
    pub name: DriverName,
    /// Its own version.
    pub version: String,
    /// A summary in one sentence.
    pub summary: String,
    /// Its licence.
    pub licence: String,
    /// Its authors.
    pub authors: Vec<String>,
    /// The capabilities that it asks for.
    pub capabilities: Vec<Asked>,
    /// The commands it may run.
    pub commands: Vec<Template>,
    /// The local sockets it may connect to.
    pub sockets: Vec<SocketTemplate>,
    /// The HTTP servers it may ask.
    pub endpoints: Vec<Endpoint>,
    /// The settings it reads.
    pub config: BTreeMap<String, Setting>,
    /// The secrets it reads, if it lists them.
    pub secrets: BTreeMap<SecretName, SecretUse>,
}

impl Manifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// The text says what is wrong and what is allowed, for people.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > MANIFEST_MAX {
            return Err(format!("it is {} bytes, at most {MANIFEST_MAX} are allowed", bytes.len()));
        }
        let text =
            std::str::from_utf8(bytes).map_err(|error| format!("it is not UTF-8 text: {error}"))?;
        let raw: Raw = toml::from_str(text).map_err(|error| error.to_string())?;
        raw.check()
    }

    /// The command of that name.
    #[must_use]
    pub fn command(&self, name: &str) -> Option<&Template> {
        self.commands.iter().find(|command| command.name() == name)
    }

    /// The socket of that name.
    #[must_use]
    pub fn socket(&self, name: &str) -> Option<&SocketTemplate> {
        self.sockets.iter().find(|socket| socket.name() == name)
    }

    /// The endpoint of that name.
    #[must_use]
    pub fn endpoint(&self, name: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.name == name)
    }

    /// The parts of a capability that are granted one by one: for `exec` the commands, for `socket`
    /// the sockets, for `http` the endpoints. Other capabilities have none.
    #[must_use]
    pub fn parts(&self, capability: &str) -> Vec<&str> {
        match capability {
            "exec" => self.commands.iter().map(Template::name).collect(),
            "socket" => self.sockets.iter().map(SocketTemplate::name).collect(),
            "http" => self.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether a part of a capability lets the driver do the same in both manifests: the command
    /// runs the same, the socket has the same path, the endpoint depends on the same settings.
    #[must_use]
    pub fn part_is_same(&self, other: &Self, capability: &str, part: &str) -> bool {
        match capability {
            "exec" => match (self.command(part), other.command(part)) {
                (Some(here), Some(there)) => here.runs_the_same(there),
                (here, there) => here.is_none() && there.is_none(),
            },
            "socket" => self.socket(part) == other.socket(part),
            "http" => self.endpoint(part) == other.endpoint(part),
            _ => false,
        }
    }

    /// The settings that it reads.
    #[must_use]
    pub fn settings(&self) -> Vec<DriverSetting> {
        let of = |(name, setting): (&String, &Setting)| DriverSetting {
            name: name.clone(),
            about: setting.about.clone(),
            default: setting.default.clone(),
            required: setting.required,
        };
        self.config.iter().map(of).collect()
    }

    /// The secrets that it lists, with their purposes.
    #[must_use]
    pub fn secrets_read(&self) -> Vec<(String, String)> {
        let told =
            |(name, secret): (&SecretName, &SecretUse)| (name.to_string(), secret.about.clone());
        self.secrets.iter().map(told).collect()
    }

    /// Whether the manifest asks for `capability`.
    #[must_use]
    pub fn asks(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|asked| asked.name == capability)
    }
}

impl Raw {
    fn check(self) -> Result<Manifest, String> {
        for (what, text) in
            [("version", &self.version), ("summary", &self.summary), ("licence", &self.licence)]
        {
            plain_text(what, text)?;
        }
        self.authors.iter().try_for_each(|author| plain_text("authors", author))?;
        for (what, count) in [
            ("authors", self.authors.len()),
            ("capability", self.capability.len()),
            ("command", self.command.len()),
            ("socket", self.socket.len()),
            ("endpoint", self.endpoint.len()),
            ("config", self.config.len()),
        ] {
            if count > ENTRIES_MAX {
                return Err(format!("{what}: {count} entries, at most {ENTRIES_MAX} are allowed"));
            }
        }
        self.check_capabilities()?;
        for (key, setting) in &self.config {
            plain_text("config", key)?;
            plain_text("config", &setting.about)?;
        }
        let (commands, sockets) = (self.commands()?, self.sockets()?);
        let of = |(key, setting): (&String, &Setting)| (key.clone(), setting.default.is_some());
        let settings = self.config.iter().map(of).collect();
        let endpoints = endpoint::checked(self.endpoint, &settings)?;
        let reads = self.capability.iter().any(|asked| asked.name == "secrets");
        secrets::check(&self.secret, &commands, &endpoints, reads)?;
        Ok(Manifest {
            name: self.name,
            version: self.version,
            summary: self.summary,
            licence: self.licence,
            authors: self.authors,
            capabilities: self.capability,
            commands,
            sockets,
            endpoints,
            config: self.config,
            secrets: self.secret,
        })
    }

    fn commands(&self) -> Result<Vec<Template>, String> {
        let mut commands: Vec<Template> = Vec::with_capacity(self.command.len());
        for raw in &self.command {
            let template =
                raw.template().map_err(|problem| format!("command {:?}: {problem}", raw.name))?;
            if commands.iter().any(|other| other.name() == template.name()) {
                return Err(format!("command {:?} is there twice", raw.name));
            }
            commands.push(template);
        }
        Ok(commands)
    }

    fn sockets(&self) -> Result<Vec<SocketTemplate>, String> {
        let mut sockets: Vec<SocketTemplate> = Vec::with_capacity(self.socket.len());
        for raw in &self.socket {
            let template = SocketTemplate::parse(&raw.name, &raw.path)
                .map_err(|problem| format!("socket {:?}: {problem}", raw.name))?;
            if sockets.iter().any(|other| other.name() == template.name()) {
                return Err(format!("socket {:?} is there twice", raw.name));
            }
            sockets.push(template);
        }
        Ok(sockets)
    }

    fn check_capabilities(&self) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        for asked in &self.capability {
            if !GRANTABLE.contains(&asked.name.as_str()) {
                return Err(format!(
                    "capability {:?} is not known; those that need a grant are {}",
                    asked.name,
                    GRANTABLE.join(", ")
                ));
            }
            if asked.why.trim().is_empty() {
                return Err(format!(
                    "capability {:?} needs a `why` that an operator can judge",
                    asked.name
                ));
            }
            plain_text("why", &asked.why)?;
            if !seen.insert(&asked.name) {
                return Err(format!("capability {:?} is there twice", asked.name));
            }
        }
        let parts = [
            ("commands", "exec", self.command.is_empty()),
            ("sockets", "socket", self.socket.is_empty()),
            ("endpoints", "http", self.endpoint.is_empty()),
        ];
        match parts.iter().find(|(_, of, none)| !none && !seen.iter().any(|name| name == of)) {
            Some((parts, of, _)) => {
                Err(format!("it has {parts} but does not ask for the capability {of}"))
            }
            None => Ok(()),
        }
    }
}

fn plain_text(what: &str, text: &str) -> Result<(), String> {
    if text.len() > TEXT_MAX || text.chars().any(char::is_control) {
        return Err(format!("{what} must be one line of at most {TEXT_MAX} bytes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        name = "transfer-qcow2"
        version = "0.1.0"
        summary = "Disks"
        [[capability]]
        name = "exec"
        why = "runs qemu-img"
        [[command]]
        name = "info"
        program = "/usr/bin/qemu-img"
        argv = ["info", "{disk:path}", { optional = ["-U", "{u:id}"] }, { repeated = ["{o:text}"] }]
        timeout = "1m 30s"
        [[capability]]
        name = "socket"
        why = "asks the monitor"
        [[socket]]
        name = "qmp"
        path = "{file:path}"
        [config.delay-ms]
        about = "how long"
        default = "0"
    "#;

    #[test]
    fn a_good_one_is_read() {
        let manifest = Manifest::parse(GOOD.as_bytes()).expect("valid");
        assert_eq!(manifest.name.as_str(), "transfer-qcow2");
        assert!(manifest.asks("exec") && !manifest.asks("files"));
        let info = manifest.command("info").expect("there");
        assert_eq!(
            info.to_string(),
            "/usr/bin/qemu-img info {disk:path} [-U {u:id}] [{o:text}]..."
        );
        assert_eq!(info.time_limit(), Some(Duration::from_secs(90)));
        assert_eq!(manifest.socket("qmp").expect("there").to_string(), "{file:path}");
        assert!(manifest.socket("qmq").is_none());
        assert_eq!(manifest.config["delay-ms"].default.as_deref(), Some("0"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (from, to, says) in [
            ("summary", "sumary", "sumary"),
            ("\"exec\"", "\"network\"", "network"),
            ("timeout = ", "reads = [\"/\"]\ntimeout = ", "\"/\" must be absolute, below /"),
            ("timeout = ", "limits = { memory-mib = 1 }\ntimeout = ", "memory-mib is 1"),
            ("timeout = ", "limits = { memory = 1 }\ntimeout = ", "memory"),
            ("timeout = ", "writes = [\"var\"]\ntimeout = ", "\"var\" must be absolute"),
            ("timeout = ", "writes = [\"/var/../etc\"]\ntimeout = ", "without '.', '..'"),
            ("runs qemu-img", " ", "why"),
            ("/usr/bin/qemu-img", "qemu-img", "absolute"),
            ("{disk:path}", "{disk:paht}", "paht"),
            ("transfer-qcow2", "../x", "driver name"),
            ("optional", "maybe", "optional"),
            ("repeated = [\"{o:text}\"]", "repeated = 3", "repeated"),
            ("repeated = [\"{o:text}\"]", "repeated = [3]", "repeated"),
            ("\"-U\", \"{u:id}\"", "\"-U\"", "no hole"),
            ("{o:text}", "{disk:path}", "outside"),
            ("{u:id}", "{disk:path}", "outside"),
            ("1m 30s", "90", "timeout"),
            ("1m 30s", "1ms", "timeout"),
            ("1m 30s", "-5s", "timeout"),
            ("1m 30s", "48h", "24 hours"),
            ("\"{file:path}\"", "\"run/{id:id}.sock\"", "absolute"),
            ("\"socket\"", "\"files\"", "capability socket"),
            ("timeout = ", "secrets = [\"A b\"]\ntimeout = ", "secret name \"A b\""),
            ("timeout = ", "secrets = [\"a\", \"a\"]\ntimeout = ", "twice"),
            ("[config.delay-ms]", "[secret.a]", "default"),
            ("default = \"0\"", "[secret.B]\nabout = \"b\"", "secret name \"B\""),
            ("default = \"0\"", "[secret.b]\nabout = \"b\"", "capability secrets"),
        ] {
            let problem = Manifest::parse(GOOD.replace(from, to).as_bytes()).expect_err(to);
            assert!(problem.contains(says), "{problem}");
        }
        assert!(Manifest::parse(&[0xff]).is_err());
        assert!(Manifest::parse(&vec![b'#'; MANIFEST_MAX + 1]).is_err());
        let without = GOOD.replace(
            "[[capability]]\n        name = \"exec\"\n        why = \"runs qemu-img\"",
            "",
        );
        assert!(Manifest::parse(without.as_bytes()).expect_err("no exec").contains("exec"));
    }

    #[test]
    fn a_command_is_given_secrets_that_are_listed_if_any_are() {
        let given = GOOD.replace("timeout = ", "secrets = [\"a\"]\ntimeout = ");
        let listed = |name: &str| format!("{given}[secret.{name}]\nabout = \"to log in\"\n");
        for text in [given.clone(), listed("a")] {
            let manifest = Manifest::parse(text.as_bytes()).expect("valid");
            let secrets = manifest.command("info").expect("there").secrets();
            assert_eq!(secrets.iter().map(SecretName::as_str).collect::<Vec<_>>(), ["a"]);
        }
        let problem = Manifest::parse(listed("b").as_bytes()).expect_err("a is not listed");
        assert!(problem.contains("command \"info\": secret a is not among those"), "{problem}");
    }
}
