//! `ostler vm create`.

use super::wait;
use crate::context::Context;
use crate::retry::{key, patiently};
use crate::text::clean;
use crate::{Failure, specfile};
use clap::Args;
use ostler_api::{CreateVm, PlanPreview, Span};
use std::path::PathBuf;

/// What to create.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The specification: a file in TOML, YAML or JSON, or - for standard input. `ostler help spec` shows one
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
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

/// Does it.
pub(crate) async fn run(cx: &Context, args: CreateArgs) -> Result<(), Failure> {
    let spec = specfile::read(&args.file, args.name.as_deref())?;
    let (name, body, key) = (spec.name.clone(), CreateVm { spec, hold: args.hold }, key());
    let client = cx.client()?;
    if args.dry_run {
        let plan = patiently(|| client.preview_create(&body)).await?;
        return cx.out.write(&cx.out.one(&plan, &name, || told(&name, &plan))?);
    }
    let deadline = wait::Deadline::after(args.timeout.duration());
    let mut reply = patiently(|| client.create_vm(&body, Some(&key))).await?;
    let line = |state: &str| format!("vm {} {name}: created, {state}\n", reply.vm);
    if !args.wait {
        return cx.out.write(&cx.out.one(&reply, &reply.vm.to_string(), || line(&reply.state))?);
    }
    match wait::for_running(&client, reply.vm, deadline).await {
        Ok(vm) => {
            let line = line(&vm.state);
            (reply.state, reply.version) = (vm.state.into_owned(), vm.version);
            cx.out.write(&cx.out.one(&reply, &reply.vm.to_string(), || line)?)
        }
        Err(failure) => {
            // It is there, whatever became of it: whoever called must know its id.
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
