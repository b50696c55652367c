//! `ostler plugin`: commands for authors of drivers. They work on files and need no daemon.

mod least;

use self::least::Least;
use crate::building::{self, BuildArgs};
use crate::context::Context;
use crate::embedding::{self, EmbedArgs};
use crate::inspection::Shown;
use crate::pairs::{map, pair};
use crate::secret;
use crate::shipping::{self, PullArgs, PushArgs};
use crate::signing::{self, KeygenArgs, SignArgs, VerifyArgs};
use crate::{Exit, Failure};
use clap::{Args, Subcommand};
use ostler_api::Span;
use ostler_testkit::{
    Ended, PluginKind, Tape, TestOptions, TestReport, TestkitError, new_plugin, new_plugin_with,
};
use ostler_wasm::{Inspection, Package, Secret, Usage};
use serde::Serialize;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Drivers as files.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Shows what a component is and what it asks for; nothing of it runs
    Inspect {
        /// The component: FILE.wasm
        file: PathBuf,
    },
    /// Builds the crate of a driver with cargo, and shows what came out
    Build(BuildArgs),
    /// Runs the conformance suite on a component; exit code 1 if a rule is broken, 2 if it cannot run
    Test(Box<TestArgs>),
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
    /// Writes the contract's WIT files into a folder, for drivers in other languages
    Wit {
        /// The folder; it is made if it is missing
        dir: PathBuf,
    },
    /// Puts a manifest into a component that other tools than the SDK have built
    Embed(EmbedArgs),
    /// Puts a component and its signature into an OCI registry
    Push(PushArgs),
    /// Fetches a component and its signature from an OCI registry
    Pull(PullArgs),
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
    /// A secret of the driver, and the file that holds it
    #[arg(long = "secret", value_name = "NAME=FILE", value_parser = pair)]
    secrets: Vec<(String, String)>,
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
    /// The text that the guest writes to its console when it is ready for the power button
    #[arg(long, value_name = "TEXT", requires = "kernel")]
    guest_says: Option<String>,
    /// Show the driver's log and its calls to the host, with their times, on standard error
    #[arg(long, short = 'v')]
    trace: bool,
    /// The longest a call may take
    #[arg(long, default_value = "10s", value_name = "TIME")]
    patience: Span,
    /// The time for all checks `*-cut` together, which stop the driver at its calls to the host; each
    /// stops it four times at least. 0s skips them
    #[arg(long, default_value = "2m", value_name = "TIME")]
    cuts_within: Span,
    /// Also write all calls to the host, with their answers, into this file. No check stops the
    /// driver. Values of secrets are left out
    #[arg(long, value_name = "FILE", conflicts_with = "replay")]
    record: Option<PathBuf>,
    /// Answer all calls to the host from this file, which --record has written: no hypervisor and
    /// no setting is needed. The first call that differs ends the run; exit code 1
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "grant", "config", "secrets", "blind", "second", "bridge", "only", "kernel", "patience",
        "cuts_within",
    ])]
    replay: Option<PathBuf>,
    /// Also tell the least permissions: the part of the manifest that the driver used in this run,
    /// what it asks for and did not use, and what it tried without asking for it
    #[arg(long, conflicts_with = "grant")]
    least: bool,
    /// Also write the report with every check, its result, reason and time into this file, as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// The most broken rules that are named again after the report.
const NAMED: usize = 6;

/// The result of the suite, as it is printed.
#[derive(Serialize)]
struct Tested<'a> {
    driver: Shown<'a>,
    granted: Vec<&'a str>,
    passed: bool,
    broken: Vec<&'static str>,
    skipped: Vec<&'static str>,
    checks: Vec<Checked<'a>>,
    /// With `--replay`: the first difference from what was recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    differs: Option<&'a str>,
    /// With `--least`.
    #[serde(skip_serializing_if = "Option::is_none")]
    least: Option<Least>,
}

/// One check of the suite, as it is printed.
#[derive(Serialize)]
struct Checked<'a> {
    /// The kind of driver that it is about.
    kind: &'static str,
    check: &'static str,
    rule: &'static str,
    result: &'static str,
    /// Why it failed or was skipped.
    reason: Option<&'a str>,
    /// How often it has stopped the driver.
    note: Option<&'a str>,
    took_ms: u64,
}

/// All checks of a report, in the order in which they ran.
fn checked(report: &TestReport) -> Vec<Checked<'_>> {
    let kinds = report.reports.iter();
    let findings = kinds.flat_map(|(kind, report)| report.findings.iter().map(|of| (*kind, of)));
    findings
        .map(|(kind, finding)| Checked {
            kind,
            check: finding.check,
            rule: finding.rule,
            result: match &finding.ended {
                Ended::Passed => "passed",
                Ended::Failed(_) => "failed",
                Ended::Skipped(_) => "skipped",
            },
            reason: finding.ended.detail(),
            note: finding.note.as_deref(),
            took_ms: u64::try_from(finding.took.as_millis()).unwrap_or(u64::MAX),
        })
        .collect()
}

/// Makes the file of the report before the suite runs, so that no run is lost because of it.
fn report_file(path: Option<&Path>) -> Result<Option<File>, Failure> {
    let failed = |path: &Path, err| {
        Failure::usage(format!("the report cannot be written to {}: {err}", path.display()))
    };
    path.map(|path| File::create(path).map_err(|err| failed(path, err))).transpose()
}

fn bad_file(err: &dyn std::error::Error) -> Failure {
    Failure::usage(crate::failure::chain(err))
        .hint("`ostler plugin new` lays down a driver that builds")
}

/// Why the suite did not run.
fn not_tried(err: &TestkitError) -> Failure {
    match err {
        TestkitError::Cassette { .. } | TestkitError::ShortSecret { .. } => {
            Failure::usage(crate::failure::chain(err))
        }
        TestkitError::Host(_)
        | TestkitError::Load(_)
        | TestkitError::Bench(_)
        | TestkitError::Image(_) => bad_file(err),
    }
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
    // A driver that lists no secrets may read any.
    let secrets: Vec<&str> = manifest.secrets.keys().map(|name| name.as_str()).collect();
    for (name, _) in &args.secrets {
        if !secrets.is_empty() && !secrets.contains(&name.as_str()) {
            return Err(unknown("secret", name, &secrets));
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
    let report_file = report_file(args.report.as_deref())?;
    if args.trace {
        show_trace();
    }
    let secret = |(name, file): &(String, String)| {
        let given = secret::value(name, Some(Path::new(file)))?;
        Ok::<_, Failure>((name.clone(), Secret::new(given.value)))
    };
    let secrets = args.secrets.iter().map(secret).collect::<Result<_, _>>()?;
    let guest = args.kernel.map(|kernel| ostler_testkit::Guest {
        kernel,
        initrd: args.initrd,
        cmdline: args.cmdline,
        says: args.guest_says,
    });
    let options = TestOptions {
        only: args.grant.map(|grants| grants.into_iter().collect()),
        config: map(&args.config),
        secrets,
        blind: map(&args.blind),
        second: map(&args.second),
        bridge: args.bridge,
        checks: args.only.into_iter().collect(),
        guest,
        patience: args.patience.duration(),
        cuts_within: args.cuts_within.duration(),
        tape: match (args.record, args.replay) {
            (Some(file), _) => Tape::Record(file),
            (None, Some(file)) => Tape::Replay(file),
            (None, None) => Tape::Off,
        },
        usage: args.least.then(Usage::default),
        ..TestOptions::default()
    };
    let report: TestReport =
        ostler_testkit::test_plugin(&args.file, &options).await.map_err(|err| not_tried(&err))?;
    let least = match &options.usage {
        Some(usage) => Some(Least::of(&args.file, &report.inspection, usage.told()).await?),
        None => None,
    };
    let tested = Tested {
        driver: Shown::new(&report.inspection),
        granted: report.granted.iter().map(String::as_str).collect(),
        passed: report.passed(),
        broken: report.broken(),
        skipped: report.skipped(),
        checks: checked(&report),
        differs: report.differs.as_deref(),
        least,
    };
    if let Some(mut file) = report_file {
        let written = serde_json::to_writer_pretty(&mut file, &tested)
            .map_err(std::io::Error::from)
            .and_then(|()| writeln!(file));
        written.map_err(|err| Failure::usage(format!("the report cannot be written: {err}")))?;
    }
    let name = tested.driver.name.clone();
    let text = || {
        let least = tested.least.as_ref().map(|least| least.shown(tested.skipped.len()));
        report.to_string() + &least.unwrap_or_default()
    };
    cx.out.write(&cx.out.one(&tested, &name, text)?)?;
    judged(&report, &tested)
}

/// The failure of the command if the driver did not pass.
fn judged(report: &TestReport, tested: &Tested<'_>) -> Result<(), Failure> {
    if tested.passed {
        return Ok(());
    }
    let name = &tested.driver.name;
    if let Some(differs) = &report.differs {
        let what = format!("{name} does something else than what was recorded: {differs}");
        return Err(Failure::new(Exit::Refused, what)
            .hint("if that is wanted, record it anew with --record, beside its hypervisor"));
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
            let shown = Shown::new(&inspection).with_signatures(&package);
            cx.out.write(&cx.out.one(&shown, &shown.name, || shown.page(cx.out.colour))?)
        }
        PluginCommand::Build(args) => building::build(cx, &args).await,
        PluginCommand::Test(args) => test(cx, *args).await,
        PluginCommand::Keygen(args) => signing::keygen(cx, &args),
        PluginCommand::Sign(args) => signing::sign(cx, &args).await,
        PluginCommand::Verify(args) => signing::verify(cx, &args).await,
        PluginCommand::Wit { dir } => embedding::wit(cx, &dir),
        PluginCommand::Embed(args) => embedding::embed(cx, &args).await,
        PluginCommand::Push(args) => shipping::push(cx, &args).await,
        PluginCommand::Pull(args) => shipping::pull(cx, &args).await,
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
                    "next: cd {} && ostler plugin build && ostler plugin test {file}",
                    folder.display()
                ));
            }
            Ok(())
        }
    }
}
