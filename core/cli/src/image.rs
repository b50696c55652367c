//! `ostler image`.

use crate::Failure;
use crate::context::{Context, remove_each};
use crate::out::Row;
use crate::show::Page;
use crate::table::Cell;
use crate::text::{moment, notes, now};
use crate::watch::{self, Watch};
use clap::{Args, Subcommand};
use ostler_api::{Image, NewImage};

/// Images.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Registers a file that is in an image datastore already
    #[command(aliases = ["create", "register"])]
    Add(AddImage),
    /// Lists images
    #[command(alias = "ls")]
    List(Watch),
    /// Shows all about an image
    #[command(aliases = ["info", "get", "describe", "inspect"])]
    Show {
        /// Its name or id
        image: String,
    },
    /// Forgets images that no VM uses; their files stay
    #[command(aliases = ["rm", "delete"])]
    Remove {
        /// Names or ids
        #[arg(required = true)]
        images: Vec<String>,
    },
}

/// An image to add.
#[derive(Debug, Args)]
pub struct AddImage {
    /// Its name; unique
    name: String,
    /// Its file: DATASTORE:RELATIVE/PATH
    #[arg(long, value_name = "FILE")]
    path: String,
    /// Its format; by the file's extension if not given
    #[arg(long, value_parser = ["qcow2", "raw"])]
    format: Option<String>,
}

impl Row for Image {
    const HEADINGS: &'static [&'static str] =
        &["ID", "NAME", "STATE", "FORMAT", "SIZE", "USED BY", "PATH"];
    const WIDER: &'static [&'static str] = &["ADDED"];

    fn cells(&self) -> Vec<Cell> {
        vec![
            self.id.into(),
            Cell::from(&self.name),
            Cell::state(&self.state),
            Cell::from(&self.format),
            Cell::from(&self.size.map_or_else(String::new, |size| size.to_string())),
            self.used_by.into(),
            Cell::from(&self.path),
            self.added.into(),
        ]
    }

    fn handle(&self) -> String {
        self.name.clone()
    }
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, command: ImageCommand) -> Result<(), Failure> {
    let client = cx.client()?;
    match command {
        ImageCommand::Add(AddImage { name, path, format }) => {
            let added = client.add_image(&NewImage { name, path, format }).await?;
            let line = || {
                let size = added.size.map(|size| format!(", {size}")).unwrap_or_default();
                let told =
                    format!("image {} {}: added, {}{size}\n", added.id, added.name, added.state);
                told + &notes(&added.notes)
            };
            cx.out.write(&cx.out.one(&added, &added.name, line)?)
        }
        ImageCommand::List(watch) => {
            watch::run(cx, &watch, async || cx.out.rows(&client.images().await?)).await
        }
        ImageCommand::Show { image } => {
            let image = client.image(&image).await?;
            let page = || {
                let mut page = Page::new(cx.out.colour);
                page.section("Information")
                    .pair("ID", image.id)
                    .pair("Name", &image.name)
                    .state("State", &image.state);
                page.pair("Path", &image.path)
                    .pair("Format", &image.format)
                    .pair("Used by", format!("{} disks", image.used_by));
                page.pair(
                    "Size",
                    image.size.map_or_else(|| "not known".to_owned(), |size| size.to_string()),
                );
                page.pair("Added", moment(now(), image.added));
                page.done()
            };
            cx.out.write(&cx.out.one(&image, &image.name, page)?)
        }
        ImageCommand::Remove { images } => {
            remove_each(cx, "image", &images, |name| {
                let client = client.clone();
                async move { client.remove_image(&name).await }
            })
            .await
        }
    }
}
