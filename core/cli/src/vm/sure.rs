//! Asks once, on a terminal, before something is deleted for good. A dry run names what would be
//! deleted. Nobody is asked with `--yes`, or if standard input or standard error is not a terminal,
//! as in a script.

use super::result_line;
use crate::out::aside;
use crate::retry::patiently;
use crate::text::{clean, count};
use crate::{Exit, Failure};
use futures::StreamExt;
use futures::stream;
use ostler_api::{Client, ClientError, PlanPreview};
use serde_json::Value;
use std::io::IsTerminal;

/// The most VMs that are named in one question. More do not fit on a screen; the others are only
/// counted.
const NAMED_MAX: usize = 15;
/// How many dry runs are asked at once.
const PARALLEL: usize = 8;
/// The longest answer that is read, in bytes. The answer is one short word.
const ANSWER_MAX: u64 = 64;

/// Asks, unless there is no terminal or nothing would be lost. `ends` says that the VM itself is
/// deleted, too.
///
/// # Errors
/// The answer was not yes. Nothing was done.
pub(super) async fn ask(
    client: &Client,
    vms: &[String],
    verb: &str,
    body: &Value,
    ends: bool,
) -> Result<(), Failure> {
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return Ok(());
    }
    let plan = |vm: &String| {
        let vm = vm.clone();
        async move {
            // It retries like the request after it does. Otherwise a daemon that is just starting
            // would make the command skip the question.
            match patiently(|| client.preview(&vm, verb, body)).await {
                Ok(plan) => lost(&vm, &plan, ends),
                // The request itself will be refused for the same reason and print it.
                Err(ClientError::Problem(problem))
                    if problem.status < 500 && problem.status != 429 =>
                {
                    None
                }
                Err(error) => {
                    Some(format!("vm {vm}: it cannot be told what goes with it ({error})"))
                }
            }
        }
    };
    let lines: Vec<String> = stream::iter(vms.iter().take(NAMED_MAX))
        .map(plan)
        .buffered(PARALLEL)
        .filter_map(async |line| line)
        .collect()
        .await;
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

/// What is lost with one VM. None if nothing is.
fn lost(vm: &str, plan: &PlanPreview, ends: bool) -> Option<String> {
    let content = result_line::destroyed(&plan.destroys);
    match (plan.allowed, ends, content) {
        // The operation that makes it busy may have ended when the request comes.
        (false, ..) if plan.code.as_deref() == Some("busy") => Some(format!(
            "vm {vm}: busy now; if that has ended when it is asked, all that the verb deletes"
        )),
        (false, ..) | (true, false, None) => None,
        (true, false, Some(content)) => Some(format!("of vm {vm}: {content}")),
        (true, true, Some(content)) => Some(format!("vm {vm}: {content}")),
        (true, true, None) => Some(format!("vm {vm} (no disks of its own)")),
    }
}

/// The verb as it is typed.
fn typed(verb: &str) -> String {
    verb.replace("-hard", " --hard").replace("-recreate", " --recreate")
}

/// A hint on other ways.
fn instead(verb: &str) -> &'static str {
    match verb {
        "shutdown" | "shutdown-hard" => {
            "`ostler vm poweroff` powers off and keeps the VM with its disks; `undeploy` frees its \
             host, too"
        }
        _ => "answer y, or say --yes, to go on",
    }
}

/// Reads a line from the terminal, on a thread where reading may block.
async fn answer() -> String {
    let read = || {
        use std::io::{BufRead, Read};
        let mut line = String::new();
        // If the line cannot be read, the answer is empty, which is not yes.
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

    #[test]
    fn a_question_names_all_that_goes() {
        let plan = |allowed: bool, destroys: serde_json::Value| -> PlanPreview {
            serde_json::from_value(
                json!({"allowed": allowed, "states": [], "steps": [], "destroys": destroys}),
            )
            .expect("a plan")
        };
        let all = json!([{"kind": "disk", "name": "vda"}, {"kind": "memory"}, {"kind": "snapshot", "name": "snap-3", "label": "before"}]);
        let content = "disk vda, saved memory, snapshot snap-3 (before)";
        assert_eq!(lost("web", &plan(true, all.clone()), true), Some(format!("vm web: {content}")));
        assert_eq!(
            lost("web", &plan(true, all.clone()), false),
            Some(format!("of vm web: {content}"))
        );
        assert_eq!(
            lost("web", &plan(true, json!([])), true).as_deref(),
            Some("vm web (no disks of its own)")
        );
        // A plan that loses nothing asks nothing. A refused one asks nothing either, because the
        // request reports the refusal.
        assert_eq!(
            [
                lost("web", &plan(true, json!([])), false),
                lost("web", &plan(false, all.clone()), true)
            ],
            [None, None]
        );
        // A request that only waits for another operation may be accepted a moment later.
        let busy = PlanPreview { code: Some("busy".to_owned()), ..plan(false, all) };
        assert!(lost("web", &busy, true).is_some_and(|line| line.contains("busy now")));
    }

    #[test]
    fn only_yes_is_yes() {
        assert!(["y\n", " YES \n"].iter().all(|answer| said_yes(answer)));
        assert!(!["", "\n", "n\n", "yep\n", "no y\n"].iter().any(|answer| said_yes(answer)));
    }
}
