//! The `ostler` command: the command line, and what it prints.
//!
//! **Invariant:** everything that is done to VMs goes through `ostler-api`: this crate uses only
//! the types and codes of the HTTP API. `ostler plugin` works on files, through `ostler-testkit`;
//! `shipping` alone asks registries and web servers.
//!
//! ```text
//!   args (clap) -> one module a resource
//!                    -> client (ostler-api), with `retry` around what may be sent twice
//!                    -> `show`: rows and pages -> `out`: table, json, yaml or names on stdout
//!   Failure -> standard error, with a hint -> Exit: the exit code
//!   `tips`: the answers to words of other tools
//! ```

mod admin;
mod advice;
mod args;
mod building;
mod complete;
mod context;
mod cpus;
mod datastore;
mod driver;
mod embedding;
mod event;
mod exit;
mod failure;
mod help;
mod host;
mod image;
mod inspection;
mod operation;
mod out;
mod pairs;
mod plugin;
mod range;
mod retry;
mod secret;
mod shipping;
mod show;
mod signing;
mod specfile;
mod table;
mod text;
mod tips;
mod token;
mod version;
mod vm;
mod watch;

pub use args::{Cli, Command, Global};
pub use exit::Exit;
pub use failure::Failure;
pub use tips::no_such_command;

use context::Context;

/// Runs the command that was typed, and prints its result.
///
/// # Errors
/// The failure, with the exit code that belongs to it.
pub async fn run(cli: Cli) -> Result<(), Failure> {
    let cx = Context::new(&cli.global)?;
    match cli.command {
        Command::Vm(vm) => vm::run(&cx, vm).await,
        Command::Host(host) => host::run(&cx, host).await,
        Command::Datastore(datastore) => datastore::run(&cx, datastore).await,
        Command::Image(image) => image::run(&cx, image).await,
        Command::Driver(driver) => driver::run(&cx, driver).await,
        Command::Operation(operation) => operation::run(&cx, operation).await,
        Command::Event(event) => event::run(&cx, event).await,
        Command::Token(token) => token::run(&cx, token).await,
        Command::Admin(admin) => admin::run(&cx, admin).await,
        Command::Plugin(plugin) => plugin::run(&cx, plugin).await,
        Command::Completion(shell) => complete::run(&cx, &shell),
        Command::Version => version::run(&cx).await,
        Command::Help(topic) => help::run(&cx, &topic),
    }
}
