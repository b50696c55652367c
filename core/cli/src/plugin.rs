//! `ostler plugin`: commands for authors of drivers. They work on files and need no daemon.

use crate::context::Context;
use crate::pairs::{map, pair};
use crate::show::Page;
use crate::signing::{self, KeygenArgs, SignArgs, VerifyArgs};
use crate::table::Cell;
use crate::{Exit, Failure};
use clap::{Args, Subcommand};
use ostler_api::Span;
use ostler_testkit::{PluginKind, TestOptions, TestReport, new_plugin, new_plugin_with};
use ostler_wasm::{Inspection, Package, Trust};
use serde::Serialize;
use std::path::PathBuf;

/// Drivers as files.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Shows what a component is and what it asks for; nothing of it runs
    Inspect {
        /// The component: FILE.wasm
        file: PathBuf,
    },
    /// Runs the conformance suite on a component; exit code 1 if a rule is broken
    Test(TestArgs),
    /// Makes a pair of keys for signing drivers; minisign can use them, too
    Keygen(KeygenArgs),
    /// Signs a component, so that operators can tell that it is yours and was not altered
    Sign(SignArgs),
    /// Verifies the signatures of a component; exit code 1 if none of these keys has signed it
    Verify(VerifyArgs),
    /// Lays down a new driver that builds and passes the suite
    New {
        /// Its name, and that of its folder
        name: String,
        /// The kind of driver
        #[arg(long, value_parser = ["hypervisor", "transfer", "rules"])]
        kind: String,
        /// The directory that its folder is made in
        #[arg(long, default_value = ".", value_name = "DIRECTORY")]
        dir: PathBuf,
        /// Take the SDK from this folder instead of the package registry
        #[arg(long, value_name = "DIRECTORY")]
        sdk: Option<PathBuf>,
    },
}

/// How to try a component.
#[derive(Debug, Args)]
pub struct TestArgs {
    /// The component: FILE.wasm
    file: PathBuf,
    /// Grant only these of the capabilities it asks for; all if not given
    #[arg(long, value_name = "CAPABILITY", value_delimiter = ',')]
    grant: Option<Vec<String>>,
    /// A setting of the driver, for example which hypervisor the suite runs against
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair)]
    config: Vec<(String, String)>,
    /// A setting that differs on a host that cannot be asked
    #[arg(long = "blind", value_name = "KEY=VALUE", value_parser = pair)]
    blind: Vec<(String, String)>,
    /// A setting that differs on a second host, which domains are migrated to
    #[arg(long = "second", value_name = "KEY=VALUE", value_parser = pair)]
    second: Vec<(String, String)>,
    /// The bridge that network cards are plugged into
    #[arg(long, value_name = "NAME")]
    bridge: Option<String>,
    /// Run only these checks
    #[arg(long, value_name = "CHECK", value_delimiter = ',')]
    only: Vec<String>,
    /// The kernel that the domains boot; without it nothing runs in them
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// The initial RAM disk of that kernel
    #[arg(long, value_name = "FILE", requires = "kernel")]
    initrd: Option<PathBuf>,
    /// The command line of that kernel
    #[arg(long, value_name = "TEXT", requires = "kernel", default_value = "console=ttyS0")]
    cmdline: String,
    /// What the guest writes to its console when it is ready for the power button
    #[arg(long, value_name = "TEXT", requires = "kernel")]
    guest_says: Option<String>,
    /// Show the driver's log and its calls to the host, with their times, on standard error
    #[arg(long, short = 'v')]
    trace: bool,
    /// The longest a call may take
    #[arg(long, default_value = "10s", value_name = "TIME")]
    patience: Span,
}

/// The most broken rules that are named again after the report.
const NAMED: usize = 6;

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
struct Shown<'a> {
    name: String,
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
    settings: Vec<Setting<'a>>,
    /// The secrets that it reads, if it lists them.
    secrets: Vec<Secret<'a>>,
    imports: &'a [String],
    exports: &'a [String],
}

impl<'a> Shown<'a> {
    fn new(inspection: &'a Inspection) -> Self {
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

    fn page(&self, colour: bool) -> String {
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
        if !self.secrets.is_empty() {
            let row = |secret: &Secret<'_>| vec![Cell::from(secret.name), Cell::from(secret.about)];
            let rows = self.secrets.iter().map(row).collect();
            page.section("Secrets").table(&["NAME", "ABOUT"], rows, "none");
        }
        page.section("Imports").block(&self.imports.join("\n"));
        page.section("Exports").block(&self.exports.join("\n"));
        page.done()
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

/// The result of the suite, as it is printed.
#[derive(Serialize)]
struct Tested<'a> {
    driver: Shown<'a>,
    granted: Vec<&'a str>,
    passed: bool,
    broken: Vec<&'static str>,
    skipped: Vec<&'static str>,
}

fn bad_file(err: &dyn std::error::Error) -> Failure {
    Failure::usage(crate::failure::chain(err))
        .hint("`ostler plugin new` lays down a driver that builds")
}

/// Refuses settings and capabilities that the manifest does not have. Otherwise a misspelt one
/// would be ignored in silence.
fn known_to(inspection: &Inspection, args: &TestArgs) -> Result<(), Failure> {
    let manifest = &inspection.manifest;
    let settings: Vec<&str> = manifest.config.keys().map(String::as_str).collect();
    let capabilities: Vec<&str> =
        manifest.capabilities.iter().map(|asked| asked.name.as_str()).collect();
    let set = [&args.config, &args.blind, &args.second].into_iter().flatten().map(|(key, _)| key);
    let unknown = |what: &str, given: &str, known: &[&str]| {
        let failure =
            Failure::usage(format!("the manifest of {} has no {what} {given}", manifest.name));
        failure.hint(match ostler_api::nearest(given, known.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None if known.is_empty() => format!("it has no {what} at all"),
            None => format!("it has: {}", known.join(", ")),
        })
    };
    for key in set {
        if !settings.contains(&key.as_str()) {
            return Err(unknown("setting", key, &settings));
        }
    }
    let checks = ostler_testkit::check_names();
    for check in &args.only {
        if !checks.contains(&check.as_str()) {
            let failure = Failure::usage(format!("the suite has no check {check}"));
            return Err(match ostler_api::nearest(check, checks.iter().copied()) {
                Some(near) => failure.hint(format!("did you mean {near}?")),
                None => failure.hint("`ostler plugin test` without --only names them"),
            });
        }
    }
    for grant in args.grant.iter().flatten() {
        if !capabilities.contains(&grant.as_str()) {
            return Err(unknown("capability", grant, &capabilities));
        }
    }
    Ok(())
}

/// The names of the broken rules, or their number if there are many.
fn broken(names: &[&str]) -> String {
    match names {
        [one] => format!("a rule: {one}"),
        few if few.len() <= NAMED => format!("rules: {}", few.join(", ")),
        many => format!("{} rules, the first is {}", many.len(), many[0]),
    }
}

/// Shows the lines that drivers log, and their calls to the host, until the command ends.
fn show_trace() {
    let filter =
        "ostler::conformance=info,ostler::driver=debug,ostler::flight=debug,ostler_wasm=warn";
    // It fails only if somebody has begun it before.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_timer(tracing_subscriber::fmt::time::uptime())
        .with_target(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(std::io::stderr)
        .try_init();
}

async fn test(cx: &Context, args: TestArgs) -> Result<(), Failure> {
    known_to(&ostler_testkit::inspect(&args.file).await.map_err(|err| bad_file(&err))?, &args)?;
    if args.trace {
        show_trace();
    }
    let guest = args.kernel.map(|kernel| ostler_testkit::Guest {
        kernel,
        initrd: args.initrd,
        cmdline: args.cmdline,
        says: args.guest_says,
    });
    let options = TestOptions {
        only: args.grant.map(|grants| grants.into_iter().collect()),
        config: map(&args.config),
        blind: map(&args.blind),
        second: map(&args.second),
        bridge: args.bridge,
        checks: args.only.into_iter().collect(),
        guest,
        patience: args.patience.duration(),
        ..TestOptions::default()
    };
    let report: TestReport =
        ostler_testkit::test_plugin(&args.file, &options).await.map_err(|err| bad_file(&err))?;
    let tested = Tested {
        driver: Shown::new(&report.inspection),
        granted: report.granted.iter().map(String::as_str).collect(),
        passed: report.passed(),
        broken: report.broken(),
        skipped: report.skipped(),
    };
    let name = tested.driver.name.clone();
    cx.out.write(&cx.out.one(&tested, &name, || report.to_string())?)?;
    if tested.passed {
        return Ok(());
    }
    Err(Failure::new(Exit::Refused, format!("{name} breaks {}", broken(&tested.broken))))
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, command: PluginCommand) -> Result<(), Failure> {
    match command {
        PluginCommand::Inspect { file } => {
            let package = Package::read(&file).await.map_err(|err| bad_file(&err))?;
            let inspection = ostler_wasm::inspect(&package.what, &package.bytes)
                .map_err(|err| bad_file(&err))?;
            let shown = Shown { signatures: signatures(&package), ..Shown::new(&inspection) };
            cx.out.write(&cx.out.one(&shown, &shown.name, || shown.page(cx.out.colour))?)
        }
        PluginCommand::Test(args) => test(cx, args).await,
        PluginCommand::Keygen(args) => signing::keygen(cx, &args),
        PluginCommand::Sign(args) => signing::sign(cx, &args).await,
        PluginCommand::Verify(args) => signing::verify(cx, &args).await,
        PluginCommand::New { name, kind, dir, sdk } => {
            let kind: PluginKind =
                kind.parse().map_err(|err| Failure::usage(crate::failure::chain(&err)))?;
            let made = match sdk {
                None => new_plugin(&dir, &name, kind),
                Some(sdk) => {
                    let sdk = std::path::absolute(&sdk)
                        .map_err(|err| Failure::usage(format!("{}: {err}", sdk.display())))?;
                    let path = toml::Value::String(sdk.display().to_string());
                    new_plugin_with(&dir, &name, kind, &format!("path = {path}"))
                }
            };
            let folder = made.map_err(|err| match err {
                ostler_testkit::PlantError::Exists { .. } => {
                    Failure::new(Exit::Conflict, err.to_string())
                }
                other => Failure::usage(crate::failure::chain(&other)),
            })?;
            cx.out.line(&folder.display().to_string())?;
            if cx.out.for_people() {
                let file = format!(
                    "target/wasm32-wasip2/release/{}.wasm",
                    ostler_testkit::crate_name(&name).replace('-', "_")
                );
                crate::out::aside(&format!(
                    "next: cd {} && cargo build --release --target wasm32-wasip2 && ostler plugin \
                     test {file}",
                    folder.display()
                ));
            }
            Ok(())
        }
    }
}
