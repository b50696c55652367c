//! Words of other tools, which people type who know virsh, qm, onevm, kubectl or a cloud.
//!
//! A word that means the same here is an alias of the command. A word that has another meaning
//! here, or none, is answered from the table below. Only words that are not in the table are
//! answered by their spelling. By spelling alone, `destroy`, which powers a VM off in virsh, would
//! be answered with `deploy`.

use crate::{Cli, Failure};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory};
use std::ffi::OsString;

/// Words after one command, and the answer to them.
struct Tip {
    /// The command that the words were typed after. Empty: `ostler` itself.
    behind: &'static str,
    words: &'static [&'static str],
    tip: &'static str,
}

const fn tip(behind: &'static str, words: &'static [&'static str], tip: &'static str) -> Tip {
    Tip { behind, words, tip }
}

/// The table. A command that destroys something is only named together with what it destroys.
const TIPS: &[Tip] = &[
    tip(
        "vm",
        &["destroy", "kill", "force-stop"],
        "`ostler vm poweroff --hard VM` pulls the plug and keeps the VM; `ostler vm delete VM` DELETES it with its disks",
    ),
    tip(
        "vm",
        &["terminate", "decommission"],
        "`ostler vm poweroff VM` powers off and keeps the VM; `ostler vm shutdown VM` powers off and DELETES it with its disks",
    ),
    tip(
        "vm",
        &["undefine", "unregister"],
        "`ostler vm undeploy VM` takes it off its host and keeps it; `ostler vm delete VM` DELETES it with its disks",
    ),
    tip(
        "vm",
        &["purge", "drop", "erase", "end"],
        "`ostler vm delete VM` DELETES it with its disks; `ostler vm undeploy VM` takes it off its host and keeps it",
    ),
    tip(
        "vm",
        &["off", "halt", "down", "power", "acpi-shutdown", "turn-off"],
        "`ostler vm poweroff VM` powers off and keeps its disks",
    ),
    tip("vm", &["on", "up", "power-on", "poweron", "run", "turn-on"], "`ostler vm start VM`"),
    tip(
        "vm",
        &["pause", "freeze", "sleep", "hibernate", "save", "managedsave"],
        "`ostler vm suspend VM` saves its memory to a file, `resume` has it go on; it is never paused with its memory in place",
    ),
    tip(
        "vm",
        &["unpause", "restore", "wake", "wakeup", "continue", "unsuspend"],
        "`ostler vm resume VM`",
    ),
    tip(
        "vm",
        &[
            "console",
            "serial",
            "tty",
            "attach",
            "ssh",
            "vnc",
            "viewer",
            "display",
            "vncdisplay",
            "spice",
            "exec",
            "enter",
            "monitor",
        ],
        "`ostler vm console-log -f VM` shows what its serial console prints; to type into it use the hypervisor's own tool on its host \
         (`virsh console DOMAIN`), `ostler vm show VM` names both",
    ),
    tip(
        "vm",
        &["edit", "set", "modify", "change", "configure", "config", "patch", "update-spec"],
        "`ostler vm resize` changes CPUs and memory, `disk-attach` and `nic-attach` add to it, `rename` its name, `update` its user data; \
         the rest is fixed when it is created",
    ),
    tip(
        "vm",
        &["setmem", "setmaxmem", "setvcpus", "scale", "memory", "cpu", "vcpus"],
        "`ostler vm resize VM --vcpus 4 --memory 2GiB`",
    ),
    tip(
        "vm",
        &["clone", "copy", "cp", "duplicate", "template", "save-as", "saveas"],
        "`ostler vm disk-snapshot VM DISK IMAGE --live` makes an image of a disk; create the other VM from that image",
    ),
    tip(
        "vm",
        &["ip", "ips", "address", "addresses", "addr", "domifaddr", "net", "network"],
        "Ostler does not learn the addresses of guests; `ostler vm show VM` has the MAC of each network card to look up where addresses \
         are given out (DHCP)",
    ),
    tip(
        "vm",
        &["new", "launch", "define", "apply", "instantiate", "deploy-from", "create-vm"],
        "`ostler vm create -f FILE`; `ostler help spec` shows such a file",
    ),
    tip(
        "vm",
        &["adopt", "import", "register"],
        "`ostler host adopt HOST DOMAIN` makes a domain that is there a VM",
    ),
    tip(
        "vm",
        &["detach-disk", "disk-remove", "disk-rm", "disk-delete", "detach-volume", "unplug"],
        "`ostler vm disk-detach VM DISK` unplugs a disk and DELETES it; `ostler vm disk-snapshot VM DISK IMAGE --live` saves it as an \
         image first",
    ),
    tip(
        "vm",
        &["disk-add", "attach-volume", "add-disk", "plug"],
        "`ostler vm disk-attach VM --blank 1GiB` (or --image, --swap)",
    ),
    tip(
        "vm",
        &["disk-resize", "resize-disk", "blockresize", "grow", "extend"],
        "a disk keeps the size it was made with; `ostler vm disk-attach VM --blank 10GiB` adds another one",
    ),
    tip(
        "vm",
        &["nic-add", "add-nic", "nic-remove", "nic-delete", "nic-rm"],
        "`ostler vm nic-attach VM --bridge BRIDGE`, `ostler vm nic-detach VM MAC`",
    ),
    tip(
        "vm",
        &["snapshot", "snap", "checkpoint", "snapshot-create-as", "take-snapshot"],
        "`ostler vm snapshot-create VM [LABEL]`; `ostler vm snapshots VM` lists them",
    ),
    tip(
        "vm",
        &["rollback", "revert", "snapshot-rollback"],
        "`ostler vm snapshot-revert VM SNAPSHOT`; `ostler vm snapshots VM` lists them",
    ),
    tip(
        "vm",
        &["status", "state", "domstate", "health", "explain", "events", "history"],
        "`ostler vm why VM` says what it waits for, `ostler vm show VM` everything, `ostler event watch --vm VM` what happens to it",
    ),
    tip(
        "vm",
        &["dumpxml", "xml", "yaml", "json", "dump", "export"],
        "`ostler vm show VM -o yaml` (or json)",
    ),
    tip(
        "vm",
        &["stats", "domstats", "usage", "metrics", "counters"],
        "`ostler vm show VM` has what it uses, `ostler vm top` what is going on",
    ),
    tip("vm", &["operations", "jobs", "tasks", "op", "ops"], "`ostler operation list VM`"),
    tip(
        "vm",
        &["watch"],
        "`ostler vm list --watch`, `ostler vm show VM --watch`, `ostler event watch --vm VM`",
    ),
    tip(
        "vm",
        &["wait"],
        "verbs wait by themselves; `ostler operation show ID --wait` waits for one that was asked for before",
    ),
    tip(
        "vm",
        &["cancel", "abort", "stop-operation", "unlock"],
        "an operation goes on until it ends; `ostler vm why VM` says what can be asked for meanwhile (a --hard verb overtakes a soft one)",
    ),
    tip(
        "vm",
        &["retry", "undo", "repair", "fix"],
        "`ostler vm recover VM --retry` (or --undo) for a VM that failed; `ostler vm why VM` says what is possible",
    ),
    tip(
        "vm",
        &["label", "tag", "labels", "annotate"],
        "labels are given in the file a VM is created from, and stay",
    ),
    tip(
        "vm",
        &["autostart", "ha"],
        "a VM that was off stays off after its host was; `ostler vm start VM` starts it",
    ),
    tip(
        "vm",
        &["mv", "evacuate", "relocate"],
        "`ostler vm migrate VM HOST` moves it, `ostler vm resched VM` has the scheduler choose; `ostler vm rename VM NEW` changes its name",
    ),
    tip("vm", &["cron", "plan", "at"], "`ostler vm schedule VM VERB --at 'daily 02:00'`"),
    tip(
        "host",
        &["evacuate", "maintenance", "maint", "maintain", "flush", "empty"],
        "`ostler host draining HOST` places nothing more there; `ostler vm list --host HOST -o name | xargs ostler vm resched` has its VMs \
         moved",
    ),
    tip(
        "host",
        &["offline", "down", "stop"],
        "`ostler host off HOST` leaves it alone; `ostler host draining HOST` only places nothing more there",
    ),
    tip("host", &["up", "online", "start", "resume", "activate"], "`ostler host on HOST`"),
    tip(
        "host",
        &["edit", "set", "modify", "update", "label", "config", "configure"],
        "`ostler host change HOST --label KEY=VALUE --set KEY=VALUE`",
    ),
    tip(
        "host",
        &["import", "wild", "domains", "zombies"],
        "`ostler host show HOST` lists wild domains and zombies; `ostler host adopt HOST DOMAIN` makes a wild one a VM",
    ),
    tip("host", &["vms"], "`ostler vm list --host HOST`"),
    tip(
        "image",
        &["upload", "import", "pull", "download", "push", "build"],
        "put the file into the directory of an image datastore, then `ostler image add NAME --path DATASTORE:FILE`",
    ),
    tip(
        "image",
        &["edit", "set", "resize", "clone", "rename"],
        "an image stays as it was added; add another one",
    ),
    tip(
        "datastore",
        &["edit", "set", "change", "update", "rename"],
        "a datastore stays as it was added; remove it while nothing uses it and add it anew",
    ),
    tip(
        "driver",
        &["reload", "upgrade", "update"],
        "`ostler driver add FILE --replace` puts a driver in the place of the one of the same name",
    ),
    tip(
        "operation",
        &["cancel", "abort", "kill", "stop", "delete"],
        "an operation goes on until it ends; `ostler vm why VM` says what can be asked for meanwhile",
    ),
    tip(
        "operation",
        &["retry", "undo", "recover"],
        "`ostler vm recover VM --retry` (or --undo) for a VM that failed",
    ),
    tip("operation", &["wait", "watch", "follow"], "`ostler operation show ID --wait`, or --watch"),
    tip(
        "event",
        &["list", "ls", "show", "get", "log"],
        "`ostler event watch --after 0` prints all that are kept and goes on",
    ),
    tip("admin", &["restore"], "on a stopped daemon: `ostlerd --data-dir DIR --restore FILE`"),
    tip(
        "admin",
        &["fsck", "verify", "doctor", "health", "status"],
        "`ostler admin check`; `ostler version` says whether the daemon answers",
    ),
    tip("", &["node", "nodes", "server", "servers", "hypervisor", "hypervisors"], "`ostler host`"),
    tip(
        "",
        &["storage", "pool", "pools", "volume", "volumes", "disk", "disks"],
        "`ostler datastore` and `ostler image`; disks belong to VMs: `ostler vm disk-attach`",
    ),
    tip(
        "",
        &["network", "networks", "net", "vnet", "bridge"],
        "a network card names a bridge of its host: `ostler vm nic-attach VM --bridge BRIDGE`; Ostler does not manage networks",
    ),
    tip(
        "",
        &["user", "users", "group", "groups", "acl", "login", "role", "quota"],
        "there are tokens only, which may everything or read: `ostler token`",
    ),
    tip("", &["backup"], "`ostler admin backup FILE`"),
    tip(
        "",
        &["status", "info", "ping", "health"],
        "`ostler version` says whether the daemon answers, `ostler vm top` what is going on, `ostler admin check` whether the books add up",
    ),
    tip("", &["task", "tasks", "job", "jobs"], "`ostler operation`"),
    tip("", &["ps"], "`ostler vm list`"),
    tip(
        "",
        &["instance", "instances", "guest", "guests", "domain", "domains", "machine", "machines"],
        "`ostler vm`",
    ),
];

/// The failure for a word that is no command. None if the command line is wrong in another way.
#[must_use]
pub fn no_such_command(error: &clap::Error, typed: &[OsString]) -> Option<Failure> {
    let (ErrorKind::InvalidSubcommand, Some(ContextValue::String(word))) =
        (error.kind(), error.get(ContextKind::InvalidSubcommand))
    else {
        return None;
    };
    let root = built();
    let at = reached(&root, typed, word);
    Some(unknown(&root, at, word))
}

/// All commands, with their aliases.
fn built() -> Command {
    let mut root = Cli::command();
    root.build();
    root
}

/// The command that `word` was typed after.
fn reached<'a>(root: &'a Command, typed: &[OsString], word: &str) -> &'a Command {
    let mut at = root;
    for part in
        typed.iter().skip(1).filter_map(|part| part.to_str()).take_while(|part| *part != word)
    {
        at = at.find_subcommand(part).unwrap_or(at);
    }
    at
}

/// The failure for a word that is no command after `at`. It suggests a command by meaning first,
/// then by spelling.
pub(crate) fn unknown(root: &Command, at: &Command, word: &str) -> Failure {
    let name = if at.get_name() == root.get_name() { "" } else { at.get_name() };
    let failure = Failure::usage(format!("unrecognized subcommand '{word}'"));
    if let Some(tip) = meant(name, word) {
        return failure.hint(tip);
    }
    let vm = root.find_subcommand("vm").filter(|_| name.is_empty());
    if let Some(verb) =
        vm.and_then(|vm| vm.find_subcommand(word)).filter(|verb| verb.get_name() != "help")
    {
        return failure.hint(format!("`ostler vm {}`", verb.get_name()));
    }
    let known =
        at.get_subcommands().filter(|command| !command.is_hide_set()).map(Command::get_name);
    let path = if name.is_empty() { "ostler".to_owned() } else { format!("ostler {name}") };
    failure.hint(match ostler_api::nearest(word, known).filter(|near| alike(near, word)) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("`{path} --help` lists what there is"),
    })
}

/// The tip for a word of other tools.
fn meant(behind: &str, word: &str) -> Option<&'static str> {
    let word = word.to_ascii_lowercase();
    TIPS.iter()
        .find(|tip| tip.behind == behind && tip.words.contains(&word.as_str()))
        .map(|tip| tip.tip)
}

/// Whether one word is probably the other one misspelt: at most two letters of each are not in the
/// other.
fn alike(known: &str, word: &str) -> bool {
    let missing = |a: &str, b: &str| {
        let mut left: Vec<char> = b.chars().collect();
        a.chars()
            .filter(|c| left.iter().position(|d| d == c).map(|at| left.swap_remove(at)).is_none())
            .count()
    };
    missing(known, word) <= 2 && missing(word, known) <= 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    /// The hint that the command prints for this line.
    fn told(line: &str) -> String {
        let typed: Vec<OsString> =
            ["ostler"].into_iter().chain(line.split(' ')).map(OsString::from).collect();
        let error = Cli::try_parse_from(&typed).expect_err(line);
        let failure = no_such_command(&error, &typed).unwrap_or_else(|| panic!("{line}: {error}"));
        assert_eq!(failure.exit, crate::Exit::Usage);
        failure.hint.unwrap_or_else(|| panic!("{line}: no hint"))
    }

    #[test]
    fn words_that_mean_something_else_are_answered_by_meaning() {
        for (line, tip) in [
            ("vm destroy web", "`ostler vm poweroff --hard VM` pulls the plug"),
            ("vm undefine web", "`ostler vm undeploy VM`"),
            ("vm pause web", "`ostler vm suspend VM`"),
            ("vm terminate web", "`ostler vm poweroff VM`"),
            ("vm console web", "`ostler vm console-log -f VM`"),
            ("vm edit web", "`ostler vm resize`"),
            ("vm clone web", "`ostler vm disk-snapshot"),
            ("vm ip web", "MAC"),
            ("vm detach-disk web vdb", "DELETES"),
            ("vm PAUSE web", "`ostler vm suspend VM`"),
            ("--server unix:/x vm ip", "MAC"),
            ("host evacuate h1", "`ostler host draining HOST`"),
            ("hosts maintenance h1", "`ostler host draining HOST`"),
            ("networks", "bridge"),
            // A verb of VMs that was typed without `vm`.
            ("migrate web h2", "`ostler vm migrate`"),
            ("start web", "`ostler vm start`"),
            ("ls", "`ostler vm list`"),
            // Words that are only misspelt.
            ("vm suspned web", "did you mean suspend?"),
            ("vm lsit", "did you mean list?"),
            ("hsot list", "did you mean host?"),
            ("vm dance web", "`ostler vm --help`"),
        ] {
            assert!(told(line).contains(tip), "{line}: {}", told(line));
        }
        assert!(!told("vm destroy web").contains("deploy"));
    }

    #[test]
    fn every_tip_is_reached_and_names_commands_that_there_are() {
        let root = built();
        for tip in TIPS {
            let at = if tip.behind.is_empty() {
                &root
            } else {
                root.find_subcommand(tip.behind).expect(tip.behind)
            };
            for word in tip.words {
                assert!(
                    at.find_subcommand(word).is_none(),
                    "{} {word} is a command: it is never tipped",
                    tip.behind
                );
                assert_eq!(
                    unknown(&root, at, word).hint.as_deref(),
                    Some(tip.tip),
                    "{} {word} is tipped twice",
                    tip.behind
                );
            }
            for line in tip
                .tip
                .split('`')
                .skip(1)
                .step_by(2)
                .filter_map(|line| line.strip_prefix("ostler "))
            {
                let mut command = &root;
                for part in line
                    .split(' ')
                    .take_while(|part| part.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
                {
                    if command.has_subcommands() {
                        command = command
                            .find_subcommand(part)
                            .unwrap_or_else(|| panic!("{line}: no {part}"));
                    }
                }
            }
        }
    }

    #[test]
    fn what_destroys_is_only_told_with_what_it_destroys() {
        for tip in TIPS {
            for destroys in ["`ostler vm delete", "`ostler vm shutdown", "`ostler vm disk-detach"] {
                assert!(!tip.tip.contains(destroys) || tip.tip.contains("DELETES"), "{}", tip.tip);
            }
        }
    }

    #[test]
    fn words_that_mean_the_same_are_the_command() {
        let meant = |line: &str| {
            let typed = ["ostler"].into_iter().chain(line.split(' '));
            let cli = Cli::try_parse_from(typed).unwrap_or_else(|err| panic!("{line}: {err}"));
            format!("{:?}", cli.command)
        };
        for (typed, same) in [
            ("vm ls", "vm list"),
            ("vm info 7", "vm show 7"),
            ("vm get 7", "vm show 7"),
            ("vm describe 7", "vm show 7"),
            ("vm rm 7", "vm delete 7"),
            ("vm log 7", "vm console-log 7"),
            ("vm logs -f 7", "vm console-log -f 7"),
            ("vm attach-disk 7 --blank 1GiB", "vm disk-attach 7 --blank 1GiB"),
            ("vm snapshot-list 7", "vm snapshots 7"),
            ("vm save-disk-as 7 vda golden", "vm disk-snapshot 7 vda golden"),
            ("host drain h1", "host draining h1"),
            ("host cordon h1", "host draining h1"),
            ("host disable h1", "host draining h1"),
            ("host uncordon h1", "host on h1"),
            ("host rm h1", "host remove h1"),
            ("ds ls", "datastore list"),
            ("events --vm web", "event --vm web"),
            ("event tail --vm web", "event watch --vm web"),
            ("op ls web", "operation list web"),
            ("token revoke bob", "token remove bob"),
        ] {
            assert_eq!(meant(typed), meant(same), "{typed}");
        }
    }
}
