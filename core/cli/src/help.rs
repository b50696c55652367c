//! `ostler help`: help on commands, and on topics that belong to no command.

use crate::context::Context;
use crate::{Cli, Exit, Failure};
use clap::{Args, CommandFactory};
use std::fmt::Write as _;

/// Selects the topic.
#[derive(Debug, Args)]
pub struct HelpArgs {
    /// A command (`vm create`), or spec, words, exit-codes, environment, output
    topic: Vec<String>,
}

const ENVIRONMENT: &str = "\
OSTLER_SERVER      where the daemon listens, as --server: unix:/PATH or http://ADDRESS:PORT
OSTLER_TOKEN_FILE  the file that holds the token, as --token-file
OSTLER_TOKEN       the token itself, if there is no file
OSTLER_DATA_DIR    the daemon's data directory, where its socket is looked for
                   [default: /var/lib/ostler for root, ~/.local/state/ostler for others]
NO_COLOR           no colours; there are none anyway where no person looks
";

/// A specification with every field. A test reads it.
const SPEC: &str = "\
# Everything a VM can be. Only `name` and `memory` are needed; what is left out has the meaning that is told.
# The same as YAML or JSON does as well: ostler vm create -f FILE

name = \"web-1\"                   # letters, digits, . _ -; need not be unique
memory = \"2GiB\"                  # MiB, GiB, TiB
vcpus = 2                         # virtual CPUs the guest sees [cpu, rounded up]
cpu = 0.5                         # CPUs reserved on the host [vcpus]
host = \"kvm1\"                    # the one host it may be placed on [any]
graphics = \"none\"                # none or vnc
labels = { role = \"web\" }        # free words
user_data = \"...\"                # kept and shown; no guest is handed it yet

[headroom]                        # how far it may grow while it runs [not at all]
vcpus = 4
memory = \"4GiB\"

[boot]                            # [the first disk]
firmware = \"bios\"                # bios or uefi
kernel = \"images:vmlinux\"        # DATASTORE:PATH of a kernel to boot directly
initrd = \"images:initrd.img\"
cmdline = \"console=ttyS0\"

[[disks]]                         # each has one of image, size and swap
name = \"vda\"                     # also its target device
image = \"debian\"                 # copy on write of this image

[[disks]]
name = \"vdb\"
size = \"10GiB\"                   # empty
format = \"qcow2\"                 # qcow2 or raw [qcow2; raw for swap]
read_only = false

[[disks]]
name = \"vdc\"
swap = \"1GiB\"                    # formatted as swap space

[[nics]]
bridge = \"br0\"                   # a bridge of the host
mac = \"52:54:00:12:34:56\"        # [chosen, and stable then]

[patience]                        # [the daemon's]
shutdown = \"2m\"                  # for the guest to obey the power button
hypervisor = \"90s\"               # for the hypervisor to answer any other call
transfer = \"1h\"                  # for one disk to be brought or taken away
boot_grace = \"10s\"               # the power button is not pressed before the guest has run so long
";

const OUTPUT: &str = "\
-o table  for people (the default)
-o wide   the same with more columns
-o json   as the API says it; lists are arrays, `event watch` prints one event a line
-o yaml   the same as YAML
-o name   what other commands take, one a line: ids of VMs and operations, names of everything else

Results go to standard output; what goes wrong, hints and progress go to standard error.
Verbs answer one entry for each VM: {\"vm\": as typed, \"exit\": its code, \"reply\" or \"plan\" or \"error\"}.
";

/// Explains words of tables and messages.
const WORDS: &str = "\
Ids            each VM, host, datastore and image has one. Hosts, datastores and images have numbers of their own kind, which may skip:
               a first host need not be 1. Names do as well everywhere
domain         a VM as its hypervisor knows it
wild           a domain that Ostler did not make: never touched; `ostler host adopt` makes it a VM
zombie         a domain of Ostler's that should not be there: its VM is done, or has moved on. Destroyed when that is certain
generation     a number that each placement of a VM gets; a host never acts for an older one
operation      something that was asked of a VM, made of steps; a VM has at most one at a time
REACHED        whether the host answered when it was asked last
CPUS, MEMORY   of a host: reserved by its VMs, of all it offers
SHARED         of a datastore: `shared`: all hosts see the same files; `per host`: each has files of its own
USED BY        how many disks of VMs stand on an image
OFFERED        whether a snapshot can be gone back to. `no`: it is there, but the rules say that it does not fit any more,
               or a disk that it has was detached, and so deleted
BECOMES        the image that a disk is saved as when the VM is shut down
prolog, epilog a VM's files are being brought to its host, or away from it
stop           saves memory and disks off the host; `poweroff` powers off; `suspend` saves memory and stays on the host
undeploy       powers off and brings the disks off the host
shutdown       powers off and DELETES the VM with its disks
[code]         behind an error: stable, to search for in the documentation and to act on in scripts

Words of other tools do as well: ls, info, get, describe, rm, start, reset, restart, log, drain, cordon, ds, events, ...
";

fn exit_codes() -> String {
    let mut text = String::new();
    for (exit, about) in Exit::ALL {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}  {about}", exit as u8);
    }
    text += "101  Cargo could not build a driver; the number is its own.\n";
    text + "130  A wait was interrupted (Ctrl-C): what was asked goes on.\n\nWith several VMs it \
            is the highest of all.\n"
}

/// Prints the help.
pub(crate) fn run(cx: &Context, args: &HelpArgs) -> Result<(), Failure> {
    let topic: Vec<&str> = args.topic.iter().map(String::as_str).collect();
    match topic.as_slice() {
        ["spec"] => cx.out.write(SPEC),
        ["words"] => cx.out.write(WORDS),
        ["exit-codes"] => cx.out.write(&exit_codes()),
        ["environment"] => cx.out.write(ENVIRONMENT),
        ["output"] => cx.out.write(OUTPUT),
        path => cx.out.write(&command_help(path)?),
    }
}

fn command_help(path: &[&str]) -> Result<String, Failure> {
    let mut command = Cli::command();
    command.build();
    let root = command.clone();
    for name in path {
        let Some(sub) = command.find_subcommand(name) else {
            return Err(crate::tips::unknown(&root, &command, name));
        };
        command = sub.clone();
    }
    Ok(command.render_long_help().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specification_shown_is_one_and_has_everything() {
        let value: serde_json::Value = toml::from_str(SPEC).expect("TOML");
        ostler_api::decode::<ostler_api::VmSpec>(value.clone()).expect("a specification");
        // The error of serde for an unknown field names all known fields.
        let all = serde_json::from_value::<ostler_api::VmSpec>(serde_json::json!({ "nothing": 1 }))
            .expect_err("unknown")
            .to_string();
        for field in all.split('`').skip(3).step_by(2) {
            assert!(!value[field].is_null(), "{field} is not shown");
        }
    }

    #[test]
    fn help_finds_commands_and_says_what_there_is() {
        assert!(command_help(&["vm", "create"]).expect("a command").contains("--hold"));
        assert_eq!(
            command_help(&["vm", "craete"]).expect_err("misspelt").hint.as_deref(),
            Some("did you mean create?")
        );
        assert!(exit_codes().contains("7  It did not end"));
    }
}
