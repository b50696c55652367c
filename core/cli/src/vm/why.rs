//! `ostler vm why`.

use crate::context::Context;
use crate::show::Page;
use crate::table::{Cell, Tone};
use crate::text::{moment, now};
use crate::{Exit, Failure, range};
use clap::Args;
use ostler_api::Why;

/// Which VMs.
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// Ids, names, or ranges such as 1..5
    #[arg(required = true, value_name = "VM")]
    vms: Vec<String>,
}

fn page(cx: &Context, why: &Why) -> String {
    let now = now();
    let mut page = Page::new(cx.out.colour);
    page.section(&format!("vm {}", why.vm)).line(&why.summary);
    page.pair_if("Waits for", why.waits_for.as_ref()).pair("Since", moment(now, why.since));
    page.pair_if("Until", why.until.map(|until| moment(now, until)));
    if let Some(error) = &why.last_error {
        page.pair("Last error", Cell::toned(error, Tone::Bad));
    }
    for line in &why.scheduler {
        page.pair("Scheduler", line);
    }
    for verb in &why.can {
        page.pair("You can", command(verb, why.vm));
    }
    page.done()
}

/// A verb as it is typed: of this VM, which comes before what else is named.
fn command(verb: &str, vm: u64) -> String {
    let (words, vm) = (verb.split(' ').collect::<Vec<_>>(), vm.to_string());
    match words.iter().position(|word| *word == "VM") {
        Some(at) => format!("ostler vm {}", [&words[..at], &[vm.as_str()], &words[at + 1..]].concat().join(" ")),
        None => format!("ostler vm {verb} {vm}"),
    }
}

/// Does it.
pub(crate) async fn run(cx: &Context, args: WhyArgs) -> Result<(), Failure> {
    let client = cx.client()?;
    let (mut found, mut worst) = (Vec::new(), Exit::Ok);
    for vm in range::expand(&args.vms)? {
        match client.why(&vm).await {
            Ok(why) => found.push(why),
            Err(err) => {
                let failure = Failure::from(err).about(&format!("vm {vm}"));
                if failure.exit == Exit::Unreachable || args.vms.len() == 1 {
                    return Err(failure);
                }
                failure.tell();
                worst = worst.max(failure.exit);
            }
        }
    }
    let text = if let [one] = found.as_slice() {
        cx.out.one(one, &one.vm.to_string(), || page(cx, one))?
    } else {
        let handles: Vec<String> = found.iter().map(|why| why.vm.to_string()).collect();
        cx.out.one(&found, &handles.join("\n"), || found.iter().map(|why| page(cx, why)).collect::<Vec<_>>().join("\n"))?
    };
    cx.out.write(&text)?;
    if worst == Exit::Ok { Ok(()) } else { Err(Failure::silent(worst)) }
}
