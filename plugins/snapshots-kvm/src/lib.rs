//! Snapshot rules of KVM: snapshots live inside the qcow2 files, together with the memory of the running domain.
//!
//! Hence they need a driver that can, a running VM, and qcow2 for every disk the guest can write; and they do not survive the domain
//! they were taken of, because its memory no longer fits its disks.

use ostler_sdk::{Disk, Fate, Question, SnapshotRules, Verdict};

/// The rules.
pub struct Kvm;

ostler_sdk::export!(Kvm: SnapshotRules; manifest = "manifest.toml");

/// Verbs after which the domain is the same as before: nothing happens to snapshots. A verb that is not known here counts as one that
/// ends the domain, because a snapshot that is gone is better than one that cannot be reverted.
const HARMLESS: [&str; 9] = [
    "hold",
    "release",
    "reboot",
    "reboot-hard",
    "recover-success",
    "recover-failure",
    "snapshot-create",
    "snapshot-revert",
    "snapshot-delete",
];

impl SnapshotRules for Kvm {
    fn judge(question: Question) -> Verdict {
        let fate = fate(&question);
        Verdict { refused: refusal(&question), fates: vec![fate; question.snapshots.len()] }
    }
}

/// None: allowed.
fn refusal(question: &Question) -> Option<String> {
    match question.verb.as_str() {
        "snapshot-create" => may_have(question),
        "snapshot-revert" => may_have(question).or_else(|| known(question)),
        "snapshot-delete" => known(question),
        _ => None,
    }
}

fn may_have(question: &Question) -> Option<String> {
    if !question.abilities.iter().any(|ability| ability == "snapshots") {
        return Some("the hypervisor of this host cannot make system snapshots".to_owned());
    }
    if question.state != "running" {
        return Some(format!("system snapshots hold memory: the VM must be running, and is {}", question.state));
    }
    let writable = || question.disks.iter().filter(|disk| !disk.read_only);
    let others: Vec<String> = writable().filter(|disk| disk.format != "qcow2").map(name_and_format).collect();
    if !others.is_empty() {
        return Some(format!("all writable disks must be qcow2, and these are not: {}", others.join(", ")));
    }
    writable().next().is_none().then(|| "there is no writable qcow2 disk to keep the snapshot in".to_owned())
}

fn name_and_format(disk: &Disk) -> String {
    format!("{} ({})", disk.name, disk.format)
}

fn known(question: &Question) -> Option<String> {
    match &question.subject {
        Some(subject) if question.snapshots.contains(subject) => None,
        Some(subject) => Some(format!("there is no snapshot {subject}")),
        None => Some("no snapshot was named".to_owned()),
    }
}

/// Of all existing snapshots.
fn fate(question: &Question) -> Fate {
    match question.verb.as_str() {
        // What monitoring saw: a domain that still runs has them; of any other nothing may be removed because of a look.
        "observed" if question.state == "running" => Fate::Keep,
        "observed" => Fate::Hide,
        verb if HARMLESS.contains(&verb) => Fate::Keep,
        _ => Fate::Lose,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(name: &str, format: &str, read_only: bool) -> Disk {
        Disk { name: name.to_owned(), format: format.to_owned(), read_only }
    }

    fn question(verb: &str) -> Question {
        Question {
            verb: verb.to_owned(),
            state: "running".to_owned(),
            disks: vec![disk("vda", "qcow2", false), disk("vdb", "raw", true)],
            snapshots: vec!["one".to_owned(), "two".to_owned()],
            subject: None,
            abilities: vec!["snapshots".to_owned()],
            now_ms: 0,
            extra: Vec::new(),
        }
    }

    fn judge(question: Question) -> (Option<String>, Vec<Fate>) {
        let Verdict { refused, fates } = Kvm::judge(question);
        (refused, fates)
    }

    #[test]
    fn a_running_vm_with_qcow2_disks_may() {
        assert_eq!(judge(question("snapshot-create")), (None, vec![Fate::Keep, Fate::Keep]));
    }

    #[test]
    fn a_writable_raw_disk_refuses_and_is_named() {
        let mut asked = question("snapshot-create");
        asked.disks.push(disk("vdc", "raw", false));
        let (refused, _) = judge(asked);
        assert!(refused.is_some_and(|why| why.contains("vdc (raw)") && !why.contains("vdb")));
    }

    #[test]
    fn no_disk_no_ability_or_another_state_refuse() {
        let spoil: [fn(&mut Question); 3] =
            [|asked| asked.disks.clear(), |asked| asked.abilities.clear(), |asked| asked.state = "poweroff".to_owned()];
        for spoil in spoil {
            let mut asked = question("snapshot-create");
            spoil(&mut asked);
            assert!(judge(asked).0.is_some());
        }
    }

    #[test]
    fn revert_and_delete_need_one_that_is_there() {
        for verb in ["snapshot-revert", "snapshot-delete"] {
            for (subject, allowed) in [(Some("two"), true), (Some("three"), false), (None, false)] {
                let asked = Question { subject: subject.map(str::to_owned), ..question(verb) };
                assert_eq!(judge(asked).0.is_none(), allowed, "{verb} {subject:?}");
            }
        }
        // A snapshot can be deleted from a VM that could not make one now.
        let mut asked = Question { subject: Some("one".to_owned()), ..question("snapshot-delete") };
        asked.state = "unknown".to_owned();
        assert_eq!(judge(asked).0, None);
    }

    #[test]
    fn what_ends_the_domain_loses_them() {
        for verb in ["poweroff", "poweroff-hard", "suspend", "stop", "migrate", "resume", "deploy", "shutdown", "unheard-of"] {
            assert_eq!(judge(question(verb)), (None, vec![Fate::Lose; 2]), "{verb}");
        }
        for verb in ["reboot", "hold", "observed"] {
            assert_eq!(judge(question(verb)).1, vec![Fate::Keep; 2], "{verb}");
        }
        let asked = Question { state: "unknown".to_owned(), ..question("observed") };
        assert_eq!(judge(asked).1, vec![Fate::Hide; 2]);
    }
}
