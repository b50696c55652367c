//! Hints of the daemon as commands. The daemon sends a code and what it is about; the commands of
//! this client are made here.

use ostler_api::Advice;

/// The hint as it is said: with a command where there is one, otherwise in the daemon's words.
pub(crate) fn hint(advice: Option<&Advice>, words: Option<&str>) -> Option<String> {
    let known = advice.and_then(command);
    let near = advice.and_then(|advice| advice.near.as_ref()).filter(|_| known.is_some());
    match (near, known) {
        (Some(near), Some(known)) => Some(format!("did you mean {near}? {known}")),
        // The daemon's words have the name already.
        (_, known) => known.or_else(|| words.map(str::to_owned)),
    }
}

/// The hint with the command that does it; none if the daemon's words need no command, or if this
/// client does not know the code.
fn command(advice: &Advice) -> Option<String> {
    let vm = advice.vm.filter(|vm| *vm != 0).map_or_else(|| "VM".to_owned(), |vm| vm.to_string());
    about_vm(&advice.code, &vm).or_else(|| in_general(&advice.code).map(str::to_owned))
}

/// The hints that name the VM.
fn about_vm(code: &str, vm: &str) -> Option<String> {
    Some(match code {
        "wait-or-delete" => format!(
            "wait for it to end: `ostler vm why {vm}` says what it waits for; only delete \
             overtakes it, and that ends the VM"
        ),
        "show-vm" => format!("`ostler vm show {vm}` lists its disks, network cards and snapshots"),
        "see-why" => format!("`ostler vm why {vm}` says what can be done: recover, or delete"),
        "list-schedules" => format!("`ostler vm schedules {vm}` lists them"),
        "accept-record" => format!(
            "restore a newer backup; or make sure that this domain is not the VM, and say so: \
             `ostler admin restored --accept {vm}`"
        ),
        _ => return None,
    })
}

/// The other hints.
fn in_general(code: &str) -> Option<&'static str> {
    Some(match code {
        "wait-or-hard" => "wait for it, or overtake it with a --hard verb",
        "state-arrival" => {
            "it is settled once both are seen; recover --success states that it has arrived, \
             --failure that it has not"
        }
        "list-vms" => "`ostler vm list` shows them",
        "list-operations" => "`ostler operation list VM` shows those of a VM",
        "force-resize" => {
            "a bare number is MiB: write 2GiB for gigabytes; --force takes the memory away all the \
             same"
        }
        "hard-off" => "--hard does not ask it",
        "resume-or-hard-off" => "resume lets it run on; --hard does not ask it",
        "power-off-first" => "power it off first (poweroff --hard), or wait until it is seen again",
        "list-hosts" => "`ostler host list` shows them",
        "list-wild-domains" => "`ostler host show` lists wild domains",
        "empty-host" => "migrate them away with --fenced, or forget them, and ask again",
        "wait-for-sweep" => {
            "what VMs left there will be put away, and then it can be removed without --fenced"
        }
        "show-host" => "see `ostler host show` for what the driver can do there",
        "move-powered-off" => "see `ostler host show`; --poweroff needs less",
        "fence" => {
            "make sure that the host is off, then say so with --fenced; or wait until it is back"
        }
        "move-storage" => {
            "bring them to the same path on the new host, then say so with --storage-moved"
        }
        "move-unfenced" => "move it without --fenced",
        "delete-or-forget" => "delete it; --force forgets it all the same",
        "list-images" => "`ostler image list` shows them",
        "list-datastores" => "`ostler datastore list` shows them",
        "show-datastore" => "`ostler datastore show` tells its directory",
        "list-drivers" => "`ostler driver list` shows them",
        "inspect-driver" => "`ostler plugin inspect FILE` shows what it asks for",
        "name-grants" => {
            "`ostler plugin inspect FILE` shows what they run now; name all grants: --grant"
        }
        "replace-driver" => "to put this one in its place, say so: `ostler driver add --replace`",
        "list-tokens" => "`ostler token list` on the daemon's machine shows them",
        "give-name" => "give it another with --name",
        "accept-changes" => {
            "change it at the hypervisor first, or accept the changes: --accept-changes"
        }
        "add-datastore" => "`ostler datastore add` adds one",
        "list-rules" => "`ostler driver list` shows which rules are bound",
        "bind-rules" => "install rules and bind them: `ostler driver bind-rules`",
        "recover-retry" => "recover --retry sends its step again",
        "retry-or-delete" => "recover --retry goes on, delete goes on and never gives up",
        "retry-or-force" => {
            "recover --retry does it again and verifies; --force takes your word for it"
        }
        "force-recover" => "--force takes your word for it",
        "ask-again-or-force" => "ask again, or --force takes your word for it",
        "force-arrival" => {
            "make sure of it at the other host, then --force takes your word: a VM that runs twice \
             destroys its disks"
        }
        "see-restored" => {
            "`ostler admin restored` tells which hosts are waited for, and how to say that the \
             record is right"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cli;
    use clap::CommandFactory as _;
    use ostler_api::ADVICE;

    fn advice(code: &str) -> Advice {
        Advice { code: code.to_owned(), vm: Some(7), ..Advice::default() }
    }

    /// Codes whose words name no command: the daemon's words are said.
    const PLAIN: &[&str] = &[
        "wait",
        "wait-or-forget",
        "wait-until-seen",
        "ask-again",
        "read-again",
        "wait-or-delete-both",
        "see-arguments",
        "change-request",
        "other-name",
        "give-size",
        "give-address",
        "snapshot-by-name",
        "create-new",
        "works-from",
        "resize-off",
        "deploy",
        "detach-disk",
        "cancel-disk-snapshot",
        "delete-snapshots",
        "set-hardware-back",
        "resume-or-stop",
        "resume-first",
        "keep-on-host",
        "restart-or-delete",
        "name-host",
        "other-host",
        "other-host-or-room",
        "make-bridge",
        "other-host-or-bridge",
        "host-of-same-driver",
        "bring-host-back",
        "bring-back-or-fence",
        "wait-then-move",
        "register-image",
        "image-ready",
        "name-datastore",
        "mend-rules",
        "deploy-and-bind-rules",
        "other-verb",
        "ask-then",
        "change-when",
        "change-plan",
        "unschedule",
        "reschedule",
        "see-misfire",
    ];

    #[test]
    fn every_code_has_a_command_or_needs_none() {
        for code in ADVICE {
            let is_plain = PLAIN.contains(code);
            assert_eq!(command(&advice(code)).is_none(), is_plain, "{code}");
        }
        assert!(PLAIN.iter().all(|code| ADVICE.contains(code)), "a code that there is not");
    }

    #[test]
    fn the_commands_that_are_named_are_commands() {
        let mut root = Cli::command();
        root.build();
        let mut named = 0;
        for text in ADVICE.iter().filter_map(|code| command(&advice(code))) {
            for line in text.split('`').skip(1).step_by(2) {
                let line = line
                    .strip_prefix("ostler ")
                    .unwrap_or_else(|| panic!("{line}: no command of ours"));
                let mut at = &root;
                for part in line
                    .split(' ')
                    .take_while(|part| part.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
                {
                    if at.has_subcommands() {
                        at =
                            at.find_subcommand(part).unwrap_or_else(|| panic!("{line}: no {part}"));
                    } else {
                        let flag =
                            part.strip_prefix("--").unwrap_or_else(|| panic!("{line}: {part}"));
                        assert!(
                            at.get_arguments().any(|arg| arg.get_long() == Some(flag)),
                            "{line}: no --{flag}"
                        );
                    }
                }
                named += 1;
            }
        }
        assert!(named > 10, "{named}");
    }

    #[test]
    fn a_code_of_a_newer_daemon_is_said_in_its_words() {
        assert_eq!(
            hint(Some(&advice("ask-the-moon")), Some("ask the moon")).as_deref(),
            Some("ask the moon")
        );
        assert_eq!(hint(None, Some("as before")).as_deref(), Some("as before"));
        assert_eq!(
            hint(Some(&advice("see-why")), Some("x")).as_deref(),
            Some("`ostler vm why 7` says what can be done: recover, or delete")
        );
        assert_eq!(hint(Some(&advice("wait")), None), None);
    }

    #[test]
    fn a_name_that_may_be_meant_is_told_once() {
        let near = |code: &str| Advice { near: Some("web1".to_owned()), ..advice(code) };
        assert_eq!(
            hint(Some(&near("list-vms")), Some("x")).as_deref(),
            Some("did you mean web1? `ostler vm list` shows them")
        );
        let words = Some("did you mean web1? ask the moon");
        assert_eq!(hint(Some(&near("ask-the-moon")), words).as_deref(), words);
    }
}
