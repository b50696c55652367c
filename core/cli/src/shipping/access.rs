//! The login at a registry: its demand (the challenge of `/v2/`), and the token of its login server.
//!
//! The library could do this, but it would send the password to any server that a registry names,
//! in the clear, too, and would read the answer without a bound.

use super::login::Login;
use super::source::shown;
use super::web;
use crate::{Exit, Failure};
use oci_client::secrets::RegistryAuth;
use reqwest::header::WWW_AUTHENTICATE;
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The largest answer of a login server. A token has some kilobytes.
const TOKEN_MAX: u64 = 256 * 1024;
/// The most of an answer that is repeated in an error, in characters.
const SAID_MAX: usize = 300;

/// The proof that goes with each request to the registry.
#[derive(Clone)]
pub(crate) enum Pass {
    Nothing,
    Login(String, String),
    Token(String),
}

impl Pass {
    pub(crate) fn put(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::Nothing => request,
            Self::Login(user, password) => request.basic_auth(user, Some(password)),
            Self::Token(token) => request.bearer_auth(token),
        }
    }

    /// The same for the library. With a token it asks no login server.
    pub(crate) fn for_library(&self) -> RegistryAuth {
        match self.clone() {
            Self::Nothing => RegistryAuth::Anonymous,
            Self::Login(user, password) => RegistryAuth::Basic(user, password),
            Self::Token(token) => RegistryAuth::Bearer(token),
        }
    }

    fn of(login: &Login) -> Self {
        match &login.basic {
            Some((user, password)) => Self::Login(user.clone(), password.clone()),
            None => Self::Nothing,
        }
    }
}

/// The reason why there is no pass.
pub(crate) enum NoPass {
    /// The login server refuses the login.
    Refused,
    /// A server gives no answer.
    Silent(reqwest::Error),
    Other(Failure),
}

impl From<Failure> for NoPass {
    fn from(failure: Failure) -> Self {
        Self::Other(failure)
    }
}

/// A registry at which a pass is asked for.
pub(crate) struct Door<'a> {
    pub(crate) http: &'a Client,
    /// `https://HOST[:PORT]`.
    pub(crate) base: &'a str,
    pub(crate) login: &'a Login,
    pub(crate) plain_http: bool,
}

/// The answer of a login server.
#[derive(Deserialize)]
struct Granted {
    token: Option<String>,
    access_token: Option<String>,
}

impl Door<'_> {
    /// Asks for a pass for this scope: `repository:PATH:pull`.
    pub(crate) async fn pass(&self, scope: &str) -> Result<Pass, NoPass> {
        let url = format!("{}/v2/", self.base);
        let answer = self.http.get(url).send().await.map_err(NoPass::Silent)?;
        let from = answer.url().clone();
        let headers = answer.headers().get_all(WWW_AUTHENTICATE);
        let demand = headers.iter().filter_map(|value| value.to_str().ok()).find_map(bearer);
        match demand {
            None => Ok(Pass::of(self.login)),
            Some(demand) => self.token(&from, &demand, scope).await,
        }
    }

    /// Asks the login server that the registry names.
    async fn token(
        &self,
        from: &Url,
        demand: &BTreeMap<String, String>,
        scope: &str,
    ) -> Result<Pass, NoPass> {
        let refused = |what: String| NoPass::Other(Failure::new(Exit::Refused, what));
        let base = self.base;
        let realm: Url =
            demand.get("realm").and_then(|text| text.parse().ok()).ok_or_else(|| {
                refused(format!("{base} wants a login, and does not say where one gets in"))
            })?;
        let server = shown(&realm);
        if let Some(why) = web::may_not_follow(from, &realm, self.plain_http) {
            return Err(refused(format!(
                "{base} leaves logins to {server}, and that is {why}: no login was sent"
            )));
        }
        let mut query = vec![("scope", scope)];
        query.extend(demand.get("service").map(|service| ("service", service.as_str())));
        let request = Pass::of(self.login).put(self.http.get(realm).query(&query));
        let answer = request.send().await.map_err(NoPass::Silent)?;
        let status = answer.status();
        let text = web::read(&format!("the answer of {server}"), answer, TOKEN_MAX).await?;
        match status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(NoPass::Refused),
            _ => {
                let what = format!("the login server {server} answers {status}: {}", said(&text));
                return Err(refused(what));
            }
        }
        // The error of the library would repeat a piece of the text.
        let granted: Option<Granted> = serde_json::from_slice(&text).ok();
        let token = granted.and_then(|granted| granted.token.or(granted.access_token));
        let token = token.filter(|token| is_token(token));
        token.map(Pass::Token).ok_or_else(|| {
            refused(format!("the login server {server} answers without a token that can be sent"))
        })
    }
}

/// Whether a text can be sent in a header. The library would panic if it could not.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The beginning of a text of somebody else.
pub(crate) fn said(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().take(SAID_MAX).collect()
}

/// The parameters of the first `Bearer` challenge in a header. None if there is none.
fn bearer(header: &str) -> Option<BTreeMap<String, String>> {
    const SCHEME: &str = "bearer ";
    let mut quoted = false;
    let begin = header.char_indices().find_map(|(at, c)| {
        quoted ^= c == '"';
        let word = header.get(at..at + SCHEME.len())?;
        let apart = header[..at].is_empty() || header[..at].ends_with([' ', ',']);
        (!quoted && apart && word.eq_ignore_ascii_case(SCHEME)).then_some(at + SCHEME.len())
    })?;
    let (mut rest, mut all) = (&header[begin..], BTreeMap::new());
    while let Some((name, value)) = rest.split_once('=') {
        let name = name.trim_matches([' ', ',']).to_ascii_lowercase();
        if name.is_empty() || name.contains(' ') {
            // Another challenge begins.
            break;
        }
        let text;
        (text, rest) = match value.strip_prefix('"') {
            Some(value) => value.split_once('"').unwrap_or((value, "")),
            None => value.split_once(',').unwrap_or((value, "")),
        };
        all.entry(name).or_insert_with(|| text.trim().to_owned());
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_login_server_is_found_in_a_challenge() {
        let hub = "Bearer realm=\"https://a.example/token?x=1,2\",service=\"r.example\"";
        let parts = |text: &str| {
            let all = bearer(text)?;
            let of = |name: &str| all.get(name).cloned().unwrap_or_default();
            Some((of("realm"), of("service")))
        };
        let both = Some(("https://a.example/token?x=1,2".to_owned(), "r.example".to_owned()));
        for text in [
            hub.to_owned(),
            format!("Basic realm=\"a bearer b\", {hub}"),
            format!("{hub}, Basic realm=\"x\""),
            hub.replace("Bearer", "bEARER").replace("service=\"r.example\"", "Service=r.example"),
        ] {
            assert_eq!(parts(&text), both, "{text}");
        }
        assert_eq!(parts("Bearer x"), Some(Default::default()));
        for none in ["", "Basic realm=\"bearer x\"", "Bearers a=b", "Basic é"] {
            assert_eq!(parts(none), None, "{none}");
        }
    }

    #[test]
    fn a_token_can_be_sent() {
        assert!(is_token("eyJ0.a-b_c~+/="));
        for bad in ["", "a\nb", "a b", "é"] {
            assert!(!is_token(bad), "{bad:?}");
        }
    }
}
