//! Rules of the source tree that the compiler does not check: which crate may depend on which, no
//! test kit in the daemon, circles of imports between modules, the length of files and functions, a
//! doc for each module, no `todo!` or ignored test, and no command line of `ostler` in crates that
//! do not know the command line.

mod circles;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The longest file. A longer one probably holds two ideas.
const FILE_LINES_MAX: usize = 500;
/// The longest function, from the line of `fn` to its closing brace. A longer one probably holds
/// two ideas.
const FUNCTION_LINES_MAX: usize = 70;

/// The crates that each crate may depend on, except for its tests. `docs/ARCHITECTURE.md` gives the
/// reasons.
const EDGES: &[(&str, &[&str])] = &[
    ("ostler-model", &[]),
    ("ostler-lifecycle", &["ostler-model"]),
    ("ostler-store", &["ostler-model"]),
    ("ostler-driver", &["ostler-model"]),
    ("ostler-driver-testkit", &["ostler-model", "ostler-driver"]),
    ("ostler-libvirt", &["ostler-model", "ostler-driver"]),
    ("ostler-wasm", &["ostler-model", "ostler-driver"]),
    ("ostler-engine", &["ostler-model", "ostler-lifecycle", "ostler-store", "ostler-driver"]),
    ("ostler-api", &[]),
    (
        "ostler-server",
        &[
            "ostler-model",
            "ostler-engine",
            "ostler-store",
            "ostler-driver",
            "ostler-libvirt",
            "ostler-wasm",
            "ostler-api",
        ],
    ),
    ("ostler-cli", &["ostler-api", "ostler-testkit", "ostler-wasm"]),
    ("ostler-sdk", &[]),
    ("ostler-testkit", &["ostler-model", "ostler-driver", "ostler-driver-testkit", "ostler-wasm"]),
    ("ostler-plugin-qemu", &["ostler-sdk"]),
    ("ostler-plugin-sim", &["ostler-sdk"]),
    ("ostler-plugin-transfer-qcow2", &["ostler-sdk"]),
    ("ostler-plugin-snapshots-kvm", &["ostler-sdk"]),
    ("ostler-plugin-snapshots-xen", &["ostler-sdk"]),
    ("ostler-plugin-snapshots-vmware", &["ostler-sdk"]),
    ("ostler-simulation", &[]),
];

/// External crates that only one crate of the workspace may depend on.
const OWNED: &[(&str, &str)] = &[
    ("redb", "ostler-store"),
    ("minisign", "ostler-cli"),
    ("minisign-verify", "ostler-wasm"),
    ("virt", "ostler-libvirt"),
    ("virt-sys", "ostler-libvirt"),
    ("wasmtime", "ostler-wasm"),
];

/// Crates for tests of drivers. The daemon is built without them.
const TEST_KITS: &[&str] = &["ostler-driver-testkit", "ostler-testkit"];

/// Circles of imports between modules of one crate, with a reason. A circle that is not here, or
/// that is larger than here, is refused.
const CIRCLES: &[(&str, &[&str], &str)] = &[
    (
        "core/engine",
        &[
            "arguments",
            "bridges",
            "calls",
            "charge",
            "executor",
            "health",
            "hosts",
            "identity",
            "mailbox",
            "maybe_running",
            "scheduler",
            "seen",
            "shared",
            "sweep",
            "timers",
        ],
        "`shared` holds the parts of the engine, and each part is given `shared`; without `shared` \
         there is no circle",
    ),
    (
        "core/lifecycle",
        &["operation_end", "step", "step_result"],
        "a step is judged; the judgement begins the next step or settles the operation; a rollback \
         is made of steps again",
    ),
    (
        "core/store",
        &["batch", "book", "resource"],
        "a batch holds the books and has its commits judged against them and the resources: \
         the methods of the one type `Batch`, in a file for each kind",
    ),
    (
        "core/wasm",
        &["bindings", "capability", "instance"],
        "generated bindings name the handle of a call, which a capability is; capabilities are \
         linked for the state of an instance, and that state holds what they need of the call",
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests is below the root").to_owned()
}

/// The direct dependencies of each workspace member, without those for tests and benchmarks.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    assert!(
        out.status.success(),
        "cargo metadata failed: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    let metadata: serde_json::Value =
        serde_json::from_slice(&out.stdout).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("there are packages");
    let names = |package: &serde_json::Value| {
        let normal = |dependency: &&serde_json::Value| dependency["kind"].is_null();
        let name = |dependency: &serde_json::Value| dependency["name"].as_str().map(str::to_owned);
        package["dependencies"]
            .as_array()
            .expect("a list")
            .iter()
            .filter(normal)
            .filter_map(name)
            .collect()
    };
    packages
        .iter()
        .map(|package| (package["name"].as_str().expect("a name").to_owned(), names(package)))
        .collect()
}

/// The dependencies that are not allowed.
fn forbidden(found: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, dependencies) in found.iter().filter(|(name, _)| *name != "ostler-tests") {
        let allowed = EDGES.iter().find(|(of, _)| of == name).map(|(_, allowed)| *allowed);
        let Some(allowed) = allowed else {
            wrong.push(format!("{name} has no row in EDGES"));
            continue;
        };
        for dependency in dependencies {
            if dependency.starts_with("ostler-") && !allowed.contains(&dependency.as_str()) {
                wrong.push(format!("{name} -> {dependency}"));
            }
            if OWNED.iter().any(|(owned, by)| owned == dependency && by != name) {
                wrong.push(format!("{name} names {dependency}"));
            }
        }
    }
    wrong
}

#[test]
fn crates_depend_only_on_those_they_may() {
    let found = dependencies();
    assert!(found.len() > 10, "the workspace was not found: {found:?}");
    let wrong = forbidden(&found);
    assert!(wrong.is_empty(), "edges that docs/ARCHITECTURE.md does not allow: {wrong:#?}");
}

#[test]
fn an_edge_that_is_not_allowed_is_found() {
    let mut found = dependencies();
    found
        .get_mut("ostler-lifecycle")
        .expect("a crate")
        .extend(["ostler-store".to_owned(), "redb".to_owned()]);
    assert_eq!(
        forbidden(&found),
        ["ostler-lifecycle -> ostler-store", "ostler-lifecycle names redb"]
    );
}

/// Crates that one crate is built of, by the edges of all of them.
fn built_of(crates: &BTreeMap<String, BTreeSet<String>>, name: &str) -> BTreeSet<String> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![name.to_owned()]);
    while let Some(name) = next.pop() {
        next.extend(
            crates
                .get(&name)
                .into_iter()
                .flatten()
                .filter(|to| seen.insert((*to).clone()))
                .cloned(),
        );
    }
    seen
}

/// Crates of tests that the daemon is built of.
fn test_kits(crates: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    built_of(crates, "ostler-server")
        .into_iter()
        .filter(|name| TEST_KITS.contains(&name.as_str()))
        .collect()
}

#[test]
fn the_daemon_is_built_without_the_test_kits() {
    let found = dependencies();
    assert!(
        built_of(&found, "ostler-server").contains("ostler-model"),
        "a crate that it needs by others is seen"
    );
    assert!(
        TEST_KITS.iter().all(|name| found.contains_key(*name)),
        "the test kits were not found: {found:?}"
    );
    assert_eq!(test_kits(&found), [] as [&str; 0]);
}

#[test]
fn a_test_kit_in_the_daemon_is_found() {
    let mut found = dependencies();
    found.get_mut("ostler-wasm").expect("a crate").insert("ostler-driver-testkit".to_owned());
    assert_eq!(test_kits(&found), ["ostler-driver-testkit"]);
}

fn sources() -> Vec<(PathBuf, String)> {
    let out = Command::new("git")
        .args(["ls-files", "-co", "--exclude-standard", "*.rs"])
        .current_dir(root())
        .output()
        .expect("git runs");
    let names = String::from_utf8(out.stdout).expect("names are UTF-8");
    names
        .lines()
        .filter_map(|name| {
            std::fs::read_to_string(root().join(name)).ok().map(|text| (PathBuf::from(name), text))
        })
        .collect()
}

#[test]
fn every_module_says_what_it_is_for() {
    let silent: Vec<_> = sources()
        .into_iter()
        .filter(|(_, text)| !text.lines().any(|line| line.starts_with("//!")))
        .map(|(path, _)| path)
        .collect();
    assert!(silent.is_empty(), "no module doc (//!): {silent:#?}");
}

#[test]
fn files_and_functions_hold_one_idea() {
    let mut long = Vec::new();
    for (path, text) in sources() {
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            long.push(format!("{}: {lines} lines", path.display()));
        }
        long.extend(
            long_functions(&text)
                .into_iter()
                .map(|(line, length)| format!("{}:{line}: {length} lines", path.display())),
        );
    }
    assert!(
        long.is_empty(),
        "longer than {FILE_LINES_MAX} lines, or a function longer than {FUNCTION_LINES_MAX}: \
         {long:#?}"
    );
}

/// The functions that are too long. By rustfmt's indentation, a function ends at the closing brace
/// in its own column.
fn long_functions(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let head = line.trim_start();
        let is_function = [
            "fn ",
            "pub fn ",
            "pub(crate) fn ",
            "async fn ",
            "pub async fn ",
            "pub(crate) async fn ",
            "const fn ",
            "pub const fn ",
        ]
        .iter()
        .any(|start| head.starts_with(start));
        // A table in the form of one match may be long. An attribute of clippy marks it.
        let is_table = at > 0 && lines[at - 1].contains("too_many_lines");
        if !is_function || is_table {
            continue;
        }
        // The end of the head. There the body begins, or a semicolon or a one-line body ends the
        // function.
        let head_end = lines[at..].iter().position(|line| line.ends_with(['{', ';', '}']));
        if !head_end.is_some_and(|end| lines[at + end].ends_with('{')) {
            continue;
        }
        let closing = format!("{}}}", " ".repeat(indent));
        if let Some(length) = lines[at..].iter().position(|line| *line == closing)
            && length > FUNCTION_LINES_MAX
        {
            found.push((at + 1, length));
        }
    }
    found
}

#[test]
fn nothing_is_left_open() {
    let words = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("#[", "ignore"),
        concat!("#[", "should_panic"),
    ];
    let open: Vec<_> = sources()
        .into_iter()
        .flat_map(|(path, text)| {
            let lines = text
                .lines()
                .enumerate()
                .filter(|(_, line)| words.iter().any(|word| line.contains(word)));
            lines
                .map(|(at, line)| format!("{}:{}: {}", path.display(), at + 1, line.trim()))
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(open.is_empty(), "left open: {open:#?}");
}

/// Crates that know nothing of the command line: their errors and hints are data, and each client
/// makes its own commands.
const NO_COMMANDS: &[&str] = &["core/model/", "core/lifecycle/", "core/store/", "core/engine/"];

/// Lines of code that name a command of `ostler`, comments and tests left out.
fn commands<'a>(sources: impl IntoIterator<Item = &'a (PathBuf, String)>) -> Vec<String> {
    let word = concat!("ostler", " ");
    let mut found = Vec::new();
    for (path, text) in sources {
        let path = path.display().to_string();
        if !NO_COMMANDS.iter().any(|below| path.starts_with(&format!("{below}src/")))
            || path.ends_with("tests.rs")
        {
            continue;
        }
        let code = text.lines().enumerate().take_while(|(_, line)| *line != "#[cfg(test)]");
        let code = code.filter(|(_, line)| !line.trim_start().starts_with("//"));
        found.extend(
            code.filter(|(_, line)| line.contains(word))
                .map(|(at, line)| format!("{path}:{}: {}", at + 1, line.trim())),
        );
    }
    found
}

#[test]
fn no_command_line_is_written_below_the_server() {
    let found = commands(&sources());
    assert!(
        found.is_empty(),
        "a hint is a `model::Hint`, and the command line makes commands of it: {found:#?}"
    );
}

#[test]
fn a_command_line_below_the_server_is_found() {
    let line = concat!("    hint(\"`ostler", " host list` shows them\")\n");
    let of = |path: &str, text: &str| (PathBuf::from(path), text.to_owned());
    let sources = [
        of(
            "core/lifecycle/src/allowed.rs",
            &format!("// {line}fn f() {{\n{line}}}\n#[cfg(test)]\n{line}"),
        ),
        of("core/cli/src/advice.rs", line),
        of("core/engine/tests/engine/moves.rs", line),
    ];
    let found = commands(&sources);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("core/lifecycle/src/allowed.rs:3: "), "{found:?}");
}
