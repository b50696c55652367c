//! Snapshot rules of KVM. Snapshots are kept inside the qcow2 files, together with the memory of
//! the running domain.
//!
//! So a snapshot needs a driver with that ability, a running VM, and the format qcow2 for each disk
//! that the guest can write. A snapshot does not outlive the domain that it was taken of, because
//! its memory would no longer fit the disks or devices.

use ostler_sdk::{Disk, DiskFormat, Fate, Question, SnapshotRules, Verdict};

/// The rules.
pub struct Kvm;

ostler_sdk::export!(Kvm: SnapshotRules; manifest = "manifest.toml");

impl SnapshotRules for Kvm {
    fn judge(question: Question) -> Verdict {
        let fate = fate(&question);
        Verdict { refused: refusal(&question), fates: vec![fate; question.snapshots.len()] }
    }
}

/// The reason why the verb is refused. None if it is allowed.
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
        return Some(format!(
            "system snapshots hold memory: the VM must be running, and is {}",
            question.state
        ));
    }
    let writable = || question.disks.iter().filter(|disk| !disk.read_only);
    let others: Vec<String> =
        writable().filter(|disk| disk.format != DiskFormat::Qcow2).map(name_and_format).collect();
    if !others.is_empty() {
        return Some(format!(
            "all writable disks must be qcow2, and these are not: {}",
            others.join(", ")
        ));
    }
    writable()
        .next()
        .is_none()
        .then(|| "there is no writable qcow2 disk to keep the snapshot in".to_owned())
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

/// The fate of all existing snapshots. An unknown verb counts as one that ends the domain. Then the
/// snapshots are lost, which is better than snapshots that cannot be reverted.
fn fate(question: &Question) -> Fate {
    match question.verb.as_str() {
        // Monitoring has seen the VM. A domain that still runs has its snapshots. Of any other
        // domain nothing is removed because of a look.
        "observed" if question.state == "running" => Fate::Keep,
        // A host that is lost cannot be asked to remove anything.
        "observed" | "forget" => Fate::Hide,
        verb if same_domain(verb) => Fate::Keep,
        _ => Fate::Lose,
    }
}

/// Whether the domain stays the one that the snapshots were taken of: same process, same devices,
/// same host. Otherwise the snapshots are lost. Some verbs that end it are less obvious:
///
/// - a migration, also a live one, because libvirt does not migrate a domain that has snapshots;
/// - a disk or NIC that is attached or detached, and a live resize, because the memory in the
///   snapshot belongs to other hardware.
fn same_domain(verb: &str) -> bool {
    match verb {
        // A reboot or reset keeps the process.
        "reboot" | "reboot-hard" => true,
        "snapshot-create" | "snapshot-revert" | "snapshot-delete" => true,
        // The disk is copied as it is now. The snapshots in its file are not touched.
        "disk-snapshot" | "disk-snapshot-live" | "disk-snapshot-cancel" => true,
        // Only the record changes. The rules are asked again about anything that a schedule or the
        // scheduler begins later.
        "hold" | "release" | "resched" | "unresched" | "schedule" | "unschedule" | "reschedule"
        | "update" | "rename" => true,
        // A domain of somebody else continues as it is.
        "adopt" => true,
        // These end, repeat or roll back an operation. The rules were asked about it when it began.
        "recover-success" | "recover-failure" | "recover-retry" | "recover-undo" => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_model::{State, Verb};
    use strum::IntoEnumIterator;

    fn disk(name: &str, format: DiskFormat, read_only: bool) -> Disk {
        Disk { name: name.to_owned(), format, read_only }
    }

    fn question(verb: &str) -> Question {
        Question {
            verb: verb.to_owned(),
            state: "running".to_owned(),
            disks: vec![disk("vda", DiskFormat::Qcow2, false), disk("vdb", DiskFormat::Raw, true)],
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
        asked.disks.push(disk("vdc", DiskFormat::Raw, false));
        let (refused, _) = judge(asked);
        assert!(refused.is_some_and(|why| why.contains("vdc (raw)") && !why.contains("vdb")));
    }

    #[test]
    fn no_disk_no_ability_or_another_state_refuse() {
        let spoil: [fn(&mut Question); 3] = [
            |asked| asked.disks.clear(),
            |asked| asked.abilities.clear(),
            |asked| asked.state = "poweroff".to_owned(),
        ];
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
        // A snapshot can be deleted even from a VM that could not make one now.
        let mut asked = Question { subject: Some("one".to_owned()), ..question("snapshot-delete") };
        asked.state = "unknown".to_owned();
        assert_eq!(judge(asked).0, None);
    }

    /// The fate of snapshots for each verb, in every state.
    const FATES: [(&str, Fate); 48] = [
        ("hold", Fate::Keep),
        ("release", Fate::Keep),
        ("deploy", Fate::Lose),
        ("suspend", Fate::Lose),
        ("stop", Fate::Lose),
        ("resume", Fate::Lose),
        ("resume-cold", Fate::Lose),
        ("poweroff", Fate::Lose),
        ("poweroff-hard", Fate::Lose),
        ("undeploy", Fate::Lose),
        ("undeploy-hard", Fate::Lose),
        ("shutdown", Fate::Lose),
        ("shutdown-hard", Fate::Lose),
        ("reboot", Fate::Keep),
        ("reboot-hard", Fate::Keep),
        ("migrate", Fate::Lose),
        ("migrate-live", Fate::Lose),
        ("migrate-poweroff", Fate::Lose),
        ("migrate-poweroff-hard", Fate::Lose),
        ("resched", Fate::Keep),
        ("unresched", Fate::Keep),
        ("disk-attach", Fate::Lose),
        ("disk-detach", Fate::Lose),
        ("nic-attach", Fate::Lose),
        ("nic-detach", Fate::Lose),
        ("snapshot-create", Fate::Keep),
        ("snapshot-revert", Fate::Keep),
        ("snapshot-delete", Fate::Keep),
        ("disk-snapshot", Fate::Keep),
        ("disk-snapshot-live", Fate::Keep),
        ("disk-snapshot-cancel", Fate::Keep),
        ("resize", Fate::Lose),
        ("update", Fate::Keep),
        ("rename", Fate::Keep),
        ("schedule", Fate::Keep),
        ("unschedule", Fate::Keep),
        ("reschedule", Fate::Keep),
        ("delete", Fate::Lose),
        ("delete-recreate", Fate::Lose),
        ("boot", Fate::Lose),
        ("adopt", Fate::Keep),
        ("forget", Fate::Hide),
        ("recover-success", Fate::Keep),
        ("recover-failure", Fate::Keep),
        ("recover-retry", Fate::Keep),
        ("recover-undo", Fate::Keep),
        ("unheard-of", Fate::Lose),
        ("", Fate::Lose),
    ];

    #[test]
    fn every_verb_has_one_fate_in_every_state() {
        for (verb, fate) in FATES {
            for state in State::iter() {
                let (refused, fates) =
                    judge(Question { state: state.to_string(), ..question(verb) });
                assert_eq!(fates, [fate; 2], "{verb} in {state}");
                assert!(
                    refused.is_none() || verb.starts_with("snapshot-"),
                    "{verb} in {state}: {refused:?}"
                );
            }
        }
    }

    #[test]
    fn no_verb_is_left_to_the_fate_of_the_unknown() {
        for verb in Verb::iter() {
            assert!(
                FATES.iter().any(|(known, _)| *known == verb.to_string()),
                "{verb} has no row in FATES"
            );
        }
    }

    #[test]
    fn only_a_running_vm_makes_and_reverts() {
        for state in State::iter() {
            for verb in ["snapshot-create", "snapshot-revert", "snapshot-delete"] {
                let asked = Question {
                    state: state.to_string(),
                    subject: Some("one".to_owned()),
                    ..question(verb)
                };
                let allowed = state == State::Running || verb == "snapshot-delete";
                assert_eq!(judge(asked).0.is_none(), allowed, "{verb} in {state}");
            }
        }
    }

    #[test]
    fn a_look_removes_nothing() {
        for state in State::iter() {
            let expected = if state == State::Running { Fate::Keep } else { Fate::Hide };
            let asked = Question { state: state.to_string(), ..question("observed") };
            assert_eq!(judge(asked), (None, vec![expected; 2]), "{state}");
        }
    }
}
