//! `ostler datastore`.

use crate::Failure;
use crate::context::{Context, remove_each};
use crate::out::Row;
use crate::show::Page;
use crate::table::Cell;
use crate::text::{moment, notes, now};
use crate::watch::{self, Watch};
use clap::{Args, Subcommand};
use ostler_api::{Datastore, NewDatastore};

/// Datastores.
#[derive(Debug, Subcommand)]
pub enum DatastoreCommand {
    /// Adds a datastore
    #[command(alias = "create")]
    Add(AddDatastore),
    /// Lists datastores
    #[command(alias = "ls")]
    List(Watch),
    /// Shows all about a datastore
    #[command(aliases = ["info", "get", "describe", "inspect"])]
    Show {
        /// Its name or id
        datastore: String,
    },
    /// Removes datastores that nothing uses
    #[command(aliases = ["rm", "delete"])]
    Remove {
        /// Names or ids
        #[arg(required = true)]
        datastores: Vec<String>,
    },
}

/// A datastore to add.
#[derive(Debug, Args)]
pub struct AddDatastore {
    /// Its name; unique
    name: String,
    /// What it holds: images, or the disks of VMs
    #[arg(long, value_parser = ["image", "system"])]
    kind: String,
    /// The transfer driver in charge: transfer-qcow2, ...
    #[arg(long, value_name = "NAME")]
    driver: String,
    /// Its absolute directory on every host that sees it
    #[arg(long, value_name = "DIRECTORY")]
    root: String,
    /// All hosts see the same files there; otherwise each host has files of its own
    #[arg(long)]
    shared: bool,
}

impl Row for Datastore {
    const HEADINGS: &'static [&'static str] = &["ID", "NAME", "KIND", "DRIVER", "SHARED", "ROOT"];
    const WIDER: &'static [&'static str] = &["ADDED"];

    fn cells(&self) -> Vec<Cell> {
        vec![
            self.id.into(),
            Cell::from(&self.name),
            Cell::from(&self.kind),
            Cell::from(&self.driver),
            shared(self).into(),
            Cell::from(&self.root),
            self.added.into(),
        ]
    }

    fn handle(&self) -> String {
        self.name.clone()
    }
}

const fn shared(datastore: &Datastore) -> &'static str {
    if datastore.shared { "shared" } else { "per host" }
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, command: DatastoreCommand) -> Result<(), Failure> {
    let client = cx.client()?;
    match command {
        DatastoreCommand::Add(AddDatastore { name, kind, driver, root, shared }) => {
            let added =
                client.add_datastore(&NewDatastore { name, kind, driver, root, shared }).await?;
            let line =
                || format!("datastore {} {}: added\n", added.id, added.name) + &notes(&added.notes);
            cx.out.write(&cx.out.one(&added, &added.name, line)?)
        }
        DatastoreCommand::List(watch) => {
            watch::run(cx, &watch, async || cx.out.rows(&client.datastores().await?)).await
        }
        DatastoreCommand::Show { datastore } => {
            let datastore = client.datastore(&datastore).await?;
            let page = || {
                let mut page = Page::new(cx.out.colour);
                page.section("Information").pair("ID", datastore.id).pair("Name", &datastore.name);
                page.pair("Kind", &datastore.kind)
                    .pair("Driver", &datastore.driver)
                    .pair("Root", &datastore.root);
                page.pair("Files", shared(&datastore))
                    .pair("Added", moment(now(), datastore.added));
                for note in &datastore.notes {
                    page.pair("Note", note);
                }
                page.done()
            };
            cx.out.write(&cx.out.one(&datastore, &datastore.name, page)?)
        }
        DatastoreCommand::Remove { datastores } => {
            remove_each(cx, "datastore", &datastores, |name| {
                let client = client.clone();
                async move { client.remove_datastore(&name).await }
            })
            .await
        }
    }
}
