//! `ostler driver secret-...` and `ostler host secret-...`: secrets of drivers. A value comes from a
//! terminal, standard input or a file, and never from the command line, which others can read.

use crate::Failure;
use crate::context::{Context, remove_each};
use crate::out::Row;
use crate::table::Cell;
use clap::{Args, Subcommand};
use ostler_api::{Client, NewSecret, Secret};
use std::io::{self, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

/// The longest value, in bytes, with its line break. The daemon takes 16 KiB.
const VALUE_MAX: u64 = 16 * 1024 + 2;

/// The value of a secret.
#[derive(Debug, Args)]
pub struct ValueArgs {
    /// Read the value from this file, or from standard input if it is -; without this option from
    /// the terminal, or from standard input. A line break at the end is left out
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Secrets of a driver, for all its hosts.
#[derive(Debug, Subcommand)]
pub enum DriverSecretCommand {
    /// Sets a secret of a driver for all its hosts; its next call reads it
    #[command(name = "secret-set")]
    Set {
        /// The driver
        driver: String,
        /// The name of the secret; `driver show` lists those that the driver reads
        name: String,
        #[command(flatten)]
        value: ValueArgs,
    },
    /// Lists the secrets that are set for all hosts of a driver, without their values
    #[command(name = "secret-list")]
    List {
        /// The driver
        driver: String,
    },
    /// Removes secrets of a driver; those of its hosts stay
    #[command(name = "secret-remove")]
    Remove {
        /// The driver
        driver: String,
        /// Names of secrets
        #[arg(required = true)]
        names: Vec<String>,
    },
}

/// Secrets of the driver of one host.
#[derive(Debug, Subcommand)]
pub enum HostSecretCommand {
    /// Sets a secret for one host, before that of its driver; the next call for the host reads it
    #[command(name = "secret-set")]
    Set {
        /// The host: name or id
        host: String,
        /// The name of the secret; `driver show` lists those that its driver reads
        name: String,
        #[command(flatten)]
        value: ValueArgs,
    },
    /// Lists the secrets that are set for one host, without their values
    #[command(name = "secret-list")]
    List {
        /// The host: name or id
        host: String,
    },
    /// Removes secrets of one host; those of its driver count again
    #[command(name = "secret-remove")]
    Remove {
        /// The host: name or id
        host: String,
        /// Names of secrets
        #[arg(required = true)]
        names: Vec<String>,
    },
}

impl Row for Secret {
    const HEADINGS: &'static [&'static str] = &["NAME", "SET"];
    const WIDER: &'static [&'static str] = &[];

    fn cells(&self) -> Vec<Cell> {
        vec![Cell::from(&self.name), self.set.into()]
    }

    fn handle(&self) -> String {
        self.name.clone()
    }
}

/// Reads a value. An error never tells it.
pub(crate) fn value(name: &str, file: Option<&Path>) -> Result<NewSecret, Failure> {
    let from = file.map_or_else(|| "standard input".to_owned(), |path| path.display().to_string());
    let failed = |err: io::Error| Failure::usage(format!("{from}: {err}"));
    let bytes = match file.filter(|path| *path != Path::new("-")) {
        Some(path) => all_of(std::fs::File::open(path).map_err(failed)?).map_err(failed)?,
        None if file.is_none() && io::stdin().is_terminal() => {
            let typed = rpassword::prompt_password(format!("value of the secret {name}: "));
            typed.map_err(failed)?.into_bytes()
        }
        None => all_of(io::stdin().lock()).map_err(failed)?,
    };
    let mut value = String::from_utf8(bytes)
        .map_err(|_| Failure::usage(format!("{from}: the value is no UTF-8 text")))?;
    if value.ends_with('\n') {
        value.truncate(value.len() - if value.ends_with("\r\n") { 2 } else { 1 });
    }
    if value.is_empty() {
        return Err(Failure::usage(format!("{from}: the value is empty"))
            .hint("secret-remove removes a secret"));
    }
    Ok(NewSecret { value })
}

/// All that there is to read, and a byte more than a value may have at most.
fn all_of(from: impl io::Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(VALUE_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn told_set(cx: &Context, of: &str, name: &str) -> Result<(), Failure> {
    let people = || format!("{of}: secret {name}: set");
    cx.out.line(&if cx.out.for_people() { people() } else { name.to_owned() })
}

/// Runs a command of `ostler driver`.
pub(crate) async fn of_driver(
    cx: &Context,
    client: &Client,
    command: DriverSecretCommand,
) -> Result<(), Failure> {
    match command {
        DriverSecretCommand::Set { driver, name, value: given } => {
            let secret = value(&name, given.file.as_deref())?;
            client.set_driver_secret(&driver, &name, &secret).await?;
            told_set(cx, &format!("driver {driver}"), &name)
        }
        DriverSecretCommand::List { driver } => {
            cx.out.write(&cx.out.rows(&client.driver_secrets(&driver).await?)?)
        }
        DriverSecretCommand::Remove { driver, names } => {
            remove_each(cx, "secret", &names, |name| {
                let (client, driver) = (client.clone(), driver.clone());
                async move { client.remove_driver_secret(&driver, &name).await }
            })
            .await
        }
    }
}

/// Runs a command of `ostler host`.
pub(crate) async fn of_host(
    cx: &Context,
    client: &Client,
    command: HostSecretCommand,
) -> Result<(), Failure> {
    match command {
        HostSecretCommand::Set { host, name, value: given } => {
            let secret = value(&name, given.file.as_deref())?;
            client.set_host_secret(&host, &name, &secret).await?;
            told_set(cx, &format!("host {host}"), &name)
        }
        HostSecretCommand::List { host } => {
            cx.out.write(&cx.out.rows(&client.host_secrets(&host).await?)?)
        }
        HostSecretCommand::Remove { host, names } => {
            remove_each(cx, "secret", &names, |name| {
                let (client, host) = (client.clone(), host.clone());
                async move { client.remove_host_secret(&host, &name).await }
            })
            .await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_break_at_the_end_is_left_out_and_no_error_tells_a_value() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("value");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("written");
            value("x", Some(&path))
        };
        for (bytes, expected) in [
            ("hunter2", "hunter2"),
            ("hunter2\n", "hunter2"),
            ("hunter2\r\n", "hunter2"),
            ("hunter2\n\n", "hunter2\n"),
            (" a\nb \n", " a\nb "),
        ] {
            assert_eq!(read(bytes.as_bytes()).expect("read").value, expected);
        }
        for bytes in [&b""[..], b"\n", b"hunter2\xff"] {
            let told = format!("{:?}", read(bytes).expect_err("no value"));
            assert!(!told.contains("hunter2"), "{told}");
        }
        // No more is read than the daemon refuses.
        let much = read(&vec![b'x'; 1 << 20]).expect("read").value;
        assert!(much.len() > 16 * 1024 && much.len() < 17 * 1024);
    }
}
