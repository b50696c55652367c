//! `ostler driver`.

mod figures;

use crate::context::{Context, remove_each};
use crate::out::Row;
use crate::pairs::{map, pair};
use crate::secret::{self, DriverSecretCommand};
use crate::shipping::{self, Reach, Source};
use crate::show::Page;
use crate::table::{Cell, Tone};
use crate::text::{moment, now, span, took_us};
use crate::watch::{self, Watch};
use crate::{Exit, Failure};
use clap::{Args, Subcommand, ValueHint};
use ostler_api::{
    Client, Driver, DriverOrigin, DriverSecret, DriverSetting, EarlierDriver, NewDriver, RulesOf,
    SignedBy,
};

/// How many characters of a digest a list has: enough to tell builds apart.
const SHORT: usize = 12;

/// Drivers.
#[derive(Debug, Subcommand)]
pub enum DriverCommand {
    /// Loads a component, now and at every start
    #[command(aliases = ["load", "install"])]
    Add(Box<AddDriver>),
    /// Lists drivers
    #[command(alias = "ls")]
    List(Watch),
    /// Shows all about a driver
    #[command(aliases = ["info", "get", "describe", "inspect"])]
    Show {
        /// Its name
        driver: String,
    },
    /// Has the snapshot rules of one driver count for a hypervisor driver, before what the daemon's
    /// settings say
    BindRules {
        /// The hypervisor driver: kvm
        driver: String,
        /// The driver that holds the rules: snapshots-kvm
        rules: String,
    },
    /// Removes that binding; then the rules from the daemon's settings apply again
    UnbindRules {
        /// The hypervisor driver
        driver: String,
    },
    /// Puts the file that was the driver before back in its place, with its grants and settings.
    /// Operations in hand go on with it. Once more puts the other file back
    #[command(aliases = ["revert", "downgrade", "undo"])]
    Rollback {
        /// Its name
        driver: String,
    },
    #[command(flatten)]
    Secrets(DriverSecretCommand),
    /// Removes drivers that nothing uses, with their secrets
    #[command(aliases = ["rm", "delete"])]
    Remove {
        /// Names
        #[arg(required = true)]
        drivers: Vec<String>,
    },
}

/// A driver to add.
#[derive(Debug, Args)]
pub struct AddDriver {
    /// The component: a file on the daemon's machine, https://... or oci://REGISTRY/PATH:TAG. A
    /// signature beside it (.minisig) goes with it
    #[arg(value_name = "FILE|URL", value_hint = ValueHint::AnyPath)]
    file: String,
    /// The SHA-256 that the component must have; with another one nothing is added
    #[arg(long, value_name = "SHA256", value_parser = shipping::digest)]
    digest: Option<String>,
    /// A capability to grant, of those its manifest asks for (`ostler plugin inspect`): config,
    /// secrets, files, exec, exec:COMMAND, socket, socket:NAME, http, http:NAME, all, none. Without this option, a
    /// driver that takes the place of another keeps the grants of that one, and a new driver gets
    /// none
    #[arg(long = "grant", value_name = "CAPABILITY", value_delimiter = ',')]
    grants: Vec<String>,
    /// A setting for all hosts; those of a host whose hypervisor driver it is come first. Without
    /// this option, a driver that takes the place of another keeps the settings of that one
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair)]
    config: Vec<(String, String)>,
    /// Put it in the place of the driver of the same name, which must be of the same kind. The file
    /// is tried on the driver's hosts before. Operations in hand stay on the file before. If the
    /// new file crashes or fails often in its first ten minutes, the file before comes back by
    /// itself; `ostler driver rollback` puts it back at any time
    #[arg(long)]
    replace: bool,
    /// With --replace: operations in hand go on with the new file, too. For a file that mends what
    /// they wait for
    #[arg(long, requires = "replace")]
    at_once: bool,
    /// With --replace: do not try the file on the driver's hosts before
    #[arg(long, requires = "replace")]
    untested: bool,
    #[command(flatten)]
    reach: Reach,
}

fn origin(driver: &Driver) -> String {
    match &driver.origin {
        DriverOrigin::BuiltIn => "built-in".to_owned(),
        DriverOrigin::Component { contract, .. } => format!("component {contract}"),
    }
}

impl Row for Driver {
    const HEADINGS: &'static [&'static str] = &[
        "NAME", "VERSION", "KINDS", "RULES", "ORIGIN", "SHA-256", "SIGNED", "CALLS", "ERRORS",
        "MEAN",
    ];
    const WIDER: &'static [&'static str] = &["ABILITIES", "DESCRIPTION", "LAST ERROR"];

    fn cells(&self) -> Vec<Cell> {
        let errors = if self.errors == 0 { Tone::Plain } else { Tone::Bad };
        vec![
            Cell::from(&self.name),
            Cell::from(&self.version),
            match &self.not_loaded {
                Some(_) => Cell::toned("not loaded", Tone::Bad),
                None => self.kinds.join(",").into(),
            },
            match &self.rules {
                Some(rules) if rules.missing.is_some() => {
                    Cell::toned(format!("{} (not loaded)", rules.driver), Tone::Bad)
                }
                rules => Cell::maybe(rules.as_ref().map(|rules| &rules.driver)),
            },
            origin(self).into(),
            Cell::maybe(digest(self).map(|digest| digest.chars().take(SHORT).collect::<String>())),
            Cell::maybe(signed_short(self)),
            self.calls.into(),
            Cell::toned(self.errors, errors),
            mean(self).into(),
            self.abilities.join(",").into(),
            Cell::from(&self.description),
            Cell::maybe(self.last_error.as_ref()),
        ]
    }

    fn handle(&self) -> String {
        self.name.clone()
    }
}

/// The component's digest.
fn digest(driver: &Driver) -> Option<&str> {
    match &driver.origin {
        DriverOrigin::Component { digest, .. } if !digest.is_empty() => Some(digest),
        DriverOrigin::Component { .. } | DriverOrigin::BuiltIn => None,
    }
}

/// Who has signed the component. None if it is built in.
fn signed(driver: &Driver) -> Option<Vec<Cell>> {
    let DriverOrigin::Component { signed, .. } = &driver.origin else { return None };
    let cell = |by: &SignedBy| match &by.name {
        Some(name) => Cell::from(format!("{name} (key {}, trusted)", by.key)),
        None => Cell::toned(format!("key {} (not trusted, not verified)", by.key), Tone::Busy),
    };
    Some(signed.iter().map(cell).collect())
}

/// The same for a table: the name of a trusted key, or the id of another with a question mark.
fn signed_short(driver: &Driver) -> Option<String> {
    let DriverOrigin::Component { signed, .. } = &driver.origin else { return None };
    let word = |by: &SignedBy| by.name.clone().unwrap_or_else(|| format!("{}?", by.key));
    let words: Vec<String> = signed.iter().map(word).collect();
    Some(words.join(",")).filter(|words| !words.is_empty())
}

/// The mean time of a call. `-` before the first call.
fn mean(driver: &Driver) -> String {
    let us = driver.mean_us;
    if driver.calls == 0 { "-".to_owned() } else { took_us(us) }
}

fn rules(driver: &Driver) -> Cell {
    match &driver.rules {
        Some(RulesOf { missing: Some(why), .. }) => {
            Cell::toned(format!("none: no snapshot is made; {why}"), Tone::Bad)
        }
        Some(rules) if rules.bound => Cell::from(&rules.driver),
        Some(rules) => format!("{} (from the daemon's settings)", rules.driver).into(),
        None => Cell::toned("none: no snapshot is made; `ostler driver bind-rules`", Tone::Busy),
    }
}

fn page(cx: &Context, driver: &Driver) -> String {
    let mut page = Page::new(cx.out.colour);
    page.section("Information").pair("Name", &driver.name).pair("Version", &driver.version);
    if let Some(why) = &driver.not_loaded {
        page.pair("Not loaded", Cell::toned(why, Tone::Bad));
    }
    page.pair("Description", &driver.description).pair("Kinds", driver.kinds.join(", "));
    page.pair("Abilities", driver.abilities.join(", "));
    if driver.kinds.iter().any(|kind| kind == "hypervisor") {
        page.pair("Snapshot rules", rules(driver));
    }
    page.section("Origin").pair("Kind", origin(driver));
    if let DriverOrigin::Component { digest, contract, granted, missing, .. } = &driver.origin {
        page.pair("SHA-256", digest).pair("Contract", contract).pair("Granted", granted.join(", "));
        let signed = signed(driver).unwrap_or_default();
        if signed.is_empty() && driver.not_loaded.is_none() {
            page.pair("Signed by", "nobody");
        }
        for by in signed {
            page.pair("Signed by", by);
        }
        if !missing.is_empty() {
            page.pair("Not granted", Cell::toned(missing.join(", "), Tone::Busy));
        }
    }
    knobs(&mut page, driver);
    page.section("Calls")
        .pair("Sent", driver.calls)
        .pair("Errors", driver.errors)
        .pair("Mean time", mean(driver));
    page.pair_if("Last error", driver.last_error.as_ref());
    figures::shown(&mut page, driver);
    for pause in &driver.paused {
        let text =
            format!("on {} for {} s: it crashed there again and again", pause.host, pause.seconds);
        page.pair("Not called", Cell::toned(text, Tone::Bad));
    }
    earlier(&mut page, driver);
    page.done()
}

/// The settings and secrets that it reads.
fn knobs(page: &mut Page, driver: &Driver) {
    if !driver.settings.is_empty() {
        let row = |setting: &DriverSetting| {
            let default = match (&setting.default, setting.required) {
                (Some(default), _) => Cell::from(default),
                (None, true) => Cell::toned("must be set", Tone::Busy),
                (None, false) => Cell::from("-"),
            };
            vec![Cell::from(&setting.name), default, Cell::from(&setting.about)]
        };
        let rows = driver.settings.iter().map(row).collect();
        page.section("Settings").table(&["NAME", "DEFAULT", "ABOUT"], rows, "none");
    }
    if !driver.secrets.is_empty() {
        let row = |secret: &DriverSecret| {
            let set = if secret.set { "yes" } else { "-" };
            vec![Cell::from(&secret.name), Cell::from(set), Cell::maybe(secret.about.as_ref())]
        };
        let rows = driver.secrets.iter().map(row).collect();
        page.section("Secrets").table(&["NAME", "SET", "ABOUT"], rows, "none");
    }
}

/// The files that were the driver before.
fn earlier(page: &mut Page, driver: &Driver) {
    if driver.earlier.is_empty() {
        return;
    }
    page.section("Earlier files");
    let now = now();
    let back = format!("`ostler driver rollback {}` puts the first one back", driver.name);
    page.pair("Go back", back);
    if let Some(until) = driver.trial_until {
        let left = span(until.0.saturating_sub(now.0));
        page.pair("Trial", format!("the file in place is on trial for {left} more"));
    }
    let row = |file: &EarlierDriver| {
        vec![
            Cell::from(&file.version),
            Cell::from(file.digest.chars().take(SHORT).collect::<String>()),
            Cell::from(moment(now, file.added)),
            Cell::maybe(file.taken_back.as_ref()),
        ]
    };
    let rows = driver.earlier.iter().map(row).collect();
    page.table(&["VERSION", "SHA-256", "ADDED", "TAKEN BACK"], rows, "none");
}

/// The grants that were named. None if none were, so that those of an earlier file are kept.
fn given(words: Vec<String>) -> Option<Vec<String>> {
    match words.as_slice() {
        [] => None,
        [word] if word == "none" => Some(Vec::new()),
        _ => Some(words),
    }
}

/// The lines for people after a driver was loaded.
fn added(driver: &Driver) -> String {
    let kinds = driver.kinds.join(", ");
    let mut lines = format!("driver {} {}: loaded ({kinds})\n", driver.name, driver.version);
    let mut list = |what: &str, words: &[String]| {
        if !words.is_empty() {
            lines.push_str(&format!("  {what}: {}\n", words.join(", ")));
        }
    };
    if let Some(upgrade) = &driver.upgrade {
        list("grants kept", &upgrade.kept);
        list("granted now", &upgrade.granted);
        list("no longer granted", &upgrade.revoked);
    }
    if let DriverOrigin::Component { missing, signed, .. } = &driver.origin {
        let words: Vec<String> = signed
            .iter()
            .map(|by| by.name.clone().unwrap_or_else(|| format!("key {} (not trusted)", by.key)))
            .collect();
        list("signed by", &words);
        list("asked for and not granted (`--grant`)", missing);
    }
    if let Some(until) = driver.trial_until {
        let left = span(until.0.saturating_sub(now().0));
        lines.push_str(&format!(
            "  on trial for {left}: if it fares badly, the file before comes back by itself; `ostler \
             driver rollback {}` puts it back at any time\n",
            driver.name
        ));
    }
    lines
}

/// A component that is on the daemon's machine.
struct Placed {
    path: String,
    /// The digest that it must have.
    digest: Option<String>,
    /// Where it was fetched from.
    fetched: Option<String>,
}

/// Brings a component to the daemon's machine: one that is not there is fetched, looked at and sent.
async fn placed(cx: &Context, client: &Client, add: &AddDriver) -> Result<Placed, Failure> {
    let source = Source::parse(&add.file)?;
    add.reach.fits(&source)?;
    if let Source::File(file) = &source {
        let path = crate::admin::path_on_daemon(cx, file)?;
        return Ok(Placed { path, digest: add.digest.clone(), fetched: None });
    }
    let package = add.reach.fetch(&source).await?;
    let digest = shipping::sound(&package)?.0.digest;
    if let Some(asked) = &add.digest
        && !is_digest(asked, &digest)
    {
        let what = format!(
            "{} has the SHA-256 {digest}, and {asked} was asked for: nothing was added",
            package.what
        );
        return Err(Failure::new(Exit::Refused, what));
    }
    let sent = client.send_driver_file(package.bytes, package.beside.as_deref()).await;
    let sent = sent.map_err(|err| Failure::from(err).about(&package.what))?;
    Ok(Placed { path: sent.path, digest: Some(digest), fetched: Some(package.what) })
}

/// Whether a text names this digest.
fn is_digest(asked: &str, digest: &str) -> bool {
    asked.strip_prefix("sha256:").unwrap_or(asked).eq_ignore_ascii_case(digest)
}

async fn add(cx: &Context, client: &Client, add: AddDriver) -> Result<(), Failure> {
    let placed = placed(cx, client, &add).await?;
    let new = NewDriver {
        path: placed.path,
        digest: placed.digest,
        grants: given(add.grants),
        config: Some(map(&add.config)).filter(|config| !config.is_empty()),
        replace: add.replace,
        at_once: add.at_once,
        untested: add.untested,
    };
    let added_now = client.add_driver(&new).await;
    let driver = added_now.map_err(|err| match &placed.fetched {
        Some(from) => Failure::from(err).about(from),
        None => Failure::from(err),
    })?;
    cx.out.write(&cx.out.one(&driver, &driver.name, || added(&driver))?)
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, command: DriverCommand) -> Result<(), Failure> {
    let client = cx.client()?;
    match command {
        DriverCommand::Add(new) => add(cx, &client, *new).await,
        DriverCommand::List(watch) => {
            watch::run(cx, &watch, async || cx.out.rows(&client.drivers().await?)).await
        }
        DriverCommand::Show { driver } => {
            let driver = client.driver(&driver).await?;
            cx.out.write(&cx.out.one(&driver, &driver.name, || page(cx, &driver))?)
        }
        DriverCommand::BindRules { driver, rules } => {
            let driver = client.bind_rules(&driver, &rules).await?;
            cx.out.write(&cx.out.one(&driver, &driver.name, || {
                format!("driver {}: the rules of {rules} count\n", driver.name)
            })?)
        }
        DriverCommand::UnbindRules { driver } => {
            client
                .unbind_rules(&driver)
                .await
                .map_err(|err| Failure::from(err).about(&format!("driver {driver}")))?;
            cx.out.line(&if cx.out.for_people() {
                format!("driver {driver}: no rules are bound any more")
            } else {
                driver
            })
        }
        DriverCommand::Rollback { driver } => {
            let driver = client.roll_driver_back(&driver).await?;
            cx.out.write(&cx.out.one(&driver, &driver.name, || {
                format!("driver {} {}: in place again\n", driver.name, driver.version)
            })?)
        }
        DriverCommand::Secrets(command) => secret::of_driver(cx, &client, command).await,
        DriverCommand::Remove { drivers } => {
            remove_each(cx, "driver", &drivers, |name| {
                let client = client.clone();
                async move { client.remove_driver(&name).await }
            })
            .await
        }
    }
}
