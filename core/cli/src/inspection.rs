//! The description of a driver as `ostler plugin inspect` and `ostler plugin test` print it.

use crate::show::Page;
use crate::table::Cell;
use ostler_wasm::{Inspection, Package, Trust};
use serde::Serialize;

#[derive(Serialize)]
struct Asked<'a> {
    name: &'a str,
    why: &'a str,
}

#[derive(Serialize)]
struct Command<'a> {
    name: &'a str,
    /// The program and its arguments, with their typed placeholders, as audit and dry run print
    /// them.
    argv: String,
    /// How long it may run. If none, as long as its call.
    time_limit: Option<String>,
    /// The paths that it also reads, beside those that every command may read.
    reads: &'a [String],
    /// The paths that it also writes, beside the datastores.
    writes: &'a [String],
    /// The secrets that its input is given.
    secrets: Vec<&'a str>,
    /// Whether it is as good as root on the host: it does what a file of the driver's says, or takes
    /// any path.
    as_root: bool,
}

#[derive(Serialize)]
struct Socket<'a> {
    name: &'a str,
    /// The path, with its typed placeholders.
    path: String,
}

#[derive(Serialize)]
struct Endpoint<'a> {
    name: &'a str,
    /// The settings and the secret that it depends on, for people.
    server: String,
    /// The setting with its URL.
    url: &'a str,
    /// The secret for its login.
    secret: Option<&'a str>,
}

#[derive(Serialize)]
struct Secret<'a> {
    name: &'a str,
    about: &'a str,
}

#[derive(Serialize)]
struct Setting<'a> {
    name: &'a str,
    about: &'a str,
    default: Option<&'a str>,
    required: bool,
}

/// An inspection, as it is printed.
#[derive(Serialize)]
pub(crate) struct Shown<'a> {
    pub(crate) name: String,
    version: &'a str,
    summary: &'a str,
    licence: &'a str,
    authors: &'a [String],
    kinds: &'a [&'static str],
    contract: &'a str,
    digest: &'a str,
    /// The keys that its signatures name, or what is wrong with one of them.
    signatures: Vec<String>,
    size: u64,
    abilities: Vec<String>,
    capabilities: Vec<Asked<'a>>,
    commands: Vec<Command<'a>>,
    sockets: Vec<Socket<'a>>,
    endpoints: Vec<Endpoint<'a>>,
    settings: Vec<Setting<'a>>,
    /// The secrets that it reads, if it lists them.
    secrets: Vec<Secret<'a>>,
    imports: &'a [String],
    exports: &'a [String],
}

impl<'a> Shown<'a> {
    pub(crate) fn new(inspection: &'a Inspection) -> Self {
        let manifest = &inspection.manifest;
        Self {
            name: manifest.name.to_string(),
            version: &manifest.version,
            summary: &manifest.summary,
            licence: &manifest.licence,
            authors: &manifest.authors,
            kinds: &inspection.kinds,
            contract: &inspection.contract,
            digest: &inspection.digest,
            signatures: Vec::new(),
            size: inspection.size,
            abilities: inspection.abilities.iter().map(ToString::to_string).collect(),
            capabilities: manifest
                .capabilities
                .iter()
                .map(|asked| Asked { name: &asked.name, why: &asked.why })
                .collect(),
            commands: manifest
                .commands
                .iter()
                .map(|command| Command {
                    name: command.name(),
                    argv: command.to_string(),
                    time_limit: command.time_limit().map(|limit| format!("{limit:?}")),
                    reads: &command.reach().reads,
                    writes: &command.reach().writes,
                    secrets: command.secrets().iter().map(|name| name.as_str()).collect(),
                    as_root: command.interprets_files(),
                })
                .collect(),
            sockets: manifest
                .sockets
                .iter()
                .map(|socket| Socket { name: socket.name(), path: socket.to_string() })
                .collect(),
            endpoints: manifest
                .endpoints
                .iter()
                .map(|endpoint| Endpoint {
                    name: &endpoint.name,
                    server: endpoint.to_string(),
                    url: &endpoint.url,
                    secret: endpoint.login.as_ref().map(|login| login.secret().as_str()),
                })
                .collect(),
            settings: manifest
                .config
                .iter()
                .map(|(name, setting)| Setting {
                    name,
                    about: &setting.about,
                    default: setting.default.as_deref(),
                    required: setting.required,
                })
                .collect(),
            secrets: manifest
                .secrets
                .iter()
                .map(|(name, secret)| Secret { name: name.as_str(), about: &secret.about })
                .collect(),
            imports: &inspection.imports,
            exports: &inspection.exports,
        }
    }

    /// The same, with the signatures of its file.
    pub(crate) fn with_signatures(self, package: &Package) -> Self {
        Self { signatures: signatures(package), ..self }
    }

    pub(crate) fn page(&self, colour: bool) -> String {
        let mut page = Page::new(colour);
        page.section("Information")
            .pair("Name", &self.name)
            .pair("Version", self.version)
            .pair("Summary", self.summary);
        page.pair("Licence", self.licence)
            .pair("Authors", self.authors.join(", "))
            .pair("Kinds", self.kinds.join(", "));
        page.pair("Abilities", self.abilities.join(", ")).pair("Contract", self.contract);
        page.pair("Size", format!("{} KiB", self.size.div_ceil(1024))).pair("SHA-256", self.digest);
        for signature in &self.signatures {
            page.pair("Signature", signature);
        }
        let rows = self
            .capabilities
            .iter()
            .map(|asked| vec![Cell::from(asked.name), Cell::from(asked.why)])
            .collect();
        page.section("Asks for").table(&["CAPABILITY", "WHY"], rows, "nothing");
        self.reach(&mut page);
        let setting = |setting: &Setting<'_>| {
            let needed = if setting.required { "yes" } else { "-" };
            vec![
                Cell::from(setting.name),
                Cell::from(needed),
                Cell::maybe(setting.default),
                Cell::from(setting.about),
            ]
        };
        let rows = self.settings.iter().map(setting).collect();
        page.section("Settings").table(&["NAME", "NEEDED", "DEFAULT", "ABOUT"], rows, "none");
        let row = |secret: &Secret<'_>| vec![Cell::from(secret.name), Cell::from(secret.about)];
        let rows = self.secrets.iter().map(row).collect();
        page.section("Secrets").table(&["NAME", "ABOUT"], rows, "none");
        page.section("Imports").block(&self.imports.join("\n"));
        page.section("Exports").block(&self.exports.join("\n"));
        page.done()
    }

    /// The parts of its capabilities: what it can run, connect to and ask.
    fn reach(&self, page: &mut Page) {
        let rows = self
            .commands
            .iter()
            .map(|command| {
                let limit = Cell::maybe(command.time_limit.as_ref());
                let as_root = Cell::from(if command.as_root { "yes" } else { "-" });
                let (reads, writes) = (names(command.reads), names(command.writes));
                let (argv, secrets) = (Cell::from(&command.argv), names(&command.secrets));
                vec![Cell::from(command.name), limit, as_root, reads, writes, secrets, argv]
            })
            .collect();
        page.section("Commands").table(
            &[
                "NAME",
                "TIME LIMIT",
                "AS ROOT",
                "READS",
                "WRITES",
                "SECRETS",
                "PROGRAM AND ARGUMENTS",
            ],
            rows,
            "none",
        );
        let rows = self
            .sockets
            .iter()
            .map(|socket| vec![Cell::from(socket.name), Cell::from(&socket.path)])
            .collect();
        page.section("Sockets").table(&["NAME", "PATH"], rows, "none");
        let rows = self
            .endpoints
            .iter()
            .map(|endpoint| vec![Cell::from(endpoint.name), Cell::from(&endpoint.server)])
            .collect();
        page.section("Endpoints").table(&["NAME", "SERVER"], rows, "none");
    }
}

/// Names or paths for a table.
fn names<T: AsRef<str>>(names: &[T]) -> Cell {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    Cell::from(if names.is_empty() { "-".to_owned() } else { names.join(", ") })
}

/// What can be told of the signatures of a component without knowing a key.
fn signatures(package: &Package) -> Vec<String> {
    match package.judge(&Trust::default()) {
        Ok(judged) => {
            let told = |key: &str| format!("of key {key}; `ostler plugin verify` verifies it");
            judged.signers.iter().map(|signer| told(&signer.key)).collect()
        }
        Err(err) => vec![crate::failure::chain(&err)],
    }
}
