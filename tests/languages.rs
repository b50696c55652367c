//! Drivers in other languages than Rust: the examples in `sdk/examples` are built with the tools of
//! their languages, and pass the conformance suite. Without its comparison of generations none of
//! them does.

use ostler_tests::daemon::binaries;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A driver in `sdk/examples`.
struct Example {
    /// Its folder, and the beginning of its name.
    language: &'static str,
    /// The file that lists the tools.
    tools: &'static str,
    /// The code of the driver.
    code: &'static str,
    /// The place where it compares generations, and what makes it accept all of them.
    check: (&'static str, &'static str),
}

const PYTHON: Example = Example {
    language: "python",
    tools: "requirements.txt",
    code: "driver.py",
    check: ("if domain.generation > call.generation():", "if False:"),
};
const JAVASCRIPT: Example = Example {
    language: "javascript",
    tools: "package-lock.json",
    code: "driver.js",
    check: ("if (domain.generation > call.generation()) {", "if (false) {"),
};

/// The rules of the suite about generations, for the abilities that the examples have.
/// `reboot-fences` is about resets, too.
const FENCES: [&str; 5] =
    ["deploy-fences", "destroy-fences", "press-fences", "reboot-fences", "remove-fences"];
fn ostler() -> PathBuf {
    binaries().join("ostler")
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

impl Example {
    fn folder(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk/examples").join(self.language)
    }

    /// The folder that everything of it is built in.
    fn built(&self) -> PathBuf {
        binaries().parent().expect("profiles are below target").join("examples").join(self.language)
    }

    /// The folder of its tools. A test installs none.
    fn tools(&self) -> PathBuf {
        let tools = self.built().join("tools");
        let wanted = std::fs::read(self.folder().join(self.tools)).expect("the list of its tools");
        assert!(
            std::fs::read(tools.join("installed")).is_ok_and(|installed| installed == wanted),
            "the tools of sdk/examples/{} are not in {}, or are old: run scripts/setup --languages",
            self.language,
            tools.display()
        );
        tools
    }

    /// Builds the code in `folder` to a driver below `to`.
    fn build(&self, folder: &Path, to: &Path) -> PathBuf {
        let mut script = Command::new(folder.join("build.sh"));
        script.env("OSTLER", ostler()).env("TOOLS", self.tools()).env("BUILD", to);
        let ended = script.output().expect("the script starts");
        assert!(ended.status.success(), "{} is not built: {}", self.language, text(&ended));
        to.join(format!("{}-example.wasm", self.language))
    }

    /// Builds a copy that compares no generations.
    fn build_unfenced(&self) -> PathBuf {
        let copy = self.built().join("unfenced");
        let _ = std::fs::remove_dir_all(&copy);
        std::fs::create_dir_all(copy.join("wit")).expect("a folder");
        for file in ["build.sh", "manifest.toml", "wit/driver.wit", self.tools] {
            std::fs::copy(self.folder().join(file), copy.join(file)).expect("copied");
        }
        let code = std::fs::read_to_string(self.folder().join(self.code)).expect("its code");
        let (check, nothing) = self.check;
        assert_eq!(code.matches(check).count(), 1, "it has one such check: {check}");
        std::fs::write(copy.join(self.code), code.replace(check, nothing)).expect("written");
        self.build(&copy, &copy.join("build"))
    }
}

/// Runs the suite.
fn suite(driver: &Path, format: &str) -> Output {
    let mut command = Command::new(ostler());
    command.args(["plugin", "test", "--output", format]).arg(driver);
    command.output().expect("it starts")
}

fn is_conformant(example: &Example) {
    let ended = suite(&example.build(&example.folder(), &example.built()), "table");
    let report = text(&ended);
    assert_eq!(ended.status.code(), Some(0), "{report}");
    assert!(report.contains("ok      reboot-once"), "{report}");
    // Only what belongs to abilities that it does not have may be skipped.
    let lines = report.lines();
    let skipped: Vec<&str> = lines.filter(|line| line.starts_with("skipped ")).collect();
    let excused = skipped.iter().all(|line| line.starts_with("skipped the driver has no ability "));
    assert!(excused, "{skipped:#?}");
}

fn unfenced_is_found_out(example: &Example) {
    let ended = suite(&example.build_unfenced(), "json");
    assert_eq!(ended.status.code(), Some(1), "{}", text(&ended));
    let report: Value = serde_json::from_slice(&ended.stdout).expect("a report");
    let broken = report["broken"].as_array().expect("a list");
    let mut broken: Vec<&str> = broken.iter().filter_map(Value::as_str).collect();
    broken.sort_unstable();
    assert_eq!(broken, FENCES);
}

#[test]
fn python_is_conformant() {
    is_conformant(&PYTHON);
}

#[test]
fn javascript_is_conformant() {
    is_conformant(&JAVASCRIPT);
}

#[test]
fn python_that_compares_no_generations_is_found_out() {
    unfenced_is_found_out(&PYTHON);
}

#[test]
fn javascript_that_compares_no_generations_is_found_out() {
    unfenced_is_found_out(&JAVASCRIPT);
}
