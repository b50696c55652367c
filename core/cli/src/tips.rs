//! Words of other tools, which people type who know virsh, qm, onevm, kubectl or a cloud.
//!
//! A word that means the same here is an alias of the command. A word that has another meaning
//! here, or none, is answered from [`table`]. Only words that are not in the table are
//! answered by their spelling. By spelling alone, `destroy`, which powers a VM off in virsh, would
//! be answered with `deploy`.

mod table;

use self::table::TIPS;
use crate::{Cli, Failure};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory};
use std::ffi::OsString;

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
