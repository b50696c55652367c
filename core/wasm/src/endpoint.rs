//! Endpoints: the HTTP servers that a driver may ask, by their names in the manifest.
//!
//! The manifest says which settings hold the place of a server and the proof of who it is, and which
//! secret holds the login. The values are the operator's, so a component cannot choose where its
//! requests go.

use crate::template::name_ok;
use ostler_model::SecretName;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// How a driver logs in at an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// A name and a password (`Basic`, RFC 7617).
    Password {
        /// The setting that holds the name.
        user: String,
        /// The secret that holds the password.
        password: SecretName,
    },
    /// A token (`Bearer`, RFC 6750).
    Token {
        /// The secret that holds the token.
        token: SecretName,
    },
}

/// One HTTP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name.
    pub name: String,
    /// The setting that holds its URL.
    pub url: String,
    /// The setting that holds the certificates of its authority, as PEM.
    pub ca: Option<String>,
    /// The setting that holds the fingerprints of its certificate.
    pub fingerprint: Option<String>,
    /// How the driver logs in.
    pub login: Option<Login>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawEndpoint {
    name: String,
    url: String,
    #[serde(default)]
    ca: Option<String>,
    #[serde(default)]
    fingerprint: Option<String>,
    #[serde(default)]
    login: Option<RawLogin>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLogin {
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    password: Option<SecretName>,
    #[serde(default)]
    token: Option<SecretName>,
}

impl RawLogin {
    fn check(self) -> Result<Login, String> {
        match (self.user, self.password, self.token) {
            (Some(user), Some(password), None) => Ok(Login::Password { user, password }),
            (None, None, Some(token)) => Ok(Login::Token { token }),
            _ => Err("login needs user and password, or a token".to_owned()),
        }
    }
}

impl RawEndpoint {
    /// Checks an endpoint. `settings`: those of the manifest, and whether each has a default.
    fn check(self, settings: &BTreeMap<String, bool>) -> Result<Endpoint, String> {
        if !name_ok(&self.name) {
            return Err("its name must be of lower-case letters, digits and dashes".to_owned());
        }
        let login = self.login.map(RawLogin::check).transpose()?;
        let Self { name, url, ca, fingerprint, .. } = self;
        let endpoint = Endpoint { name, url, ca, fingerprint, login };
        for setting in endpoint.settings() {
            match settings.get(setting) {
                Some(false) => {}
                None => {
                    return Err(format!("setting {setting:?} is not in the manifest's [config]"));
                }
                Some(true) => {
                    return Err(format!(
                        "setting {setting:?} must have no default: the operator says where requests \
                         go, and who may answer them"
                    ));
                }
            }
        }
        Ok(endpoint)
    }
}

/// Checks the endpoints of a manifest. `settings`: its settings, and whether each has a default.
pub(crate) fn checked(
    raw: Vec<RawEndpoint>,
    settings: &BTreeMap<String, bool>,
) -> Result<Vec<Endpoint>, String> {
    let (mut endpoints, mut seen) = (Vec::with_capacity(raw.len()), BTreeSet::new());
    for raw in raw {
        let name = raw.name.clone();
        let endpoint =
            raw.check(settings).map_err(|problem| format!("endpoint {name:?}: {problem}"))?;
        if !seen.insert(name.clone()) {
            return Err(format!("endpoint {name:?} is there twice"));
        }
        endpoints.push(endpoint);
    }
    Ok(endpoints)
}

impl Endpoint {
    /// The settings that say where it is, who answers there, and who logs in.
    pub(crate) fn settings(&self) -> impl Iterator<Item = &str> {
        let user = match &self.login {
            Some(Login::Password { user, .. }) => Some(user),
            Some(Login::Token { .. }) | None => None,
        };
        let named = [Some(&self.url), self.ca.as_ref(), self.fingerprint.as_ref(), user];
        named.into_iter().flatten().map(String::as_str)
    }
}

impl Login {
    /// The secret that it needs.
    #[must_use]
    pub const fn secret(&self) -> &SecretName {
        match self {
            Self::Password { password, .. } => password,
            Self::Token { token } => token,
        }
    }
}

/// The form for operators: the settings and the secret that it depends on.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server at the URL in setting {}", self.url)?;
        if let Some(ca) = &self.ca {
            write!(f, ", its authority in setting {ca}")?;
        }
        if let Some(fingerprint) = &self.fingerprint {
            write!(f, ", its fingerprint in setting {fingerprint}")?;
        }
        match &self.login {
            Some(Login::Password { user, password }) => {
                write!(f, ", with the user in setting {user} and secret {password}")
            }
            Some(Login::Token { token }) => write!(f, ", with secret {token}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Endpoint>, String> {
        #[derive(Deserialize)]
        struct File {
            endpoint: Vec<RawEndpoint>,
        }
        let settings = ["url", "ca", "print", "user", "with-default"]
            .map(|key| (key.to_owned(), key == "with-default"));
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        checked(file.endpoint, &BTreeMap::from(settings))
    }

    const GOOD: &str = r#"
        [[endpoint]]
        name = "api"
        url = "url"
        ca = "ca"
        fingerprint = "print"
        login = { user = "user", password = "secret" }
        [[endpoint]]
        name = "events"
        url = "url"
        login = { token = "key" }
    "#;

    #[test]
    fn an_operator_reads_where_requests_go_and_with_which_secret() {
        let told: Vec<String> =
            read(GOOD).expect("valid").iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "the server at the URL in setting url, its authority in setting ca, its \
                 fingerprint in setting print, with the user in setting user and secret secret",
                "the server at the URL in setting url, with secret key",
            ]
        );
    }

    #[test]
    fn a_wrong_endpoint_is_refused() {
        for (from, to, says) in [
            ("name = \"events\"", "name = \"api\"", "twice"),
            ("name = \"events\"", "name = \"a.b\"", "lower-case"),
            ("ca = \"ca\"", "ca = \"authority\"", "\"authority\" is not in"),
            ("user = \"user\"", "user = \"me\"", "\"me\" is not in"),
            ("url = \"url\"", "url = \"with-default\"", "no default"),
            ("fingerprint = \"print\"", "fingerprint = \"with-default\"", "no default"),
            ("user = \"user\", ", "", "user and password"),
            ("token = \"key\"", "token = \"key\", password = \"x\"", "or a token"),
            ("token = \"key\"", "token = \"A KEY\"", "secret name"),
            ("token = \"key\"", "tokn = \"key\"", "tokn"),
        ] {
            let problem = read(&GOOD.replace(from, to)).expect_err(to);
            assert!(problem.contains(says), "{problem}");
        }
    }
}
