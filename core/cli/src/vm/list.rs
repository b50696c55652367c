//! `ostler vm list`.

use crate::context::Context;
use crate::out::Row;
use crate::table::Cell;
use crate::text::{age, now};
use crate::watch::{self, Watch};
use crate::{Exit, Failure};
use clap::{Args, ValueEnum};
use ostler_api::{Client, ListFilter, PAGE_MAX, VmSummary};
use std::cmp::Reverse;

/// The most VMs of one list: a hundred pages, about 30 MiB. Beyond that operators should use a
/// filter.
const LIST_MAX: usize = 100_000;

/// Selects the VMs.
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
    /// The same without a flag
    #[arg(value_name = "NAME", conflicts_with = "name")]
    called: Option<String>,
    /// Only on this host: name or id
    #[arg(long)]
    host: Option<String>,
    /// Only of this owner
    #[arg(long)]
    owner: Option<String>,
    /// At most so many
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Sort by this column: names in alphabetical order, what is largest or has lasted longest first
    #[arg(long, value_enum, value_name = "COLUMN", default_value_t = Sort::Id)]
    sort: Sort,
    #[command(flatten)]
    watch: Watch,
}

/// The column that a list is sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sort {
    Id,
    Name,
    State,
    Owner,
    Host,
    Cpu,
    Memory,
    Since,
}

/// Sorts the VMs. VMs that are equal in the column stay in the order of their ids.
fn sorted(mut vms: Vec<VmSummary>, by: Sort) -> Vec<VmSummary> {
    match by {
        Sort::Id => {}
        Sort::Name => vms.sort_by(|a, b| a.name.cmp(&b.name)),
        Sort::State => vms.sort_by(|a, b| a.state.cmp(&b.state)),
        Sort::Owner => vms.sort_by(|a, b| a.owner.cmp(&b.owner)),
        // VMs without a host come last.
        Sort::Host => {
            vms.sort_by(|a, b| (a.host.is_none(), &a.host).cmp(&(b.host.is_none(), &b.host)))
        }
        Sort::Cpu => vms.sort_by_key(|vm| Reverse(vm.cpu)),
        Sort::Memory => vms.sort_by_key(|vm| Reverse(vm.memory)),
        Sort::Since => vms.sort_by_key(|vm| vm.since),
    }
    vms
}

impl Row for VmSummary {
    const HEADINGS: &'static [&'static str] =
        &["ID", "NAME", "STATE", "OWNER", "HOST", "CPU", "MEMORY", "SINCE"];
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

/// All VMs that pass `filter`, read page by page, at most `most`. The flag tells that there are
/// more.
pub(super) async fn fetch(
    client: &Client,
    mut filter: ListFilter,
    most: usize,
) -> Result<(Vec<VmSummary>, bool), Failure> {
    let mut vms = Vec::new();
    loop {
        let left = u32::try_from(most - vms.len()).unwrap_or(PAGE_MAX);
        filter.limit = Some(left.min(PAGE_MAX));
        let page = client.vms(&filter).await?;
        // The next page must begin at a higher id. Otherwise this loop would never end.
        let next = page.next.filter(|next| filter.after.is_none_or(|after| *next > after));
        vms.extend(page.vms);
        match next {
            Some(_) if vms.len() >= most => return Ok((vms, true)),
            Some(next) => filter.after = Some(next),
            None if page.next.is_some() => {
                return Err(Failure::new(Exit::Server, "the daemon's pages go in circles"));
            }
            None => return Ok((vms, false)),
        }
    }
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, args: ListArgs) -> Result<(), Failure> {
    let client = cx.client()?;
    let ListArgs { all, state, name, called, host, owner, limit, sort, watch } = args;
    let name = name.or(called);
    let filter = ListFilter { state, name, host, owner, all, after: None, limit: None };
    let most = limit.map_or(LIST_MAX, |limit| LIST_MAX.min(limit as usize));
    watch::run(cx, &watch, async || {
        let (vms, more) = fetch(&client, filter.clone(), most).await?;
        if more {
            crate::out::aside(&format!(
                "showing the first {most}, there are more; --state, --name, --host and --owner \
                 narrow it"
            ));
        }
        cx.out.rows(&sorted(vms, sort))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_api::{CpuMilli, Size, Time};

    #[test]
    fn lists_are_sorted_as_asked() {
        let vm = |id: u64, name: &str, host: Option<&str>, memory, since| VmSummary {
            id,
            name: name.to_owned(),
            state: "running".into(),
            owner: "admin".to_owned(),
            host: host.map(str::to_owned),
            cpu: CpuMilli(100 * id),
            memory: Size(memory),
            memory_bytes: Size(memory).bytes(),
            created: Time(0),
            since: Time(since),
            version: 1,
        };
        let vms = || {
            vec![
                vm(1, "web", None, 96, 30),
                vm(2, "db", Some("h2"), 2048, 10),
                vm(3, "app", Some("h1"), 512, 20),
            ]
        };
        let ids = |by| sorted(vms(), by).iter().map(|vm| vm.id).collect::<Vec<_>>();
        assert_eq!(
            [ids(Sort::Id), ids(Sort::State), ids(Sort::Owner)],
            [[1, 2, 3], [1, 2, 3], [1, 2, 3]]
        );
        assert_eq!(
            [ids(Sort::Name), ids(Sort::Host), ids(Sort::Cpu)],
            [[3, 2, 1], [3, 2, 1], [3, 2, 1]]
        );
        assert_eq!([ids(Sort::Memory), ids(Sort::Since)], [[2, 3, 1], [2, 3, 1]]);
    }
}
