//! `ostler vm why`.

use super::several::{self, Seen};
use crate::context::Context;
use crate::show::Page;
use crate::table::{Cell, Tone};
use crate::text::{moment, now};
use crate::{Failure, advice};
use clap::Args;
use ostler_api::{Possible, Why};
use std::borrow::Cow;

/// If there are more commands than this, only the verbs are printed, so many per line.
const MANY: usize = 8;
const VERBS_A_LINE: usize = 7;

/// Selects the VMs.
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// Ids, names, or ranges such as 1..5
    #[arg(required = true, value_name = "VM")]
    vms: Vec<String>,
}

fn page(cx: &Context, why: &Why) -> String {
    let now = now();
    let mut page = Page::new(cx.out.colour);
    page.headed(&format!("vm {}", why.vm), &why.name).line(&why.summary);
    if let Some(unseen) = &why.unseen {
        page.pair("But", Cell::toned(unseen, Tone::Bad));
    }
    page.pair_if("Waits for", why.waits_for.as_ref()).pair("Since", moment(now, why.since));
    page.pair_if("Until", why.until.map(|until| moment(now, until)));
    if let Some(error) = &why.last_error {
        page.pair("Last error", Cell::toned(error, Tone::Bad));
    }
    for line in &why.scheduler {
        page.pair("Scheduler", line);
    }
    page.pair_if("Hint", advice::hint(why.advice.as_ref(), None));
    for line in can(why) {
        page.pair(if line.first { "You can" } else { "" }, line.text);
    }
    page.done()
}

/// A line of the commands that can be used.
struct Can {
    first: bool,
    text: String,
}

/// The commands that can be used. If the VM waits for something, each is printed in full. Otherwise
/// nearly all verbs are possible, and only their names are printed.
fn can(why: &Why) -> Vec<Can> {
    let typed = commands(why);
    let lines = if why.waits_for.is_none() && typed.len() > MANY {
        let mut verbs: Vec<&str> = typed.iter().filter_map(|verb| verb.split(' ').next()).collect();
        verbs.dedup();
        let text: Vec<String> = verbs.chunks(VERBS_A_LINE).map(|verbs| verbs.join(", ")).collect();
        text.join(",\n").lines().map(str::to_owned).collect()
    } else {
        typed.iter().map(|verb| command(verb, why.vm)).collect::<Vec<_>>()
    };
    lines.into_iter().enumerate().map(|(at, text)| Can { first: at == 0, text }).collect()
}

/// The verbs with their flags. A daemon of an earlier version sends only its own words for them.
fn commands(why: &Why) -> Cow<'_, [String]> {
    match why.possible.as_slice() {
        [] => Cow::Borrowed(why.can.as_slice()),
        possible => Cow::Owned(possible.iter().map(Possible::command).collect()),
    }
}

/// A command as it is typed. The VM stands before other names, and behind flags with their values.
fn command(verb: &str, vm: u64) -> String {
    let words: Vec<&str> = verb.split(' ').collect();
    let named = |at: usize| {
        words[at].chars().all(|c| c.is_ascii_uppercase()) && !words[at - 1].starts_with("--")
    };
    let (before, after) =
        words.split_at((1..words.len()).find(|at| named(*at)).unwrap_or(words.len()));
    let after = if after.first() == Some(&"VM") { &after[1..] } else { after };
    let vm = vm.to_string();
    format!("ostler vm {}", [before, &[vm.as_str()], after].concat().join(" "))
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, args: WhyArgs) -> Result<(), Failure> {
    let client = cx.client()?;
    let Seen { found, worst, .. } =
        several::look(&args.vms, async |vm| client.why(vm).await).await?;
    let text = if let [one] = found.as_slice() {
        cx.out.one(one, &one.vm.to_string(), || page(cx, one))?
    } else {
        let handles: Vec<String> = found.iter().map(|why| why.vm.to_string()).collect();
        cx.out.one(&found, &handles.join("\n"), || {
            found.iter().map(|why| page(cx, why)).collect::<Vec<_>>().join("\n")
        })?
    };
    cx.out.write(&text)?;
    several::ended(worst)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(can: &[&str]) -> Why {
        let can = can.iter().map(|&verb| verb.to_owned()).collect();
        let (summary, since) = ("running: as asked".to_owned(), ostler_api::Time(0));
        let (name, vm, scheduler) = ("web".to_owned(), 7, Vec::new());
        let (advice, possible) = (None, Vec::new());
        Why {
            vm,
            name,
            summary,
            waits_for: None,
            since,
            until: None,
            last_error: None,
            unseen: None,
            advice,
            possible,
            can,
            scheduler,
        }
    }

    fn lines(why: &Why) -> Vec<String> {
        can(why).into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn commands_can_be_typed_as_they_are_told() {
        let told = lines(&why(&[
            "resume",
            "poweroff --hard",
            "migrate VM HOST --fenced",
            "migrate HOST",
            "deploy --host HOST",
        ]));
        let typed = [
            "resume 7",
            "poweroff --hard 7",
            "migrate 7 HOST --fenced",
            "migrate 7 HOST",
            "deploy --host HOST 7",
        ];
        assert_eq!(told, typed.map(|line| format!("ostler vm {line}")));
    }

    #[test]
    fn verbs_are_told_as_the_commands_of_this_client() {
        let possible = |verb: &str, fenced| Possible { verb: verb.to_owned(), fenced };
        let possible = vec![
            possible("poweroff-hard", false),
            possible("migrate", true),
            possible("resume", false),
        ];
        let told = lines(&Why { possible, ..why(&["as the daemon of today says it"]) });
        assert_eq!(
            told,
            [
                "ostler vm poweroff --hard 7",
                "ostler vm migrate 7 HOST --fenced",
                "ostler vm resume 7"
            ]
        );
    }

    #[test]
    fn where_all_is_well_the_verbs_are_enough() {
        let verbs = ["a", "a --hard", "b", "c", "d", "e", "f", "g", "h"];
        assert_eq!(lines(&why(&verbs)), ["a, b, c, d, e, f, g,", "h"]);
        let waiting = Why { waits_for: Some("its host".to_owned()), ..why(&verbs) };
        assert_eq!(lines(&waiting).len(), verbs.len());
    }
}
