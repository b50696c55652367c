//! Logins for registries: typed, or kept by `docker login` and `podman login`.

use crate::Failure;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oci_client::Reference;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

/// The largest file of logins that is read.
const FILE_MAX: u64 = 1024 * 1024;
/// The longest password: a token of a registry can have some thousand characters.
const PASSWORD_MAX: u64 = 16 * 1024;

/// The login for a registry. It has no `Debug`, so that no password gets into a message.
pub(crate) struct Login {
    /// The user and the password, if there is a login.
    pub(crate) basic: Option<(String, String)>,
    /// The reason why a file gave no login, for people.
    pub(crate) aside: Option<String>,
}

impl Login {
    fn basic(user: String, password: String) -> Self {
        Self { basic: Some((user, password)), aside: None }
    }

    pub(crate) fn user(&self) -> Option<&str> {
        self.basic.as_ref().map(|(user, _)| user.as_str())
    }

    /// The login of this user, with a password from a file, a terminal or standard input.
    pub(crate) fn typed(user: &str, file: Option<&Path>) -> Result<Self, Failure> {
        if user.is_empty() || user.contains([':', '\n']) {
            return Err(Failure::usage("--username: it must not be empty, and have no colon"));
        }
        Ok(Self::basic(user.to_owned(), password(file)?))
    }

    /// The login that other tools have kept for this reference, if they have.
    pub(crate) fn kept(reference: &Reference) -> Result<Self, Failure> {
        let mut aside = None;
        for file in files(&|name| std::env::var(name).ok().filter(|text| !text.is_empty())) {
            let kept = match read(&file)? {
                Found::Logins(kept) => kept,
                Found::Nothing => continue,
                Found::Unreadable(err) => {
                    aside = aside.or(Some(format!("{} cannot be read ({err})", file.display())));
                    continue;
                }
            };
            if let Some((user, password)) = kept.login(reference) {
                return Ok(Self::basic(user, password));
            }
            if kept.asks_helper(reference.registry()) {
                let program = "leaves logins to another program, which is not run";
                aside = aside.or(Some(format!("{} {program}", file.display())));
            }
        }
        Ok(Self { basic: None, aside })
    }
}

/// The first line of a file, of what is typed, or of standard input.
fn password(file: Option<&Path>) -> Result<String, Failure> {
    let failed = |err: io::Error| Failure::usage(format!("the password cannot be read: {err}"));
    let line = |from: &mut dyn io::BufRead| {
        let mut line = String::new();
        from.take(PASSWORD_MAX + 1).read_line(&mut line).map(|_| line)
    };
    let text = match file {
        Some(path) => {
            let named = |err| Failure::usage(format!("{}: {err}", path.display()));
            let opened = std::fs::File::open(path).map_err(named)?;
            line(&mut io::BufReader::new(opened)).map_err(named)?
        }
        None if io::stdin().is_terminal() => {
            rpassword::prompt_password("password of the registry: ").map_err(failed)?
        }
        None => line(&mut io::stdin().lock()).map_err(failed)?,
    };
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(Failure::usage("the password is empty")
            .hint("give one with --password-file, or as the first line of standard input"));
    }
    if text.len() as u64 >= PASSWORD_MAX {
        return Err(Failure::usage(format!("the password has more than {PASSWORD_MAX} bytes")));
    }
    Ok(text.to_owned())
}

/// The files in which podman and docker keep logins, in the order in which podman looks.
fn files(variable: &dyn Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    if let Some(only) = variable("REGISTRY_AUTH_FILE") {
        return vec![only.into()];
    }
    let home = variable("HOME").map(PathBuf::from);
    let in_home = |path: &str| home.as_ref().map(|home| home.join(path));
    let runtime = variable("XDG_RUNTIME_DIR").map(PathBuf::from);
    let config = variable("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| in_home(".config"));
    let docker = variable("DOCKER_CONFIG").map(PathBuf::from).or_else(|| in_home(".docker"));
    [
        runtime.map(|folder| folder.join("containers/auth.json")),
        config.map(|folder| folder.join("containers/auth.json")),
        docker.map(|folder| folder.join("config.json")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A file of logins.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Kept {
    #[serde(deserialize_with = "or_nothing")]
    auths: BTreeMap<String, Option<Entry>>,
    #[serde(deserialize_with = "or_nothing")]
    creds_store: String,
    #[serde(deserialize_with = "or_nothing")]
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    /// `USER:PASSWORD` as base64. Empty if a helper has it.
    #[serde(deserialize_with = "or_nothing")]
    auth: String,
}

/// A value, or nothing for `null`: some tools write that.
fn or_nothing<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(from).map(Option::unwrap_or_default)
}

/// A look at a file of logins.
enum Found {
    Logins(Kept),
    /// The file is not there.
    Nothing,
    /// The file may be there, and we may not read it.
    Unreadable(io::Error),
}

impl Kept {
    /// The login of the longest path that has one: podman keeps logins of parts of a registry.
    fn login(&self, reference: &Reference) -> Option<(String, String)> {
        let whole = format!("{}/{}", reference.registry(), reference.repository());
        let mut paths: Vec<&str> = whole.match_indices('/').map(|(at, _)| &whole[..at]).collect();
        paths.push(&whole);
        paths.iter().rev().find_map(|path| {
            let mut same = self.auths.iter().filter(|(key, _)| names(key) == *path);
            same.find_map(|(_, entry)| entry.as_ref()?.login())
        })
    }

    fn asks_helper(&self, registry: &str) -> bool {
        !self.creds_store.is_empty() || self.cred_helpers.contains_key(registry)
    }
}

impl Entry {
    fn login(&self) -> Option<(String, String)> {
        let text = String::from_utf8(STANDARD.decode(&self.auth).ok()?).ok()?;
        let (user, password) = text.split_once(':')?;
        (!user.is_empty()).then(|| (user.to_owned(), password.to_owned()))
    }
}

/// The registry or path that a key of the file names. Old keys of docker are URLs.
fn names(key: &str) -> &str {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    let key = key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key);
    if key == "index.docker.io" { "docker.io" } else { key }
}

/// The logins of a file. One that cannot be opened stops nobody who needs no login.
fn read(path: &Path) -> Result<Found, Failure> {
    let bad = |why: String| {
        Failure::usage(format!("{}: {why}", path.display()))
            .hint("--username takes no login from files")
    };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(err) => return Ok(Found::Unreadable(err)),
    };
    let mut text = String::new();
    file.take(FILE_MAX).read_to_string(&mut text).map_err(|err| bad(err.to_string()))?;
    // The error of the library would repeat a piece of the text.
    let kept = serde_json::from_str(&text);
    kept.map(Found::Logins).map_err(|_| bad("it does not hold logins as JSON".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(reference: &str, json: &str) -> Option<(String, String)> {
        let kept: Kept = serde_json::from_str(json).expect("JSON");
        kept.login(&reference.parse().expect("a reference"))
    }

    #[test]
    fn a_kept_login_is_found_by_the_longest_path() {
        let auth = |text: &str| STANDARD.encode(text);
        let json = format!(
            r#"{{"auths": {{"r.example": {{"auth": "{}"}}, "r.example/acme": {{"auth": "{}"}},
                "https://index.docker.io/v1/": {{"auth": "{}"}}, "empty.example": {{}},
                "no.example": null, "null.example": {{"auth": null}}}}, "credsStore": null,
                "HttpHeaders": {{}}, "credHelpers": {{"h.example": "x"}}}}"#,
            auth("ann:a:b"),
            auth("bob:b"),
            auth("hub:c")
        );
        let found = |reference| of(reference, &json).map(|(user, password)| user + " " + &password);
        assert_eq!(found("r.example/other/d:1").as_deref(), Some("ann a:b"));
        assert_eq!(found("r.example/acme/d:1").as_deref(), Some("bob b"));
        assert_eq!(found("r.example/acmes/d:1").as_deref(), Some("ann a:b"));
        assert_eq!(found("docker.io/acme/d:1").as_deref(), Some("hub c"));
        for none in ["empty.example/d:1", "no.example/d:1", "null.example/d:1", "h.example/d:1"] {
            assert_eq!(found(none), None, "{none}");
        }
        let kept: Kept = serde_json::from_str(&json).expect("JSON");
        assert!(kept.asks_helper("h.example") && !kept.asks_helper("r.example"));
    }

    #[test]
    fn files_are_looked_at_in_order() {
        let paths = |set: &[(&str, &str)]| {
            let variable = |name: &str| {
                set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            };
            let found = files(&variable);
            found.iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        let all = ["/r/containers/auth.json", "/h/.config/containers/auth.json", "/d/config.json"];
        let set = [("HOME", "/h"), ("XDG_RUNTIME_DIR", "/r"), ("DOCKER_CONFIG", "/d")];
        assert_eq!(paths(&set), all);
        assert_eq!(paths(&[("HOME", "/h"), ("REGISTRY_AUTH_FILE", "/f")]), ["/f"]);
        assert!(paths(&[]).is_empty());
    }

    #[test]
    fn a_file_that_holds_no_logins_is_told_without_its_text() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("config.json");
        std::fs::write(&path, "{\"auths\": \"hunter2\"}").expect("written");
        let told = format!("{:?}", read(&path).err().expect("no logins"));
        assert!(told.contains("config.json") && !told.contains("hunter2"), "{told}");
        let found = |name: &str| read(&dir.path().join(name)).expect("no failure");
        assert!(matches!(found("none"), Found::Nothing));
        // The folder is a file.
        assert!(matches!(found("config.json/config.json"), Found::Unreadable(_)));
        std::fs::write(&path, "{\"auths\": null}").expect("written");
        assert!(matches!(found("config.json"), Found::Logins(kept) if kept.auths.is_empty()));
    }
}
