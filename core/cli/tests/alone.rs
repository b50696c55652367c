//! What the command does and prints when there is no daemon.

#[allow(dead_code)]
mod support;

use std::io::Write;
use std::process::Stdio;
use support::{Ran, command, run};

const NOWHERE: &str = "--server=unix:/nonexistent/ostler.sock";

#[test]
fn a_daemon_that_is_away_is_6() {
    let began = std::time::Instant::now();
    for args in [
        &["vm", "list"][..],
        &["vm", "show", "1"],
        &["vm", "resume", "1..50"],
        &["event", "watch"],
        &["host", "remove", "a", "b"],
    ] {
        let ran =
            run(&[&[NOWHERE], args].concat()).expect(6).says("cannot reach ostlerd").says("hint: ");
        assert_eq!(ran.err.matches("error:").count(), 1, "said once: {}", ran.err);
    }
    assert!(began.elapsed().as_secs() < 20);
    run(&["--server=http://127.0.0.1:1", "vm", "list"]).expect(6);
    let version = run(&[NOWHERE, "version", "-o", "json"]).expect(6);
    assert_eq!(version.json()["client"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn wrong_usage_is_2() {
    let cases: &[(&[&str], &str)] = &[
        (&[], "Usage"),
        (&["vm"], "Usage"),
        (&["vm", "dance", "1"], "unrecognized"),
        (&["vm", "destroy", "1"], "`ostler vm poweroff --hard VM` pulls the plug and keeps the VM"),
        (&["host", "evacuate", "h1"], "ostler host draining"),
        (&["help", "vm", "pause"], "ostler vm suspend"),
        (&["vm", "console-log", "1..3"], "this is about one VM, and 1..3 are 3"),
        (&["events", "--vm", "1..3"], "this is about one VM"),
        (&["vm", "deploy"], "required"),
        (&["vm", "recover", "1"], "required"),
        (&["vm", "recover", "1", "--success", "--undo"], "cannot be used"),
        (&["vm", "create"], "--file"),
        (&["vm", "list", "-o", "xml"], "possible values"),
        (&["vm", "resume", "5..1"], "backwards"),
        (&["vm", "resume", "1..1000000"], "more than"),
        (&["vm", "resume", "1", "2", "--if-version", "3"], "one VM"),
        (&["vm", "resume", "1", "--timeout", "soon"], "length of time"),
        (&["--server=ftp://x", "vm", "list"], "endpoint"),
        (&["--token-file=/nonexistent", "vm", "list"], "token file"),
        (&["--token-file=/dev/zero", "vm", "list"], "token file"),
        (&["host", "add", "a", "--driver", "sim", "--set", "novalue"], "KEY=VALUE"),
        (&["host", "add", "a", "--driver", "sim", "--cpu", "4"], "--memory"),
        (&["host", "change", "a"], "nothing to change"),
        (&["token", "add", "a", "--scope", "root"], "possible values"),
        (&["--server=http://127.0.0.1:1", "admin", "backup", "relative"], "absolute"),
        (&["help", "vm", "craete"], "did you mean create?"),
    ];
    for (args, words) in cases {
        run(args).expect(2).says(words);
    }
}

#[test]
fn the_environment_says_where_and_may_be_wrong() {
    let run = |server: &str| {
        Ran::of(
            &command().env("OSTLER_SERVER", server).args(["vm", "list"]).output().expect("runs"),
        )
    };
    run("ftp://x").expect(2).says("OSTLER_SERVER");
    run("unix:/nonexistent/ostler.sock").expect(6).says("unix:/nonexistent/ostler.sock");
}

#[test]
fn a_bad_file_is_2_and_nothing_is_sent() {
    let folder = tempfile::tempdir().expect("a folder");
    let cases: &[(&str, &[u8], &str)] = &[
        ("a.toml", b"name = \"a\"\nmemroy = 1\n", "did you mean memory?"),
        ("b.toml", b"name = \"a\nmemory = 1\n", "is not TOML"),
        ("c.json", b"{\"name\": \"a\"", "is not JSON"),
        ("d.yaml", b"name: [", "is not YAML"),
        ("e.toml", b"name = \"a\"\nmemory = \"1GB\"\n", "decimal unit"),
        ("f.toml", b"memory = 96\n", "--name"),
        ("g.toml", b"name = \"a\xff\"\n", "UTF-8"),
        ("h.yaml", b"- a\n", "no specification"),
        ("i.toml", &[b'#'; 1024 * 1024 + 1], "larger than"),
    ];
    for (name, bytes, words) in cases {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        let path = path.display().to_string();
        // Nobody listens there. If anything were sent, the exit code would be 6.
        run(&[NOWHERE, "vm", "create", "-f", &path]).expect(2).says(words);
    }
    run(&[NOWHERE, "vm", "create", "-f", "/nonexistent.toml"]).expect(2).says("No such file");
    run(&[NOWHERE, "vm", "create", "-f", "/"]).expect(2);
    run(&[NOWHERE, "vm", "create", "-f", "-"]).expect(2).says("standard input");
}

#[test]
fn help_and_completions_need_no_daemon() {
    assert!(
        run(&["help", "exit-codes"]).expect(0).out.contains("6  The daemon cannot be reached.")
    );
    assert!(run(&["help", "vm", "create"]).expect(0).out.contains("--hold"));
    assert!(run(&["help"]).expect(0).out.contains("Exit codes"));
    assert!(run(&["help", "spec"]).expect(0).out.contains("[headroom]"));
    let (long, short) = (
        run(&["vm", "migrate", "--help"]).expect(0).out,
        run(&["vm", "migrate", "-h"]).expect(0).out,
    );
    assert_eq!(long, short, "help has one length, which fits a screen");
    assert!(run(&["--version"]).expect(0).out.starts_with("ostler "));
    for (shell, word) in
        [("bash", "complete -F"), ("zsh", "#compdef ostler"), ("fish", "complete -c ostler")]
    {
        assert!(run(&["completion", shell]).expect(0).out.contains(word), "{shell}");
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_trouble() {
    let mut child = command()
        .args(["completion", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    drop(child.stdout.take());
    Ran::of(&child.wait_with_output().expect("ends")).expect(0);
}

#[test]
fn the_contract_is_written_for_other_languages() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("wit/deps/ostler-driver");
    let (path, types) = (dir.display().to_string(), dir.join("types.wit"));
    assert_eq!(run(&["plugin", "wit", &path]).expect(0).out.trim(), path);
    let text = std::fs::read_to_string(&types).expect("read");
    assert!(text.contains("package ostler:driver@0.1.0;"), "{text}");
    run(&["plugin", "wit", &path]).expect(0);
    std::fs::write(&types, "mine").expect("written");
    run(&["plugin", "wit", &path]).expect(4).says("types.wit is there already");
    assert_eq!(std::fs::read_to_string(&types).expect("read"), "mine");
}

#[test]
fn a_component_that_another_tool_has_built_gets_its_manifest() {
    let Some(plugins) = support::plugins() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (with, without, manifest) =
        (path("with.wasm"), path("without.wasm"), path("manifest.toml"));
    // The sim, as a tool would build it that knows nothing of manifests.
    let mut bytes = std::fs::read(plugins.join("sim.wasm")).expect("read");
    std::fs::write(&with, &bytes).expect("written");
    let section = b"ostler:manifest";
    while let Some(at) = bytes.windows(section.len()).position(|part| part == section) {
        bytes[at..at + section.len()].copy_from_slice(b"another:section");
    }
    std::fs::write(&without, &bytes).expect("written");
    run(&["plugin", "inspect", &without]).expect(2).says("ostler plugin embed");

    let text = "name = \"mine\"\nversion = \"1.2.3\"\nsummary = \"s\"\nlicence = \"MIT\"\n\
                authors = []\n";
    std::fs::write(&manifest, text).expect("written");
    let made = path("made.wasm");
    let embed = |component: &str, manifest: &str| {
        run(&["plugin", "embed", component, "--manifest", manifest, "--to", &made])
    };
    // Nothing is written that is no driver.
    embed(&without, &path("no.toml")).expect(2).says("no.toml");
    embed(&with, &manifest).expect(2).says("two different manifests");
    embed(&manifest, &manifest).expect(2);
    std::fs::write(path("wrong.toml"), format!("{text}colour = \"red\"\n")).expect("written");
    embed(&without, &path("wrong.toml")).expect(2).says("colour");
    std::fs::write(path("long.toml"), "#".repeat(70_000)).expect("written");
    embed(&without, &path("long.toml")).expect(2).says("larger than");
    assert!(!std::path::Path::new(&made).exists());

    assert_eq!(embed(&without, &manifest).expect(0).out.trim(), made);
    let inspected = run(&["plugin", "inspect", &made, "-o", "json"]).expect(0).json();
    assert_eq!(
        (&inspected["name"], &inspected["version"], &inspected["kinds"][0]),
        (&"mine".into(), &"1.2.3".into(), &"hypervisor".into())
    );
}

#[test]
fn drivers_are_laid_down_and_looked_at() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().display().to_string();
    let made = run(&["plugin", "new", "mine", "--kind", "rules", "--dir", &dir]).expect(0);
    assert!(std::path::Path::new(made.out.trim()).join("manifest.toml").exists());
    run(&["plugin", "new", "mine", "--kind", "rules", "--dir", &dir])
        .expect(4)
        .says("there already");
    let digit = run(&["plugin", "new", "8.most", "--kind", "rules", "--dir", &dir, "-o", "table"])
        .expect(0);
    assert!(
        digit.err.contains("driver_8_most.wasm"),
        "the crate's name has no digit first: {}",
        digit.err
    );
    run(&["plugin", "new", "../x", "--kind", "rules", "--dir", &dir]).expect(2);
    let file = folder.path().join("no.wasm");
    std::fs::File::create(&file).and_then(|mut file| file.write_all(b"not wasm")).expect("written");
    let file = file.display().to_string();
    run(&["plugin", "inspect", &file]).expect(2);
    run(&["plugin", "test", &file]).expect(2);
    run(&["plugin", "inspect", "/nonexistent.wasm"]).expect(2);
    let Some(plugins) = support::plugins() else { return };
    let sim = plugins.join("sim.wasm").display().to_string();
    let inspected = run(&["plugin", "inspect", &sim, "-o", "json"]).expect(0).json();
    assert_eq!((&inspected["name"], &inspected["kinds"][0]), (&"sim".into(), &"hypervisor".into()));
    assert!(run(&["plugin", "inspect", &sim]).expect(0).out.contains("ASKS FOR"));
    // Settings and capabilities that the manifest does not have are reported, not ignored.
    run(&["plugin", "test", &sim, "--set", "datastor=system"])
        .expect(2)
        .says("did you mean datastore?");
    run(&["plugin", "test", &sim, "--secret", "a=/no/such/file"]).expect(2).says("/no/such/file");
    run(&["plugin", "test", &sim, "--second", "foldr=b"]).expect(2).says("did you mean folder?");
    run(&["plugin", "test", &sim, "--grant", "file"]).expect(2).says("did you mean files?");
}

#[test]
fn a_test_of_a_driver_writes_its_report_and_says_by_its_code_how_it_went() {
    let Some(plugins) = support::plugins() else { return };
    let sim = plugins.join("sim.wasm").display().to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("report.json").display().to_string();
    let only = "--only=deploy-runs,deploy-cut,attach-nic-twice";
    let test = |more: &[&str]| {
        run(&[&["plugin", "test", &sim, only, "--report", &path, "-o", "table"], more].concat())
    };
    let read = || -> serde_json::Value {
        let text = std::fs::read(folder.path().join("report.json")).expect("a report");
        serde_json::from_slice(&text).expect("JSON")
    };
    // All passed, and what was skipped says why.
    assert!(test(&[]).expect(0).out.contains("stopped 4 times at 2 calls to the host"));
    let report = read();
    assert_eq!((&report["passed"], &report["driver"]["name"]), (&true.into(), &"sim".into()));
    let checks = report["checks"].as_array().expect("checks");
    let line = |check: &serde_json::Value| {
        let word = |key: &str| check[key].as_str().unwrap_or("-").to_owned();
        assert!(check["took_ms"].is_u64() && !word("rule").is_empty(), "{check}");
        format!("{} {} {} {}", word("kind"), word("check"), word("result"), word("note"))
    };
    assert_eq!(
        checks.iter().map(line).collect::<Vec<_>>(),
        [
            "hypervisor deploy-runs passed -",
            "hypervisor deploy-cut passed stopped 4 times at 2 calls to the host",
            "hypervisor attach-nic-twice skipped -",
        ]
    );
    assert!(checks[2]["reason"].as_str().is_some_and(|why| why.contains("no bridge")));
    // A rule is broken.
    let knobs = r#"knobs={"rules":[{"call":"deploy","error":"refused"}]}"#;
    test(&["--set", knobs]).expect(1).says("deploy-runs");
    let report = read();
    assert_eq!(
        (&report["passed"], &report["checks"][0]["result"]),
        (&false.into(), &"failed".into())
    );
    assert!(
        report["checks"][0]["reason"].as_str().is_some_and(|why| why.contains("refused (knob)"))
    );
    // Nobody stops the driver.
    test(&["--cuts-within", "0s"]).expect(0);
    assert_eq!(read()["checks"][1]["result"], "skipped");
    // It cannot be run, or the report has no place.
    run(&["plugin", "test", "/nonexistent.wasm"]).expect(2);
    run(&["plugin", "test", &sim, only, "--report", "/nonexistent/report.json"])
        .expect(2)
        .says("the report cannot be written to /nonexistent/report.json");
}

#[test]
fn a_run_is_recorded_and_played_back_and_wrong_usage_is_told() {
    let Some(plugins) = support::plugins() else { return };
    let sim = plugins.join("sim.wasm").display().to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let test = |more: &[&str]| run(&[&["plugin", "test", &sim, "-o", "table"], more].concat());
    let (only, cassette) = ("--only=deploy-runs,remove-twice", path("suite.jsonl"));
    test(&[only, "--record", &cassette]).expect(0);
    let played = test(&["--replay", &cassette]).expect(0).out;
    assert!(played.contains("2 checks: 2 passed, 0 failed, 0 skipped"), "{played}");
    // Another answer of the host makes the driver do something else.
    let text = std::fs::read_to_string(&cassette).expect("a cassette");
    let other = text.replacen(r#""answer":{"ok":null}"#, r#""answer":{"ok":"what is this?"}"#, 1);
    assert_ne!(text, other, "sim looks for its file");
    std::fs::write(path("other.jsonl"), other).expect("written");
    test(&["--replay", &path("other.jsonl")])
        .expect(1)
        .says("sim does something else than what was recorded: check deploy-runs, call deploy of ")
        .says("record it anew with --record");
    // Nothing runs.
    test(&["--replay", &cassette, "--set", "folder=x"]).expect(2).says("--replay");
    test(&["--replay", &path("none.jsonl")]).expect(2).says("none.jsonl: No such file");
    std::fs::write(path("empty.jsonl"), "{}").expect("written");
    test(&["--replay", &path("empty.jsonl")]).expect(2).says("line 1 of the cassette");
    test(&["--record", "/nonexistent/suite.jsonl"]).expect(2).says("/nonexistent/suite.jsonl");
    std::fs::write(path("pin"), "123").expect("written");
    test(&["--record", &path("new.jsonl"), "--secret", &format!("pin={}", path("pin"))])
        .expect(2)
        .says("secret pin has fewer than 8 characters");
}

#[test]
fn the_least_permissions_of_a_driver_are_told() {
    let Some(plugins) = support::plugins() else { return };
    let sim = plugins.join("sim.wasm").display().to_string();
    let least = |only: &str, more: &[&str]| {
        run(&[&["plugin", "test", &sim, "--least", "--cuts-within=0s", only], more].concat())
    };
    // A domain that is deployed needs files, and no command.
    let told = least("--only=deploy-runs", &["-o", "json"]).expect(0).json();
    let told = &told["least"];
    let manifest: toml::Table = told["manifest"].as_str().expect("TOML").parse().expect("TOML");
    let names: Vec<&str> = manifest["capability"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|asked| asked["name"].as_str())
        .collect();
    assert_eq!(names, ["config", "files"]);
    assert!(manifest["config"].get("datastore").is_some() && !manifest.contains_key("command"));
    let unused = told["unused"].as_array().expect("a list");
    assert!(["exec", "exec:convert", "exec:head"].iter().all(|it| unused.contains(&(*it).into())));
    assert_eq!(told["denied"], serde_json::json!([]));
    // A disk that stands on an image needs a command. The same driver with a manifest that forgets
    // this command is denied it.
    let component = std::fs::read(plugins.join("transfer-qcow2.wasm")).expect("it is built");
    let folder = tempfile::tempdir().expect("a folder");
    let test = |name: &str, component: &[u8]| {
        let file = folder.path().join(name);
        std::fs::write(&file, component).expect("written");
        let (file, only) = (file.display().to_string(), "--only=prepare-twice");
        run(&["plugin", "test", &file, "--least", "--cuts-within=0s", only, "-o", "table"]).out
    };
    let page = test("whole.wasm", &component);
    for line in [r#"name = "overlay""#, r#"program = "/usr/bin/qemu-img""#] {
        assert!(page.contains(line), "{page}");
    }
    assert!(!page.contains("Tried and not asked for"), "{page}");
    let (from, to) = (br#"name = "overlay""#, br#"name = "forgets""#);
    let mut forgets = component.clone();
    for at in 0..component.len() - from.len() {
        if component[at..].starts_with(from) {
            forgets[at..at + to.len()].copy_from_slice(to);
        }
    }
    let page = test("forgets.wasm", &forgets);
    let tried = "Tried and not asked for (each try was denied): exec:overlay";
    assert!(page.contains(tried) && page.contains("exec:forgets"), "{page}");
    run(&["plugin", "test", &sim, "--least", "--grant", "files"]).expect(2).says("--least");
}
