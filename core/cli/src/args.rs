//! The command line as a whole.

use crate::out::Format;
use clap::{Args, Parser, Subcommand};
use ostler_api::Endpoint;
use std::path::PathBuf;

const AFTER: &str = "\
Names or ids everywhere. VMs also as ranges: 1..5 or 1-5, both ends included.
Exit codes: 0 done, 1 refused or failed, 2 usage or input, 3 not found, 4 conflict or busy, 5 not authorised,
            6 daemon not reached, 7 timed out, 8 fault of the daemon. `ostler help exit-codes` says more.";

/// Keeps guests on any host: the command line.
#[derive(Debug, Parser)]
#[command(name = "ostler", version, about, after_help = AFTER)]
#[command(disable_help_subcommand = true, infer_subcommands = false)]
pub struct Cli {
    /// Options of all commands.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of all commands.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Global {
    /// Where the daemon listens, or OSTLER_SERVER: unix:/PATH or http://ADDRESS:PORT [default: the
    /// socket in the data directory]
    #[arg(long, global = true, value_name = "ENDPOINT")]
    pub server: Option<Endpoint>,
    /// The file that holds the token, or OSTLER_TOKEN_FILE, or OSTLER_TOKEN. A unix socket needs
    /// none
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    // The values are not listed one by one, because that would make every page of help twice as
    // long.
    /// How to print: table, wide, json, yaml or name (`ostler help output`)
    #[arg(short, long, global = true, value_name = "FORMAT")]
    #[arg(value_enum, default_value_t = Format::Table, hide_possible_values = true)]
    pub output: Format,
    /// Leave the line of headings out of tables
    #[arg(long, visible_alias = "no-headers", global = true)]
    pub no_header: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// VMs: create, look at, drive
    #[command(subcommand, alias = "vms")]
    Vm(crate::vm::VmCommand),
    /// Hosts: where VMs run
    #[command(subcommand, alias = "hosts")]
    Host(crate::host::HostCommand),
    /// Datastores: where images and disks live
    #[command(subcommand, aliases = ["datastores", "ds"])]
    Datastore(crate::datastore::DatastoreCommand),
    /// Images: disks that VMs are made from
    #[command(subcommand, alias = "images")]
    Image(crate::image::ImageCommand),
    /// Drivers: what is loaded, what it may do, how it fares
    #[command(subcommand, alias = "drivers")]
    Driver(crate::driver::DriverCommand),
    /// Operations: things asked for, and how far they are
    #[command(subcommand, aliases = ["operations", "op", "ops"])]
    Operation(crate::operation::OperationCommand),
    /// Events: every committed change, as it happens
    #[command(alias = "events")]
    Event(crate::event::EventArgs),
    /// Tokens: who may use the API over TCP
    #[command(subcommand, alias = "tokens")]
    Token(crate::token::TokenCommand),
    /// Looks after the daemon
    #[command(subcommand)]
    Admin(crate::admin::AdminCommand),
    /// Writes and tries drivers; needs no daemon
    #[command(subcommand)]
    Plugin(crate::plugin::PluginCommand),
    /// Prints completions for a shell
    Completion(crate::complete::CompletionArgs),
    /// Prints the versions of this command and of the daemon
    Version,
    /// Prints help on a command or a topic (spec, words, exit-codes, environment, output)
    Help(crate::help::HelpArgs),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_says_what_it_does() {
        fn look(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            assert!(command.get_about().is_some(), "{path}");
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{path}: {}", arg.get_id());
            }
            command.get_subcommands().for_each(|sub| look(sub, &path));
        }
        look(&Cli::command(), "");
    }

    #[test]
    fn every_verb_of_the_api_can_be_typed() {
        let typed = |verb: &str| -> Vec<String> {
            let words: Vec<&str> = match verb {
                "delete-recreate" => vec!["delete", "--recreate"],
                other => match other.strip_suffix("-hard") {
                    Some(soft) => vec![soft, "--hard"],
                    None => vec![other],
                },
            };
            ["ostler", "vm"].into_iter().chain(words).chain(["7"]).map(str::to_owned).collect()
        };
        // The arguments of verbs that cannot be typed with the VM alone.
        let more = |verb: &str| -> &str {
            match verb {
                "resume-cold" => "resume --cold 7",
                "recover-success" => "recover 7 --success --force",
                "recover-failure" => "recover 7 --failure",
                "recover-retry" => "recover 7 --retry",
                "recover-undo" => "recover 7 --undo",
                "migrate" => "migrate 7 h2 --fenced --storage-moved",
                "migrate-live" => "migrate 7 8 h2 --live --enforce",
                "migrate-poweroff" => "migrate 7 h2 --poweroff",
                "migrate-poweroff-hard" => "migrate 7 h2 --poweroff-hard",
                "disk-attach" => "disk-attach 7 --blank 1GiB --name vdb --format raw --read-only",
                "disk-detach" => "disk-detach 7 vdb",
                "nic-attach" => "nic-attach 7 --bridge br0 --mac 52:54:00:12:34:56",
                "nic-detach" => "nic-detach 7 52:54:00:12:34:56",
                "snapshot-create" => "snapshot-create 7 nightly",
                "snapshot-revert" => "snapshot-revert 7 nightly",
                "snapshot-delete" => "snapshot-delete 7 nightly",
                "disk-snapshot" => "disk-snapshot 7 vda golden --datastore images",
                "disk-snapshot-live" => "disk-snapshot 7 vda golden --live",
                "disk-snapshot-cancel" => "disk-snapshot-cancel 7 vda",
                "resize" => "resize 7 --cpu 0.5 --vcpus 2 --memory 1GiB --enforce",
                "update" => "update 7 --user-data /nonexistent",
                "rename" => "rename 7 web",
                "schedule" => "schedule 7 hold --at now",
                "unschedule" => "unschedule 7 3",
                "reschedule" => "reschedule 7 3 --zone UTC",
                "forget" => "forget 7 --force",
                _ => "",
            }
        };
        for info in ostler_api::VERBS {
            let words = match more(info.verb) {
                "" => typed(info.verb),
                line => {
                    ["ostler", "vm"].into_iter().chain(line.split(' ')).map(str::to_owned).collect()
                }
            };
            let cli = Cli::try_parse_from(&words).unwrap_or_else(|err| panic!("{words:?}: {err}"));
            let Command::Vm(command) = cli.command else { panic!("{words:?} is about VMs") };
            assert_eq!(crate::vm::verb_of(&command).as_deref(), Some(info.verb), "{words:?}");
        }
    }
}
