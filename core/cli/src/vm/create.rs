//! `ostler vm create`.

use super::wait;
use crate::context::Context;
use crate::retry::{key, patiently};
use crate::text::clean;
use crate::{Exit, Failure, specfile};
use clap::Args;
use ostler_api::{Client, CreateVm, ListFilter, PlanPreview, Span};
use std::path::PathBuf;

/// The most VMs of the same name that are named in the warning.
const NAMESAKES_MAX: u32 = 5;

/// The VM to create.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The specification: a file in TOML, YAML or JSON, or - for standard input. `ostler help spec`
    /// shows one
    #[arg(short, long, value_name = "FILE", required_unless_present = "path")]
    file: Option<PathBuf>,
    /// The same without a flag
    #[arg(value_name = "FILE", conflicts_with = "file")]
    path: Option<PathBuf>,
    /// Its name, instead of the one in the file
    #[arg(long)]
    name: Option<String>,
    /// Keep the scheduler away until it is released
    #[arg(long, conflicts_with = "wait")]
    hold: bool,
    /// Wait until it runs
    #[arg(long)]
    wait: bool,
    /// How long to wait at most
    #[arg(long, default_value = wait::TIMEOUT, value_name = "TIME")]
    timeout: Span,
    /// Change nothing and tell what would happen
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, args: CreateArgs) -> Result<(), Failure> {
    // clap requires one of the two.
    let file = args.file.or(args.path).unwrap_or_default();
    let spec = specfile::read(&file, args.name.as_deref())?;
    let (name, body, key) = (spec.name.clone(), CreateVm { spec, hold: args.hold }, key());
    let client = cx.client()?;
    if args.dry_run {
        let plan = patiently(|| client.preview_create(&body)).await?;
        return cx.out.write(&cx.out.one(&plan, &name, || told(&name, &plan))?);
    }
    let deadline = wait::Deadline::after(args.timeout.duration());
    warn_of_namesakes(&client, &name).await;
    let mut reply = patiently(|| client.create_vm(&body, Some(&key))).await?;
    let line = |state: &str| format!("vm {} {name}: created, {state}\n", reply.vm);
    if !args.wait {
        return cx.out.write(&cx.out.one(&reply, &reply.vm.to_string(), || line(&reply.state))?);
    }
    let Some(ended) =
        wait::unless_interrupted(wait::for_running(&client, reply.vm, deadline)).await
    else {
        cx.out.write(&cx.out.one(&reply, &reply.vm.to_string(), || line(&reply.state))?)?;
        crate::out::aside(&format!(
            "it goes on without being waited for: `ostler vm why {}`",
            reply.vm
        ));
        return Err(Failure::silent(Exit::Interrupted));
    };
    match ended {
        Ok(vm) => {
            let line = line(&vm.state);
            (reply.state, reply.version) = (vm.state.into_owned(), vm.version);
            cx.out.write(&cx.out.one(&reply, &reply.vm.to_string(), || line)?)
        }
        Err(failure) => {
            // The VM exists in any case, so its id is printed.
            cx.out.write(&cx.out.one(&reply, &reply.vm.to_string(), || line(&reply.state))?)?;
            Err(failure)
        }
    }
}

fn told(name: &str, plan: &PlanPreview) -> String {
    let mut text = format!("vm {name}: would be created, {}\n", clean(&plan.states.join(" > ")));
    for line in &plan.scheduler {
        text.push_str(&format!("  {}\n", clean(line)));
    }
    text
}

/// Warns if other VMs have the same name. Names need not be unique, so the same file given twice
/// makes two VMs. If the list cannot be read, there is no warning.
async fn warn_of_namesakes(client: &Client, name: &str) {
    let filter = ListFilter {
        name: Some(name.to_owned()),
        limit: Some(NAMESAKES_MAX),
        ..ListFilter::default()
    };
    let Ok(page) = client.vms(&filter).await else { return };
    let others: Vec<String> =
        page.vms.iter().map(|vm| format!("{} ({})", vm.id, vm.state)).collect();
    if !others.is_empty() {
        crate::out::aside(&format!(
            "warning: vm {} {} this name already: from now on `{name}` alone is ambiguous, use ids",
            others.join(", "),
            if others.len() == 1 { "has" } else { "have" }
        ));
    }
}
