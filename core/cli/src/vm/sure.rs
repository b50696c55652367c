//! Asking once, on a terminal, before something is destroyed for good: it names what goes. Scripts say `--yes`; where no person sits
//! at both ends (standard input and standard error are terminals) nobody is asked.

use super::told::called;
use crate::out::aside;
use crate::text::{clean, count};
use crate::{Exit, Failure};
use futures::StreamExt;
use futures::stream;
use ostler_api::{Client, DiskNow, Vm};
use std::io::IsTerminal;

/// VMs that are named in one question. More do not fit a screen; the rest is counted.
const NAMED_MAX: usize = 15;
/// VMs asked for at once.
const PARALLEL: usize = 8;
/// The longest answer that is read: a word, however it is written.
const ANSWER_MAX: u64 = 64;

/// What a verb destroys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Loss {
    /// The VM with its disks and snapshots; `saves` says that disks which are to become images do so first.
    Vm {
        /// Whether that is so.
        saves: bool,
    },
    /// The VM's disks and snapshots, but not the VM.
    Content,
    /// One disk.
    Disk(String),
}

/// Asks, unless nobody sits there, or nothing is there that could be lost.
///
/// # Errors
/// The answer was not yes: nothing was done.
pub(super) async fn ask(client: &Client, vms: &[String], verb: &str, loss: &Loss) -> Result<(), Failure> {
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return Ok(());
    }
    let seen = stream::iter(vms.iter().take(NAMED_MAX)).map(|vm| client.vm(vm)).buffered(PARALLEL).collect::<Vec<_>>().await;
    // One that cannot be read is told of by the request itself.
    let seen: Vec<Vm> = seen.into_iter().flatten().filter(|vm| vm.state != "done").collect();
    let lines: Vec<String> = seen.iter().filter_map(|vm| lost(vm, loss)).collect();
    let more = vms.len().saturating_sub(NAMED_MAX);
    if lines.is_empty() && more == 0 {
        return Ok(());
    }
    aside(&format!("{} deletes for good:", typed(verb)));
    for line in &lines {
        aside(&format!("  {}", clean(line)));
    }
    if more > 0 {
        aside(&format!("  and {}", count(more, "more VM")));
    }
    aside("Go on? [y/N]");
    if said_yes(&answer().await) {
        return Ok(());
    }
    Err(Failure::new(Exit::Refused, "nothing was done").hint(instead(verb)))
}

/// A verb as it is typed.
fn typed(verb: &str) -> String {
    verb.replace("-hard", " --hard").replace("-recreate", " --recreate")
}

/// What would have been another way.
fn instead(verb: &str) -> &'static str {
    match verb {
        "shutdown" | "shutdown-hard" => {
            "`ostler vm poweroff` powers off and keeps the VM with its disks; `undeploy` frees its host, too"
        }
        _ => "answer y, or say --yes, to go on",
    }
}

/// What goes with one VM; none if nothing does.
fn lost(vm: &Vm, loss: &Loss) -> Option<String> {
    let which = format!("vm {} {} ({}{})", vm.id, vm.name, vm.state, place(vm));
    let (own, kept): (Vec<&DiskNow>, Vec<&DiskNow>) = vm.disks.iter().partition(|disk| !disk.adopted);
    match loss {
        Loss::Disk(name) => own.iter().find(|disk| disk.name == *name).map(|disk| format!("disk {} of {which}", disk.name)),
        Loss::Vm { .. } | Loss::Content => {
            let saves = *loss == Loss::Vm { saves: true };
            let disk = |disk: &&DiskNow| match &disk.becomes {
                Some(image) if saves => format!("{} (saved as image {image} first)", disk.name),
                _ => disk.name.clone(),
            };
            let list = |what: &str, names: Vec<String>| match names.len() {
                0 => None,
                1 => Some(format!("{what} {}", names[0])),
                _ => Some(format!("{what}s {}", names.join(", "))),
            };
            let disks = list("disk", own.iter().map(disk).collect()).unwrap_or_else(|| "no disks of its own".to_owned());
            let snapshots = list("snapshot", vm.snapshots.iter().map(called).collect());
            let kept = list("not its adopted disk", kept.iter().map(|disk| disk.name.clone()).collect());
            let content: Vec<String> = [Some(disks), snapshots, kept].into_iter().flatten().collect();
            let verb = if *loss == Loss::Content { "of " } else { "" };
            Some(format!("{verb}{which}: {}", content.join("; ")))
        }
    }
}

fn place(vm: &Vm) -> String {
    vm.placement.as_ref().map_or_else(String::new, |place| format!(" on {}", place.host))
}

/// A line from the terminal, read where it may take its time.
async fn answer() -> String {
    let read = || {
        use std::io::{BufRead, Read};
        let mut line = String::new();
        // What cannot be read is no yes.
        let _ = std::io::stdin().lock().take(ANSWER_MAX).read_line(&mut line);
        line
    };
    tokio::task::spawn_blocking(read).await.unwrap_or_default()
}

fn said_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn vm() -> Vm {
        let at = "1970-01-01T00:00:10.000Z";
        let disk = |name: &str| json!({"name": name, "file": name, "format": "qcow2"});
        let mut disks = [disk("vda"), disk("vdb"), disk("vdc")];
        disks[1]["becomes"] = "golden".into();
        disks[2]["adopted"] = true.into();
        serde_json::from_value(json!({
            "id": 7, "uuid": "u", "name": "web", "owner": "admin", "state": "running", "since": at, "reason": "asked", "created": at,
            "version": 1, "spec": {"name": "web", "memory": "96MiB"}, "disks": disks,
            "placement": {"host_id": 1, "host": "alpha", "driver": "sim", "domain": "d", "generation": 2, "since": at},
            "snapshots": [{"name": "snap-3", "label": "before", "made": at, "hidden": false}],
        }))
        .expect("a VM")
    }

    #[test]
    fn a_question_names_all_that_goes() {
        let told = |loss| lost(&vm(), &loss);
        let all =
            |disks: &str| format!("vm 7 web (running on alpha): disks {disks}; snapshot snap-3 (before); not its adopted disk vdc");
        assert_eq!(told(Loss::Vm { saves: true }), Some(all("vda, vdb (saved as image golden first)")));
        assert_eq!(told(Loss::Vm { saves: false }), Some(all("vda, vdb")));
        assert_eq!(told(Loss::Content), Some(format!("of {}", all("vda, vdb"))));
        assert_eq!(told(Loss::Disk("vda".to_owned())).as_deref(), Some("disk vda of vm 7 web (running on alpha)"));
        // An adopted disk stays, and one that is not there is told of by the request.
        assert_eq!([told(Loss::Disk("vdc".to_owned())), told(Loss::Disk("vdq".to_owned()))], [None, None]);
    }

    #[test]
    fn only_yes_is_yes() {
        assert!(["y\n", " YES \n"].iter().all(|answer| said_yes(answer)));
        assert!(!["", "\n", "n\n", "yep\n", "no y\n"].iter().any(|answer| said_yes(answer)));
    }
}
