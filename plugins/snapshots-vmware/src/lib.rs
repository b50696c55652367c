//! Snapshot rules of VMware. vSphere keeps snapshots beside the disks of a VM, with or without its
//! memory, whatever is done to the VM.
//!
//! So no snapshot is ever removed here. But a revert also sets the power state of the VM back. So a
//! snapshot is no longer offered once the VM was powered off, suspended or moved cold.
//!
//! A revert sets the hardware back, too. These rules need not say so: Ostler refuses a revert while
//! the VM has other hardware, and hides the snapshots of a disk that it deletes.

use ostler_sdk::{Fate, Question, SnapshotRules, Verdict};

/// The rules.
pub struct Vmware;

ostler_sdk::export!(Vmware: SnapshotRules; manifest = "manifest.toml");

/// How many snapshots vSphere supports in one chain. A question does not tell which snapshots form
/// a chain, so all are counted as one chain.
const MOST: usize = 32;

/// The states in which vSphere can make a snapshot, either of memory and disks or of the disks
/// alone.
const STATES: [&str; 3] = ["running", "suspended", "poweroff"];

impl SnapshotRules for Vmware {
    fn judge(question: Question) -> Verdict {
        let fate = fate(&question);
        Verdict { refused: refusal(&question), fates: vec![fate; question.snapshots.len()] }
    }
}

/// The reason why the verb is refused. None if it is allowed.
fn refusal(question: &Question) -> Option<String> {
    match question.verb.as_str() {
        "snapshot-create" => may_have(question).or_else(|| full(question)),
        "snapshot-revert" => may_have(question).or_else(|| known(question)),
        "snapshot-delete" => known(question),
        _ => None,
    }
}

fn may_have(question: &Question) -> Option<String> {
    if !question.abilities.iter().any(|ability| ability == "snapshots") {
        return Some("the hypervisor of this host cannot make system snapshots".to_owned());
    }
    let possible = STATES.contains(&question.state.as_str());
    (!possible).then(|| {
        format!("the VM must be running, suspended or poweroff, and is {}", question.state)
    })
}

fn full(question: &Question) -> Option<String> {
    let count = question.snapshots.len();
    (count >= MOST).then(|| {
        format!(
            "vSphere supports at most {MOST} snapshots in a chain, and there are {count}: delete \
             one first"
        )
    })
}

fn known(question: &Question) -> Option<String> {
    match &question.subject {
        Some(subject) if question.snapshots.contains(subject) => None,
        Some(subject) => Some(format!("there is no snapshot {subject}")),
        None => Some("no snapshot was named".to_owned()),
    }
}

/// The fate of all existing snapshots.
fn fate(question: &Question) -> Fate {
    match question.verb.as_str() {
        // Monitoring has seen the VM. A VM that was powered off or suspended outside of Ostler has
        // ended what the snapshots belong to. A running VM still has its snapshots, and nothing is
        // known of a VM that cannot be seen.
        "observed" if matches!(question.state.as_str(), "suspended" | "poweroff") => Fate::Hide,
        "observed" => Fate::Keep,
        verb if still_offered(verb) => Fate::Keep,
        _ => Fate::Hide,
    }
}

/// Whether the snapshots are still offered afterwards: the VM does what it did before. Less obvious
/// verbs after which they are not:
///
/// - a cold migration, because it saves the VM or switches it off on the way;
/// - a delete, because it removes the snapshots with the VM. To merge each into the disks first
///   would only take time.
///
/// They are not offered after an unknown verb either.
fn still_offered(verb: &str) -> bool {
    match verb {
        // vMotion moves the snapshots with the VM.
        "migrate-live" => true,
        "reboot" | "reboot-hard" => true,
        "snapshot-create" | "snapshot-revert" | "snapshot-delete" => true,
        // Ostler reverts only to a snapshot of the hardware that the VM has then.
        "disk-attach" | "disk-detach" | "nic-attach" | "nic-detach" | "resize" => true,
        // The disk is read as it is now, if necessary through a snapshot that the copy makes
        // itself.
        "disk-snapshot" | "disk-snapshot-live" | "disk-snapshot-cancel" => true,
        // Only the record changes. The rules are asked again about anything that a schedule or the
        // scheduler begins later.
        "hold" | "release" | "resched" | "unresched" | "schedule" | "unschedule" | "reschedule"
        | "update" | "rename" => true,
        // A VM of somebody else continues as it is.
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

    fn question(verb: &str) -> Question {
        Question {
            verb: verb.to_owned(),
            state: "running".to_owned(),
            disks: Vec::new(),
            snapshots: vec!["one".to_owned(), "two".to_owned()],
            subject: Some("one".to_owned()),
            abilities: vec!["snapshots".to_owned()],
            now_ms: 0,
            extra: Vec::new(),
        }
    }

    fn judge(question: Question) -> (Option<String>, Vec<Fate>) {
        let Verdict { refused, fates } = Vmware::judge(question);
        (refused, fates)
    }

    /// The fate of snapshots for each verb, in every state.
    const FATES: [(&str, Fate); 48] = [
        ("hold", Fate::Keep),
        ("release", Fate::Keep),
        ("deploy", Fate::Hide),
        ("suspend", Fate::Hide),
        ("stop", Fate::Hide),
        ("resume", Fate::Hide),
        ("resume-cold", Fate::Hide),
        ("poweroff", Fate::Hide),
        ("poweroff-hard", Fate::Hide),
        ("undeploy", Fate::Hide),
        ("undeploy-hard", Fate::Hide),
        ("shutdown", Fate::Hide),
        ("shutdown-hard", Fate::Hide),
        ("reboot", Fate::Keep),
        ("reboot-hard", Fate::Keep),
        ("migrate", Fate::Hide),
        ("migrate-live", Fate::Keep),
        ("migrate-poweroff", Fate::Hide),
        ("migrate-poweroff-hard", Fate::Hide),
        ("resched", Fate::Keep),
        ("unresched", Fate::Keep),
        ("disk-attach", Fate::Keep),
        ("disk-detach", Fate::Keep),
        ("nic-attach", Fate::Keep),
        ("nic-detach", Fate::Keep),
        ("snapshot-create", Fate::Keep),
        ("snapshot-revert", Fate::Keep),
        ("snapshot-delete", Fate::Keep),
        ("disk-snapshot", Fate::Keep),
        ("disk-snapshot-live", Fate::Keep),
        ("disk-snapshot-cancel", Fate::Keep),
        ("resize", Fate::Keep),
        ("update", Fate::Keep),
        ("rename", Fate::Keep),
        ("schedule", Fate::Keep),
        ("unschedule", Fate::Keep),
        ("reschedule", Fate::Keep),
        ("delete", Fate::Hide),
        ("delete-recreate", Fate::Hide),
        ("boot", Fate::Hide),
        ("adopt", Fate::Keep),
        ("forget", Fate::Hide),
        ("recover-success", Fate::Keep),
        ("recover-failure", Fate::Keep),
        ("recover-retry", Fate::Keep),
        ("recover-undo", Fate::Keep),
        ("unheard-of", Fate::Hide),
        ("", Fate::Hide),
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
    fn made_and_reverted_where_vsphere_can() {
        for state in State::iter() {
            for verb in ["snapshot-create", "snapshot-revert", "snapshot-delete"] {
                let able = matches!(state, State::Running | State::Suspended | State::Poweroff);
                let asked = Question { state: state.to_string(), ..question(verb) };
                assert_eq!(
                    judge(asked).0.is_none(),
                    able || verb == "snapshot-delete",
                    "{verb} in {state}"
                );
            }
        }
    }

    #[test]
    fn without_the_ability_only_delete() {
        for (verb, allowed) in
            [("snapshot-create", false), ("snapshot-revert", false), ("snapshot-delete", true)]
        {
            let asked = Question { abilities: vec!["suspend".to_owned()], ..question(verb) };
            assert_eq!(judge(asked).0.is_none(), allowed, "{verb}");
        }
    }

    #[test]
    fn the_thirty_third_is_refused_and_no_other_verb_minds() {
        for (count, allowed) in [(0, true), (31, true), (32, false), (33, false)] {
            let snapshots: Vec<_> = (0..count).map(|number| format!("snapshot-{number}")).collect();
            let (refused, fates) = judge(Question { snapshots, ..question("snapshot-create") });
            assert_eq!(refused.is_none(), allowed, "{count}");
            assert!(
                refused.is_none_or(|why| why.contains("32") && why.contains(&count.to_string())),
                "{count}"
            );
            assert_eq!(fates, vec![Fate::Keep; count]);
        }
        let full = || (0..32).map(|number| format!("snapshot-{number}")).collect();
        for verb in ["snapshot-revert", "snapshot-delete"] {
            let asked = Question {
                snapshots: full(),
                subject: Some("snapshot-7".to_owned()),
                ..question(verb)
            };
            assert_eq!(judge(asked).0, None, "{verb}");
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
    }

    #[test]
    fn a_look_hides_only_what_a_life_cycle_change_outside_left() {
        for state in State::iter() {
            let expected = if matches!(state, State::Suspended | State::Poweroff) {
                Fate::Hide
            } else {
                Fate::Keep
            };
            let asked = Question { state: state.to_string(), ..question("observed") };
            assert_eq!(judge(asked), (None, vec![expected; 2]), "{state}");
        }
    }
}
