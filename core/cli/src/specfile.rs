//! Reads specification files in TOML, YAML or JSON. The file's extension decides the language, or
//! else the first line does.

use crate::Failure;
use ostler_api::{BODY_MAX, VmSpec, decode};
use serde_json::Value;
use std::io::Read;
use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    Toml,
    Yaml,
    Json,
}

impl Language {
    const fn name(self) -> &'static str {
        match self {
            Self::Toml => "TOML",
            Self::Yaml => "YAML",
            Self::Json => "JSON",
        }
    }
}

/// Reads a VM's specification from a file, or from standard input if the file is `-`. `name`
/// replaces the name in the file.
pub(crate) fn read(file: &Path, name: Option<&str>) -> Result<VmSpec, Failure> {
    let text = text(file)?;
    parse(&shown(file), language_of(file, &text), &text, name)
}

/// The text of a file, or of standard input if the file is `-`.
pub(crate) fn text(file: &Path) -> Result<String, Failure> {
    text_of(file).map_err(|why| Failure::usage(format!("cannot read {}: {why}", shown(file))))
}

fn shown(file: &Path) -> String {
    if is_stdin(file) { "standard input".to_owned() } else { file.display().to_string() }
}

fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}

fn text_of(file: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    // One byte more than allowed is read. If it is there, the file is too large.
    let most = BODY_MAX as u64 + 1;
    let read = if is_stdin(file) {
        std::io::stdin().lock().take(most).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(most).read_to_end(&mut bytes))
    };
    read.map_err(|err| err.to_string())?;
    if bytes.len() > BODY_MAX {
        return Err(format!("it is larger than {BODY_MAX} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "it is no UTF-8 text".to_owned())
}

fn language_of(file: &Path, text: &str) -> Language {
    let extension =
        file.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase);
    match extension.as_deref() {
        Some("toml") => Language::Toml,
        Some("yaml" | "yml") => Language::Yaml,
        Some("json") => Language::Json,
        _ => looks_like(text),
    }
}

/// The first line that is not empty and no comment decides: `{` is JSON, `[table]` and
/// `key = value` are TOML, the rest is YAML.
fn looks_like(text: &str) -> Language {
    let mut lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    match lines.next() {
        Some(line) if line.starts_with('{') => Language::Json,
        Some(line) if line.starts_with('[') => Language::Toml,
        Some(line) => {
            let key_ends = line.find(['=', ':']);
            if key_ends.is_some_and(|at| line.as_bytes().get(at) == Some(&b'=')) {
                Language::Toml
            } else {
                Language::Yaml
            }
        }
        None => Language::Toml,
    }
}

fn parse(
    shown: &str,
    language: Language,
    text: &str,
    name: Option<&str>,
) -> Result<VmSpec, Failure> {
    let value: Result<Value, String> = match language {
        Language::Toml => toml::from_str(text).map_err(|err| err.to_string()),
        Language::Yaml => serde_yaml_ng::from_str(text).map_err(|err| err.to_string()),
        Language::Json => serde_json::from_str(text).map_err(|err| err.to_string()),
    };
    let mut value = value.map_err(|why| {
        let mut lines = why.lines();
        let first = lines.next().unwrap_or_default();
        let mut failure = Failure::usage(format!("{shown} is not {}: {first}", language.name()));
        failure.more = lines.map(str::to_owned).collect();
        failure
    })?;
    let Some(fields) = value.as_object_mut() else {
        let failure = Failure::usage(format!("{shown} holds no specification"));
        return Err(
            failure.hint("at least `name` and `memory` are needed; `ostler help spec` shows one")
        );
    };
    if let Some(name) = name {
        fields.insert("name".to_owned(), Value::String(name.to_owned()));
    }
    decode(value).map_err(|misfit| {
        let failure = Failure::usage(format!("{shown}: {misfit}"));
        match misfit.hint() {
            Some(hint) => failure.hint(hint),
            None if misfit.detail.contains("missing field `name`") => {
                failure.hint("write it into the file, or say --name")
            }
            None => failure.hint("`ostler help spec` shows one with everything"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOML: &str = "# a VM\nname = \"web\"\nmemory = \"96MiB\"\n[[disks]]\nname = \"vda\"\nimage = \"debian\"\n";
    const YAML: &str = "name: web\nmemory: 96MiB\ndisks:\n  - name: vda\n    image: debian\n";
    const JSON: &str =
        r#"{"name": "web", "memory": "96MiB", "disks": [{"name": "vda", "image": "debian"}]}"#;

    fn guessed(text: &str) -> Result<VmSpec, Failure> {
        parse("f", looks_like(text), text, None)
    }

    #[test]
    fn three_languages_say_the_same() {
        let toml = guessed(TOML).expect("TOML");
        assert_eq!((&toml, &toml), (&guessed(YAML).expect("YAML"), &guessed(JSON).expect("JSON")));
        assert_eq!((toml.name.as_str(), toml.memory.0, toml.disks.len()), ("web", 96, 1));
        assert_eq!(language_of(Path::new("a.YML"), JSON), Language::Yaml);
        assert_eq!(language_of(Path::new("-"), JSON), Language::Json);
        assert_eq!(looks_like("cmdline: a=b"), Language::Yaml);
        assert_eq!(looks_like("cmdline = \"a:b\""), Language::Toml);
    }

    #[test]
    fn the_name_can_come_from_the_command_line() {
        assert_eq!(parse("f", Language::Toml, "memory = 96", Some("db")).expect("good").name, "db");
        let failure = parse("f", Language::Toml, "memory = 96", None).expect_err("no name");
        assert!(failure.hint.expect("a hint").contains("--name"));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let failure = guessed("name = \"web\"\nmemroy = 96\n").expect_err("misspelt");
        assert_eq!(failure.hint.as_deref(), Some("did you mean memory?"));
        let failure = guessed("{\"name\": ").expect_err("broken off");
        assert!(failure.lines()[0].starts_with("error: f is not JSON: "), "{failure:?}");
        let failure = guessed("name = \"web\nmemory = 1\n").expect_err("no end of text");
        assert!(failure.what.expect("told").contains("line 1"), "{:?}", failure.more);
        for nothing in ["", "- a\n- b\n", "just words"] {
            assert_eq!(guessed(nothing).expect_err(nothing).exit, crate::Exit::Usage, "{nothing}");
        }
    }
}
