//! `ostler vm list`.

use crate::context::Context;
use crate::out::Row;
use crate::table::Cell;
use crate::text::{age, now};
use crate::watch::{self, Watch};
use crate::{Exit, Failure};
use clap::Args;
use ostler_api::{Client, ListFilter, PAGE_MAX, VmSummary};

/// Most VMs of one list: a hundred pages, some 30 MiB. Beyond that a filter is what is needed.
const LIST_MAX: usize = 100_000;

/// Which VMs.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Also those that are done
    #[arg(short, long)]
    all: bool,
    /// Only in this state; several are separated by commas
    #[arg(long)]
    state: Option<String>,
    /// Only of this name
    #[arg(long)]
    name: Option<String>,
    /// Only on this host: name or id
    #[arg(long)]
    host: Option<String>,
    /// Only of this owner
    #[arg(long)]
    owner: Option<String>,
    /// At most so many
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    #[command(flatten)]
    watch: Watch,
}

impl Row for VmSummary {
    const HEADINGS: &'static [&'static str] = &["ID", "NAME", "STATE", "OWNER", "HOST", "CPU", "MEMORY", "SINCE"];
    const WIDER: &'static [&'static str] = &["AGE", "VERSION", "CREATED"];

    fn cells(&self) -> Vec<Cell> {
        let now = now();
        vec![
            self.id.into(),
            Cell::from(&self.name),
            Cell::state(&self.state),
            Cell::from(&self.owner),
            Cell::maybe(self.host.as_ref()),
            self.cpu.into(),
            self.memory.into(),
            age(now, self.since).into(),
            age(now, self.created).into(),
            self.version.into(),
            self.created.into(),
        ]
    }

    fn handle(&self) -> String {
        self.id.to_string()
    }
}

/// All VMs that `filter` takes, page by page.
pub(super) async fn fetch(client: &Client, mut filter: ListFilter, most: usize) -> Result<(Vec<VmSummary>, bool), Failure> {
    let mut vms = Vec::new();
    loop {
        let left = u32::try_from(most - vms.len()).unwrap_or(PAGE_MAX);
        filter.limit = Some(left.min(PAGE_MAX));
        let page = client.vms(&filter).await?;
        // A page must lead on, or this would never end.
        let next = page.next.filter(|next| filter.after.is_none_or(|after| *next > after));
        vms.extend(page.vms);
        match next {
            Some(_) if vms.len() >= most => return Ok((vms, true)),
            Some(next) => filter.after = Some(next),
            None if page.next.is_some() => return Err(Failure::new(Exit::Server, "the daemon's pages go in circles")),
            None => return Ok((vms, false)),
        }
    }
}

/// Does it.
pub(crate) async fn run(cx: &Context, args: ListArgs) -> Result<(), Failure> {
    let client = cx.client()?;
    let ListArgs { all, state, name, host, owner, limit, watch } = args;
    let filter = ListFilter { state, name, host, owner, all, after: None, limit: None };
    let most = limit.map_or(LIST_MAX, |limit| LIST_MAX.min(limit as usize));
    watch::run(cx, &watch, async || {
        let (vms, more) = fetch(&client, filter.clone(), most).await?;
        if more {
            crate::out::aside(&format!("there are more than {most}: narrow it with --state, --name, --host or --owner"));
        }
        cx.out.rows(&vms)
    })
    .await
}
