//! The contract of drivers as it is written in WIT: what a component of an earlier contract would
//! miss in a later one, and the reference for authors.

use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::path::Path;
use wit_bindgen_core::wit_parser::{PackageId, Resolve, SourceMap, WorldId};
use wit_bindgen_core::{Files, WorldGenerator as _};
use wit_component::semver_check;

/// The world that holds all others. Its name is not in the reference.
const ALL: &str = "contract";
/// A world of the contract that says nothing new: it is for the host's own bindings.
const EVERYTHING: &str = "everything";

/// The beginning of the reference.
const TITLE: &str = "# The contract of drivers\n\n\
    Made from `sdk/wit/0.1` by `sdk/contract`; do not edit it.\n\
    A driver *imports* what it uses of the host, and *exports* what it can do: one of `hypervisor`, \
    `transfer` and `snapshot-rules`, and an interface for each ability.\n\
    How to write one is told in [plugin-guide.md](plugin-guide.md).\n\n";

/// A WIT file: its name, and its text.
pub type WitFile = (String, String);

/// The files of a contract, in the order of their names.
///
/// # Errors
/// The folder or one of its files cannot be read.
pub fn files(folder: &Path) -> Result<Vec<WitFile>> {
    let mut files = Vec::new();
    let entries = folder.read_dir().with_context(|| folder.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        files.push((path.display().to_string(), text));
    }
    files.sort();
    Ok(files)
}

fn parse(into: &mut Resolve, files: &[WitFile]) -> Result<PackageId> {
    let mut texts = SourceMap::new();
    for (name, text) in files {
        texts.push_str(name, text.clone());
    }
    let parsed = texts.parse().map_err(|(_, error)| error)?;
    Ok(into.push_group(parsed)?)
}

fn worlds(resolve: &Resolve, package: PackageId) -> Vec<(String, WorldId)> {
    let worlds = &resolve.packages[package].worlds;
    worlds.iter().map(|(name, id)| (name.clone(), *id)).collect()
}

/// Everything that a component of the contract `before` would miss in a host of the contract `now`.
/// Both are of version 0.1.0.
///
/// # Errors
/// One of the contracts is not valid WIT.
pub fn misfits(before: &[WitFile], now: &[WitFile]) -> Result<Vec<String>> {
    // One resolve does not take the same version twice.
    let renamed: Vec<WitFile> = before
        .iter()
        .map(|(name, text)| (name.clone(), text.replace("@0.1.0;", "@0.0.0;")))
        .collect();
    let mut both = Resolve::default();
    let old = parse(&mut both, &renamed)?;
    let new = parse(&mut both, now)?;
    let mut found = Vec::new();
    for (name, before) in worlds(&both, old) {
        let Some(&now) = both.packages[new].worlds.get(&name) else {
            found.push(format!("world {name} is gone"));
            continue;
        };
        // A host that no longer asks for an export has lost an ability.
        let lost: Vec<String> =
            exports(&both, before).difference(&exports(&both, now)).cloned().collect();
        if !lost.is_empty() {
            found.push(format!("world {name} no longer exports {}", lost.join(", ")));
        }
        if let Err(error) = semver_check(both.clone(), before, now) {
            found.push(format!("world {name}: {error:#}"));
        }
    }
    Ok(found)
}

/// The interfaces that a world exports, without their versions.
fn exports(resolve: &Resolve, world: WorldId) -> BTreeSet<String> {
    let keys = resolve.worlds[world].exports.keys();
    keys.map(|key| resolve.name_world_key(key).split('@').next().unwrap_or_default().to_owned())
        .collect()
}

/// The reference of a contract, in Markdown: each interface with its types and functions, and their
/// comments.
///
/// # Errors
/// The contract is not valid WIT.
pub fn reference(contract: &[WitFile]) -> Result<String> {
    let mut alone = Resolve::default();
    let package = parse(&mut alone, contract)?;
    let name = &alone.packages[package].name;
    let mut all = format!("package {name};\nworld {ALL} {{\n");
    for (world, _) in worlds(&alone, package) {
        if world != EVERYTHING {
            all.push_str(&format!("include {world};\n"));
        }
    }
    all.push('}');
    let mut resolve = Resolve::default();
    let files = [contract, &[("all.wit".to_owned(), all)]].concat();
    let package = parse(&mut resolve, &files)?;
    let world = resolve.select_world(&[package], Some(ALL))?;
    let mut made = Files::default();
    wit_bindgen_markdown::Opts::default().build().generate(&mut resolve, world, &mut made)?;
    let markdown = made.iter().find(|(name, _)| name.ends_with(".md"));
    let (_, text) = markdown.context("no Markdown was made")?;
    let text = std::str::from_utf8(text)?;
    // Its first line is the heading of a world that exists here only.
    let (_, body) = text.split_once('\n').context("the Markdown is empty")?;
    Ok(format!("{TITLE}{}\n", body.trim()))
}
