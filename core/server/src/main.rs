//! `ostlerd`: the daemon.
//!
//! Exit codes: 0 it was told to end; 1 something failed; 2 the flags or the configuration are
//! wrong; 3 another daemon has the store.

#![deny(clippy::wildcard_enum_match_arm)]

use anyhow::Context;
use clap::Parser;
use ostler_server::{Config, DaemonError, DriverConfig, Log, PolicyWord, Ready};
use ostler_store::{BackupError, EPOCH_MAX, OpenError, Unreadable};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use strum::VariantNames;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{Directive, LevelFilter, ParseError};

/// Many small tasks on several threads come and go: with this allocator the daemon needs a fifth
/// less CPU than with the C library's, and memory that is free again goes back to the system.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const IN_USE: u8 = 3;
/// After the engine has ended, the process waits at most this long for work on blocking threads.
const END_WAIT: Duration = Duration::from_secs(2);

/// Keeps guests on any host: the daemon.
#[derive(Debug, Parser)]
#[command(name = "ostlerd", version, about)]
struct Flags {
    /// A configuration file (TOML); flags come before it
    #[arg(long, env = "OSTLERD_CONFIG")]
    config: Option<PathBuf>,
    /// Where the store, the socket and the caches are
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Where the API listens: ADDRESS:PORT, or off [default: 127.0.0.1:7480]
    #[arg(long)]
    listen: Option<String>,
    /// Allow --listen to be an address that other machines reach; there is no TLS
    #[arg(long)]
    listen_anywhere: bool,
    /// The unix socket [default: ostler.sock in the data directory]
    #[arg(long)]
    socket: Option<PathBuf>,
    /// Load every *.wasm in this directory
    #[arg(long)]
    plugin_dir: Option<PathBuf>,
    /// What a driver of the plugin directory may do: NAME=all, or NAME=files,exec:COMMAND
    #[arg(long = "grant", value_name = "NAME=WHAT", value_parser = grant)]
    grants: Vec<(String, Vec<String>)>,
    /// Whose snapshot rules count for a hypervisor driver: HYPERVISOR=RULES
    #[arg(long = "rules", value_name = "HYPERVISOR=RULES", value_parser = pair)]
    rules: Vec<(String, String)>,
    /// Which drivers may be loaded: all (none), those that a trusted key has signed, or those whose
    /// SHA-256 is listed (pinned) [default: none]
    #[arg(long, value_name = "POLICY", value_parser = policy)]
    trust: Option<PolicyWord>,
    /// A key whose signatures count: NAME=RW..., or NAME=/ABSOLUTE/FILE.pub
    #[arg(long = "trust-key", value_name = "NAME=KEY", value_parser = pair)]
    trust_keys: Vec<(String, String)>,
    /// The SHA-256 of a driver that may be loaded under --trust pinned
    #[arg(long = "pin", value_name = "SHA256")]
    pins: Vec<String>,
    /// Take charge of the store with at least this epoch. Only if a host says that it has seen a
    /// higher one, and no other daemon acts for this store
    #[arg(long, value_name = "NUMBER")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=EPOCH_MAX.0))]
    epoch: Option<u64>,
    /// The folder in which each host keeps the highest epoch that it has seen [default:
    /// /var/lib/ostler/epochs]
    #[arg(long, value_name = "FOLDER")]
    epochs: Option<PathBuf>,
    /// What is logged: error, warn, info, debug, or a filter such as ostler_engine=debug
    #[arg(long, env = "OSTLER_LOG", default_value = "info")]
    #[arg(value_delimiter = ',', value_parser = directive)]
    log: Vec<Directive>,
    /// Restore this backup into the data directory, which must have no store, and end
    #[arg(long, value_name = "BACKUP")]
    restore: Option<PathBuf>,
    /// With --restore: leave out VMs whose records this version cannot read; make sure yourself
    /// that no later version starts them
    #[arg(long, requires = "restore")]
    leave_out_unreadable: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (left, right) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((left.to_owned(), right.to_owned()))
}

fn policy(text: &str) -> Result<PolicyWord, String> {
    text.parse().map_err(|_| format!("write {}", PolicyWord::VARIANTS.join(", ")))
}

/// Reads one part of a log filter. A bare word that is not a level is refused: it would count as
/// the name of a crate, and no other crate would be logged.
fn directive(text: &str) -> Result<Directive, String> {
    if !text.contains('=') && text.parse::<LevelFilter>().is_err() {
        return Err("write off, error, warn, info, debug or trace, or CRATE=LEVEL".to_owned());
    }
    text.parse().map_err(|error: ParseError| error.to_string())
}

fn grant(text: &str) -> Result<(String, Vec<String>), String> {
    let (name, what) = pair(text)?;
    Ok((name, what.split(',').map(str::to_owned).collect()))
}

impl Flags {
    fn into_config(self) -> Result<Config, ostler_server::ConfigError> {
        let mut config =
            self.config.as_deref().map_or_else(|| Ok(Config::default()), Config::read)?;
        config.data_dir = self.data_dir.or(config.data_dir);
        config.listen = self.listen.or(config.listen);
        config.listen_anywhere |= self.listen_anywhere;
        config.socket = self.socket.or(config.socket);
        config.plugin_dir = self.plugin_dir.or(config.plugin_dir);
        config.epoch = self.epoch;
        config.commands.epochs = self.epochs.or(config.commands.epochs);
        config.rules.extend(self.rules);
        config.trust.policy = self.trust.or(config.trust.policy);
        config.trust.keys.extend(self.trust_keys);
        config.trust.pinned.extend(self.pins);
        for (name, what) in self.grants {
            let driver: &mut DriverConfig = config.drivers.entry(name).or_default();
            driver.grants.extend(what);
        }
        Ok(config)
    }
}

/// This program, also if its file was replaced by another version since it was started.
const THIS_PROGRAM: &str = "/proc/self/exe";

fn main() -> ExitCode {
    // The daemon starts this program once more for each component that it compiles.
    if let Some(code) = ostler_wasm::serve_as_compiler() {
        return code;
    }
    let flags = Flags::parse();
    let log = match standard_error().and_then(Log::start) {
        Ok(log) => log,
        Err(err) => {
            let _ =
                writeln!(std::io::stderr(), "ostlerd: cannot start a thread for the log: {err}");
            return ExitCode::from(FAILED);
        }
    };
    log.take_panics();
    let filter = flags.log.iter().cloned().fold(EnvFilter::default(), EnvFilter::add_directive);
    // The subscriber reports its own errors with a macro that panics if standard error cannot be
    // written. So these reports are off.
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(log.clone());
    subscriber.with_ansi(false).log_internal_errors(false).init();
    let restore = flags.restore.clone();
    let unreadable =
        if flags.leave_out_unreadable { Unreadable::LeftOut } else { Unreadable::Refused };
    let outcome =
        flags.into_config().map_err(anyhow::Error::from).and_then(|config| match restore {
            Some(backup) => restored(&config, &backup, unreadable),
            None => daemon(Config { compiler: Some(THIS_PROGRAM.into()), ..config }),
        });
    let code = match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            log.line(&format!("ostlerd: {err:#}"));
            ExitCode::from(code_of(&err))
        }
    };
    log.flush();
    code
}

/// Standard error as a separate file for the log. The log's thread may block in a write for ever,
/// and must not hold the lock of `std::io::stderr` then.
fn standard_error() -> std::io::Result<File> {
    std::io::stderr().as_fd().try_clone_to_owned().map(File::from)
}

fn code_of(err: &anyhow::Error) -> u8 {
    match err.downcast_ref::<DaemonError>() {
        Some(DaemonError::Store(OpenError::InUse { .. })) => IN_USE,
        Some(DaemonError::Config(_) | DaemonError::Name(_)) => USAGE,
        None if err.is::<ostler_server::ConfigError>() => USAGE,
        Some(_) | None => FAILED,
    }
}

fn daemon(config: Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start threads")?;
    let ended = runtime.block_on(async {
        let stopping = CancellationToken::new();
        let (mut term, mut int) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let told = stopping.clone();
        tokio::spawn(async move {
            tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
            tracing::info!("told to end");
            told.cancel();
        });
        // On a thread of its own: standard output may be a pipe that nobody reads.
        let announced = |ready| drop(tokio::task::spawn_blocking(move || announce(&ready)));
        ostler_server::run(config, stopping, announced).await?;
        anyhow::Ok(())
    });
    // Threads that compile a component or block in a system call may take [`END_WAIT`] more. After
    // that the process ends without them.
    runtime.shutdown_timeout(END_WAIT);
    ended
}

/// One line on standard output: scripts wait for it and read where the API is.
fn announce(ready: &Ready) {
    let address = ready.address.map(|address| format!(" http://{address}")).unwrap_or_default();
    tell(&format!("ostlerd ready: unix:{}{address}", ready.socket.display()));
}

/// A line on standard output. The reader may have closed its end; that is no reason to stop.
fn tell(line: &str) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Adds the flag or the command that helps. The store does not know flags and commands, so they are
/// named here.
fn not_restored(error: BackupError) -> anyhow::Error {
    let hint = if matches!(error, BackupError::Unreadable { .. }) {
        "not restored (--leave-out-unreadable restores it without these VMs)"
    } else if matches!(error, BackupError::InUse { .. }) {
        "not restored (`ostler admin backup` makes a backup while ostlerd runs)"
    } else {
        return error.into();
    };
    anyhow::Error::from(error).context(hint)
}

fn restored(
    config: &Config,
    backup: &std::path::Path,
    unreadable: Unreadable,
) -> anyhow::Result<()> {
    let dir = config.data_dir();
    ostler_server::private_dir(&dir)
        .with_context(|| format!("cannot keep anything in {}", dir.display()))?;
    let to = dir.join(ostler_server::STORE_FILE);
    let restored = ostler_store::restore(backup, &to, unreadable).map_err(not_restored)?;
    tell(&format!(
        "restored store {} as of event {} to {}",
        restored.id,
        restored.seq,
        to.display()
    ));
    if !restored.mended.is_empty() {
        tell("indexes or books of the backup did not fit its VMs, and were derived anew:");
        restored.mended.iter().for_each(|finding| tell(&format!("  {finding}")));
    }
    if !restored.unreadable.is_empty() {
        tell(
            "these VMs are left out. A version of ostlerd that can read them may start them \
             although they run elsewhere:",
        );
        restored.unreadable.iter().for_each(|finding| tell(&format!("  {finding}")));
    }
    tell(&format!(
        "nothing is done for its {} VMs before every host that is on was listed; once ostlerd \
         runs, `ostler admin restored` tells how far that is",
        restored.vms
    ));
    match restored.held {
        0 => {}
        1 => tell(
            "1 VM was pending and is on hold now; it is pending again once it is known that it \
             runs nowhere",
        ),
        many => tell(&format!(
            "{many} VMs were pending and are on hold now; they are pending again once it is known \
             that they run nowhere"
        )),
    }
    Ok(())
}
