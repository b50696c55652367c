//! `docs/tutorial.md`: its code is that of `sdk/examples/rust`, and this driver passes its own tests
//! and the suite. The manifests of `docs/driver-recipes.md` are valid; its code is a test of the SDK.

mod support;

use ostler_testkit::TestOptions;
use std::path::{Path, PathBuf};
use support::{build, cargo, skip, tried, workspace};

/// The driver of the tutorial.
fn example() -> PathBuf {
    workspace().join("sdk/examples/rust")
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The blocks of a document in that language, in their order.
fn blocks(document: &str, language: &str) -> Vec<String> {
    let begin = format!("```{language}\n");
    let mut found = Vec::new();
    let mut rest = document;
    while let Some((_, after)) = rest.split_once(&begin) {
        let (block, after) = after.split_once("```\n").expect("the block ends");
        found.push(block.to_owned());
        rest = after;
    }
    found
}

#[test]
fn the_tutorial_has_the_code_of_the_example() {
    let tutorial = text(&workspace().join("docs/tutorial.md"));
    // A reader puts the blocks into src/lib.rs one after the other.
    assert_eq!(blocks(&tutorial, "rust").join("\n"), text(&example().join("src/lib.rs")));
    let toml = blocks(&tutorial, "toml");
    let [dependencies, manifest] = toml.as_slice() else {
        panic!("the tutorial has {} blocks of TOML", toml.len())
    };
    assert_eq!(*manifest, text(&example().join("manifest.toml")));
    let wanted = dependencies.replace("OSTLER/sdk/rust", "../../rust");
    let known = text(&example().join("Cargo.toml"));
    assert!(known.contains(&wanted), "{known} does not have {wanted}");
}

/// Copies the example, with the SDK of this workspace.
fn copied(to: &Path) -> PathBuf {
    let folder = to.join("tiny-qemu");
    std::fs::create_dir_all(folder.join("src")).expect("a folder");
    for file in ["manifest.toml", "src/lib.rs"] {
        std::fs::copy(example().join(file), folder.join(file)).expect("copied");
    }
    let sdk = workspace().join("sdk/rust").display().to_string();
    let cargo = text(&example().join("Cargo.toml")).replace("../../rust", &sdk);
    std::fs::write(folder.join("Cargo.toml"), cargo).expect("written");
    folder
}

/// The tutorial has its reader run `cargo check` after each piece, up to the calls.
#[test]
fn each_piece_compiles_as_a_reader_types_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = copied(folder.path());
    let pieces = blocks(&text(&workspace().join("docs/tutorial.md")), "rust");
    let calls = pieces.iter().position(|piece| piece.contains("impl Hypervisor for"));
    let calls = calls.expect("a piece begins the calls");
    assert!(calls > 3, "the calls are the last pieces but one");
    for typed in 1..=calls {
        std::fs::write(folder.join("src/lib.rs"), pieces[..typed].join("\n")).expect("written");
        cargo(&folder, &["check"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_driver_of_the_tutorial_passes() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = copied(folder.path());
    cargo(&folder, &["test"]);
    let file = build(&folder);
    for tool in ["/usr/bin/qemu-system-x86_64", "/usr/bin/pkill"] {
        if !Path::new(tool).is_file() {
            return skip(&format!("there is no {tool}: run scripts/setup"));
        }
    }
    let report = tried(&file, &TestOptions::default()).await;
    assert!(report.passed(), "{report}");
    // The last line is as the reader is told.
    let report = report.to_string();
    let last = report.trim_end().lines().last().expect("a last line");
    let told = text(&workspace().join("docs/tutorial.md"));
    assert!(told.lines().any(|line| line == last), "the tutorial has another line than {last}");
}

#[test]
fn the_manifest_of_all_recipes_is_valid() {
    let recipes = text(&workspace().join("docs/driver-recipes.md"));
    let parts = blocks(&recipes, "toml");
    let of_cargo = |part: &String| part.starts_with("# Cargo.toml");
    let manifest: Vec<String> = ["name = \"all\"\nversion = \"1\"\nsummary = \"All recipes\"\n"]
        .into_iter()
        .chain(["licence = \"Apache-2.0\"\nauthors = []\n"])
        .map(str::to_owned)
        .chain(parts.into_iter().filter(|part| !of_cargo(part)))
        .collect();
    let manifest = ostler_wasm::Manifest::parse(manifest.concat().as_bytes()).expect("valid");
    assert_eq!(manifest.capabilities.len(), 6, "each capability has a recipe");
}
