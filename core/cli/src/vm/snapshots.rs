//! `ostler vm snapshots`: lists the system snapshots of VMs.

use super::several;
use crate::Failure;
use crate::context::Context;
use crate::out::Row;
use crate::table::Cell;
use crate::watch::Watch;
use clap::Args;
use ostler_api::SnapshotEntry;

/// Selects the VMs.
#[derive(Debug, Args)]
pub struct SnapshotsArgs {
    /// Ids, names, or ranges such as 1..5
    #[arg(required = true, value_name = "VM")]
    vms: Vec<String>,
    #[command(flatten)]
    watch: Watch,
}

/// Prints the list.
pub(super) async fn list(cx: &Context, args: SnapshotsArgs) -> Result<(), Failure> {
    let client = cx.client()?;
    several::list(cx, &args.vms, &args.watch, async |vm| {
        client.vm(vm).await.map(|vm| (vm.id, vm.snapshots))
    })
    .await
}

/// Whether the VM can be reverted to the snapshot.
const fn offered(snapshot: &SnapshotEntry) -> &'static str {
    match (snapshot.losing, snapshot.hidden) {
        (true, _) => "being lost",
        (false, true) => "no",
        (false, false) => "yes",
    }
}

impl Row for SnapshotEntry {
    const HEADINGS: &'static [&'static str] = &["NAME", "LABEL", "MADE", "OFFERED"];
    const WIDER: &'static [&'static str] = &[];

    fn cells(&self) -> Vec<Cell> {
        let label = Some(&self.label).filter(|label| !label.is_empty());
        vec![Cell::from(&self.name), Cell::maybe(label), self.made.into(), offered(self).into()]
    }

    fn handle(&self) -> String {
        self.name.clone()
    }
}
