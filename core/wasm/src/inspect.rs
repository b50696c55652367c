//! Reads the description of a component from its bytes, without compiling or running it.

use crate::embedded::{self, Split, SplitProblem};
use crate::manifest::{MANIFEST_MAX, Manifest, SECTION};
use crate::template::Template;
use crate::{LoadError, cache::hex};
use ostler_model::{Ability, SecretName};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use wasmparser::{ComponentExternalKind, Encoding, Parser, Payload};

/// The contract this host serves.
pub(crate) const CONTRACT: &str = "0.1.0";
/// The package of the contract.
const PACKAGE: &str = "ostler:driver";
/// The contract that this host serves, for people.
pub(crate) const SERVES: &str = "ostler:driver@0.1.0";
/// The largest file: Python components reach 40 MiB, and compiling costs about ten times the size
/// in memory.
pub const FILE_MAX: u64 = 64 * 1024 * 1024;

/// The interfaces of the contract that a driver may import.
const IMPORTS: [&str; 11] = [
    "types",
    "call-context",
    "log",
    "clock",
    "random",
    "config",
    "secrets",
    "exec",
    "files",
    "socket",
    "session",
];
/// The WASI packages that are linked. All are inert except clocks, randomness and requests to
/// endpoints that were granted.
const WASI: [&str; 7] = [
    "wasi:cli",
    "wasi:io",
    "wasi:clocks",
    "wasi:filesystem",
    "wasi:random",
    "wasi:sockets",
    "wasi:http",
];
/// The kinds of driver, by exported interface.
const KINDS: [&str; 3] = ["hypervisor", "transfer", "snapshot-rules"];

/// The description of a component, and what it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Its manifest.
    pub manifest: Manifest,
    /// SHA-256 of the component, in hexadecimal: of the file without a signature that is inside of
    /// it. So the component keeps its digest when it is signed.
    pub digest: String,
    /// The size of the file, in bytes.
    pub size: u64,
    /// The contract version it was built for.
    pub contract: String,
    /// The kinds of driver that it is: `hypervisor`, `transfer`, `snapshot-rules`.
    pub kinds: Vec<&'static str>,
    /// Its optional abilities as a hypervisor driver.
    pub abilities: Vec<Ability>,
    /// All interfaces it imports.
    pub imports: Vec<String>,
    /// All interfaces it exports.
    pub exports: Vec<String>,
}

impl Inspection {
    /// Whether it exports that interface, in the contract version that this host serves.
    pub(crate) fn exports(&self, interface: &str) -> bool {
        exported(&self.exports, interface)
    }
}

fn exported(exports: &[String], interface: &str) -> bool {
    exports.iter().any(|name| *name == format!("{PACKAGE}/{interface}@{CONTRACT}"))
}

struct Parsed {
    manifest: Option<Vec<u8>>,
    imports: Vec<String>,
    exports: Vec<String>,
}

/// Reads a component: manifest, digest, contract, kinds, abilities, and what it asks for.
///
/// # Errors
/// Why this host cannot run it.
pub fn inspect(what: &str, bytes: &[u8]) -> Result<Inspection, LoadError> {
    if bytes.len() as u64 > FILE_MAX {
        return Err(LoadError::TooLarge {
            what: what.to_owned(),
            size: bytes.len() as u64,
            most: FILE_MAX,
        });
    }
    let component = take_apart(what, bytes)?.component;
    let parsed = parse(what, component)?;
    let section = parsed.manifest.ok_or_else(|| LoadError::NoManifest { what: what.to_owned() })?;
    let manifest = Manifest::parse(&section)
        .map_err(|problem| LoadError::Manifest { what: what.to_owned(), problem })?;
    let driver = manifest.name.to_string();
    let contract = contract_of(&driver, parsed.imports.iter().chain(&parsed.exports))?;
    check_imports(&driver, &contract, &parsed.imports)?;
    let ours = |interface: &str| exported(&parsed.exports, interface);
    let kinds: Vec<&'static str> = KINDS.into_iter().filter(|kind| ours(kind)).collect();
    if kinds.is_empty() {
        let exports = if parsed.exports.is_empty() {
            "nothing".to_owned()
        } else {
            parsed.exports.join(", ")
        };
        return Err(LoadError::NoKind { driver, serves: SERVES.to_owned(), exports });
    }
    let abilities = if kinds.contains(&"hypervisor") {
        all_abilities().filter(|ability| ours(&ability.to_string())).collect()
    } else {
        Vec::new()
    };
    Ok(Inspection {
        manifest,
        digest: digest_of(component),
        size: bytes.len() as u64,
        contract,
        kinds,
        abilities,
        imports: parsed.imports,
        exports: parsed.exports,
    })
}

/// SHA-256, in lower-case hexadecimal.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Takes the file apart into the component and the signature that is inside of it.
pub(crate) fn take_apart<'a>(what: &str, bytes: &'a [u8]) -> Result<Split<'a>, LoadError> {
    embedded::split(bytes).map_err(|problem| match problem {
        SplitProblem::NotWasm(problem) => LoadError::NotWasm { what: what.to_owned(), problem },
        problem @ (SplitProblem::Two | SplitProblem::After | SplitProblem::Encoding) => {
            LoadError::Altered { what: what.to_owned(), problem }
        }
    })
}

fn all_abilities() -> impl Iterator<Item = Ability> {
    [
        Ability::Suspend,
        Ability::Migrate,
        Ability::Hotplug,
        Ability::Snapshots,
        Ability::LiveResize,
        Ability::Metrics,
        Ability::Console,
        Ability::Changes,
        Ability::Fence,
        Ability::DiskCopy,
        Ability::Adopt,
        Ability::Reboot,
    ]
    .into_iter()
}

/// The text of the manifest of a component.
///
/// # Errors
/// It is no component, or has no manifest.
pub fn manifest_text(what: &str, bytes: &[u8]) -> Result<String, LoadError> {
    let parsed = parse(what, take_apart(what, bytes)?.component)?;
    let section = parsed.manifest.ok_or_else(|| LoadError::NoManifest { what: what.to_owned() })?;
    String::from_utf8(section)
        .map_err(|error| LoadError::Manifest { what: what.to_owned(), problem: error.to_string() })
}

fn parse(what: &str, bytes: &[u8]) -> Result<Parsed, LoadError> {
    let bad = |problem: String| LoadError::NotWasm { what: what.to_owned(), problem };
    let mut parsed = Parsed { manifest: None, imports: Vec::new(), exports: Vec::new() };
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|error| bad(error.to_string()))? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                return Err(LoadError::CoreModule { what: what.to_owned() });
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    parsed
                        .imports
                        .push(import.map_err(|error| bad(error.to_string()))?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    let export = export.map_err(|error| bad(error.to_string()))?;
                    if export.kind == ComponentExternalKind::Instance {
                        parsed.exports.push(export.name.name.to_owned());
                    }
                }
            }
            // The SDK puts the manifest into the core module inside. Other tools may put it on the
            // component itself.
            Payload::CustomSection(section) if section.name() == SECTION => {
                let problem = match &parsed.manifest {
                    Some(other) if other != section.data() => {
                        "it has two different manifests".to_owned()
                    }
                    _ if section.data().len() > MANIFEST_MAX => {
                        format!("it is larger than {MANIFEST_MAX} bytes")
                    }
                    _ => {
                        parsed.manifest = Some(section.data().to_vec());
                        continue;
                    }
                };
                return Err(LoadError::Manifest { what: what.to_owned(), problem });
            }
            _ => {}
        }
    }
    Ok(parsed)
}

/// Splits a name of the form `package/interface@version`. None if the name has another form.
fn split(name: &str) -> Option<(&str, &str, &str)> {
    let (package, rest) = name.split_once('/')?;
    let (interface, version) = rest.split_once('@').unwrap_or((rest, ""));
    Some((package, interface, version))
}

fn contract_of<'a>(
    driver: &str,
    names: impl Iterator<Item = &'a String>,
) -> Result<String, LoadError> {
    for name in names {
        if let Some((PACKAGE, _, version)) = split(name)
            && version != CONTRACT
        {
            let newer = version_number(version) > version_number(CONTRACT);
            let hint = if newer {
                "upgrade this host, or build the driver with an older SDK"
            } else {
                "build the driver again with the current SDK"
            };
            return Err(LoadError::ForeignContract {
                driver: driver.to_owned(),
                built: format!("{PACKAGE}@{version}"),
                interface: name.clone(),
                serves: SERVES.to_owned(),
                hint,
            });
        }
    }
    Ok(CONTRACT.to_owned())
}

fn version_number(text: &str) -> Vec<u64> {
    text.split(['.', '-', '+']).map_while(|part| part.parse().ok()).collect()
}

fn check_imports(driver: &str, contract: &str, imports: &[String]) -> Result<(), LoadError> {
    let offered = |name: &&String| match split(name) {
        Some((PACKAGE, interface, _)) => IMPORTS.contains(&interface),
        Some((package, _, version)) => WASI.contains(&package) && version.starts_with("0.2."),
        None => false,
    };
    let missing: Vec<&str> =
        imports.iter().filter(|name| !offered(name)).map(String::as_str).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(LoadError::UnknownImports {
        driver: driver.to_owned(),
        built: contract.to_owned(),
        missing: missing.join(", "),
        serves: SERVES.to_owned(),
    })
}

/// The warning for a command that interprets files.
const INTERPRETS: &str = "as good as root on the host: this program does what a file says that the \
                          driver can write, or a word of the driver's can be any path";

/// The warning for a socket.
const REACHES: &str = "the driver may ask of whoever listens there all that is served there";

/// A command in the output of `ostler plugin inspect`.
fn write_command(f: &mut fmt::Formatter<'_>, command: &Template) -> fmt::Result {
    writeln!(f, "command     {}: {command}", command.name())?;
    for (what, paths) in [("reads", &command.reach().reads), ("writes", &command.reach().writes)] {
        if !paths.is_empty() {
            writeln!(f, "            also {what} {}", paths.join(", "))?;
        }
    }
    if command.reach().all_datastores {
        writeln!(f, "            reaches all datastores, and not only the files of its call")?;
    }
    let limits = command.limits().to_string();
    if !limits.is_empty() {
        writeln!(f, "            may use {limits}")?;
    }
    if !command.secrets().is_empty() {
        let names: Vec<&str> = command.secrets().iter().map(SecretName::as_str).collect();
        writeln!(f, "            is given the secrets {}", names.join(", "))?;
    }
    if command.interprets_files() {
        writeln!(f, "            ! {INTERPRETS}")?;
    }
    Ok(())
}

/// The output of `ostler plugin inspect`.
impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Manifest {
            name,
            version,
            summary,
            licence,
            authors,
            capabilities,
            commands,
            sockets,
            endpoints,
            config,
            secrets,
        } = &self.manifest;
        writeln!(f, "{name} {version}: {summary}")?;
        writeln!(f, "licence     {licence}")?;
        writeln!(f, "authors     {}", authors.join(", "))?;
        writeln!(f, "sha256      {}", self.digest)?;
        writeln!(f, "contract    {PACKAGE}@{}", self.contract)?;
        writeln!(f, "kinds       {}", self.kinds.join(", "))?;
        let abilities: Vec<String> = self.abilities.iter().map(Ability::to_string).collect();
        writeln!(
            f,
            "abilities   {}",
            if abilities.is_empty() { "none".to_owned() } else { abilities.join(", ") }
        )?;
        if capabilities.is_empty() {
            writeln!(f, "asks for    nothing")?;
        }
        for asked in capabilities {
            writeln!(f, "asks for    {}: {}", asked.name, asked.why)?;
        }
        for command in commands {
            write_command(f, command)?;
        }
        for socket in sockets {
            writeln!(f, "socket      {}: {socket}", socket.name())?;
            writeln!(f, "            ! {REACHES}")?;
        }
        for endpoint in endpoints {
            writeln!(f, "endpoint    {}: {endpoint}", endpoint.name)?;
        }
        let sorted: BTreeMap<_, _> = config.iter().collect();
        for (key, setting) in sorted {
            let default = setting
                .default
                .as_deref()
                .map(|text| format!(" (default {text})"))
                .unwrap_or_default();
            let required = if setting.required { " (required)" } else { "" };
            writeln!(f, "setting     {key}: {}{default}{required}", setting.about)?;
        }
        for (name, secret) in secrets {
            writeln!(f, "secret      {name}: {}", secret.about)?;
        }
        Ok(())
    }
}
