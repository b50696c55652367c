//! `ostler vm top`: how many VMs are in each state, what the hosts hold, and which operations run
//! now.

use super::list::fetch;
use crate::Failure;
use crate::context::Context;
use crate::show::Page;
use crate::table::{Cell, Tone, tone_of};
use crate::text::{age, complaint, count, now, span};
use crate::watch::{self, Watch};
use clap::Args;
use futures::StreamExt;
use futures::stream;
use ostler_api::{Client, Host, ListFilter, Span, Vm, VmSummary};
use serde::Serialize;
use std::collections::BTreeMap;

/// The most VMs that are read.
const VMS_MAX: usize = 100_000;
/// The most running operations that are listed. More do not fit on a screen.
const OPERATIONS_MAX: usize = 20;
/// How many VMs are asked at once.
const PARALLEL: usize = 8;

/// How often to look.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// Look once only
    #[arg(long)]
    once: bool,
    /// How long to pause between looks
    #[arg(long, default_value = "2s", value_name = "TIME")]
    interval: Span,
}

/// The result of one look.
#[derive(Debug, Serialize)]
struct Seen {
    states: BTreeMap<String, u64>,
    hosts: Vec<Host>,
    /// VMs with an operation. The VM that has been in its state longest comes first.
    busy: Vec<Vm>,
    /// How many more VMs are in a passing state.
    more: usize,
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, args: TopArgs) -> Result<(), Failure> {
    let client = cx.client()?;
    let watch = Watch { watch: !args.once, interval: args.interval };
    watch::run(cx, &watch, async || {
        let seen = look(&client).await?;
        let handles: Vec<String> = seen.busy.iter().map(|vm| vm.id.to_string()).collect();
        cx.out.one(&seen, &handles.join("\n"), || page(cx.out.colour, &seen))
    })
    .await
}

async fn look(client: &Client) -> Result<Seen, Failure> {
    let (vms, _) = fetch(client, ListFilter::default(), VMS_MAX).await?;
    let mut states = BTreeMap::new();
    for vm in &vms {
        *states.entry(vm.state.to_string()).or_insert(0) += 1;
    }
    let mut passing: Vec<&VmSummary> = vms.iter().filter(|vm| is_passing(&vm.state)).collect();
    passing.sort_by_key(|vm| (vm.since, vm.id));
    let more = passing.len().saturating_sub(OPERATIONS_MAX);
    // VMs whose operation has ended meanwhile, or that are gone, are left out.
    let asked = passing.iter().take(OPERATIONS_MAX).map(|vm| vm.id.to_string());
    let busy =
        stream::iter(asked).map(|id| async move { client.vm(&id).await.ok() }).buffered(PARALLEL);
    let busy = busy.filter_map(async |vm| vm.filter(|vm| vm.operation.is_some())).collect().await;
    Ok(Seen { states, hosts: client.hosts().await?, busy, more })
}

/// Whether the state is a passing one.
fn is_passing(state: &str) -> bool {
    state != "pending" && tone_of(state) == Tone::Busy
}

fn page(colour: bool, seen: &Seen) -> String {
    let now = now();
    let mut page = Page::new(colour);
    let all: u64 = seen.states.values().sum();
    page.section(&format!("VMs ({all})"));
    for (state, number) in &seen.states {
        page.pair(state, Cell::toned(number, tone_of(state)));
    }
    let host = |host: &Host| {
        let health =
            host.health.as_ref().map_or("-", |health| if health.reachable { "yes" } else { "no" });
        vec![
            Cell::from(&host.name),
            Cell::state(&host.state),
            Cell::state(health),
            host.vms.into(),
            format!("{} of {}", host.cpu_held, host.cpu).into(),
            format!("{} of {}", host.memory_held, host.memory).into(),
        ]
    };
    let headings = ["NAME", "STATE", "REACHED", "VMS", "CPUS", "MEMORY"];
    page.section("Hosts").table(&headings, seen.hosts.iter().map(host).collect(), "none");
    let busy = |vm: &Vm| {
        let operation = vm.operation.as_ref()?;
        let deadline = operation.deadline.map(|deadline| span(deadline.since(now)));
        Some(vec![
            vm.id.into(),
            Cell::from(&vm.name),
            Cell::state(&vm.state),
            Cell::from(&operation.verb),
            Cell::maybe(operation.step.as_ref()),
            format!("{}/{}", operation.done, operation.of).into(),
            age(now, vm.since).into(),
            Cell::maybe(deadline),
            Cell::maybe(operation.error.as_ref().map(complaint)),
        ])
    };
    let headings = ["VM", "NAME", "STATE", "VERB", "STEP", "DONE", "SINCE", "LEFT", "TROUBLE"];
    page.section("Operations").table(
        &headings,
        seen.busy.iter().filter_map(busy).collect(),
        "nothing is being done",
    );
    if seen.more > 0 {
        page.line(&format!("and {}", count(seen.more, "more VM")));
    }
    page.done()
}
