//! Files at web servers, and the HTTP client that registries are asked with, too.

use super::source::{is_loopback, shown};
use crate::failure::chain;
use crate::{Exit, Failure};
use ostler_wasm::{FILE_MAX, Package, SIGNATURE_MAX};
use reqwest::{Client, ClientBuilder, Response, StatusCode, Url, redirect};
use std::time::Duration;

/// How long it may take to connect.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a server may send nothing.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How many times a server may send us elsewhere.
const REDIRECTS_MAX: usize = 5;
/// The beginning of every signature. Some servers answer any path with a page.
const SIGNATURE_BEGIN: &[u8] = b"untrusted comment:";

/// Has rustls use the one implementation of cryptography that is built in, and sees that a server
/// can be proved to be the right one: the library would panic if it could not.
pub(crate) fn prepare() -> Result<(), Failure> {
    // It fails only if this was done before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // The library ignores a file that is not there, if there are others.
    if let Some(named) = std::env::var_os("SSL_CERT_FILE")
        && let Err(err) = std::fs::File::open(&named)
    {
        let named = std::path::Path::new(&named).display();
        let what = format!("the certificates of authorities in {named} cannot be read: {err}");
        return Err(Failure::new(Exit::Refused, what).hint("SSL_CERT_FILE names that file"));
    }
    if !rustls_native_certs::load_native_certs().certs.is_empty() {
        return Ok(());
    }
    let what = "this machine has no certificates of authorities, so no server can be trusted";
    Err(Failure::new(Exit::Refused, what).hint(
        "install the package ca-certificates, or name a file of certificates in SSL_CERT_FILE",
    ))
}

/// Whether a request may go there. In the clear it may go only to this machine, or where the caller
/// said so.
fn may_go(url: &Url, plain_http: bool) -> bool {
    url.scheme() == "https"
        || (url.scheme() == "http" && (plain_http || url.host_str().is_some_and(is_loopback)))
}

/// The reason why the one server may not send us to the other, if there is one. Otherwise a server
/// could have us speak in the clear, or ask the services of this machine.
pub(crate) fn may_not_follow(from: &Url, to: &Url, plain_http: bool) -> Option<&'static str> {
    let local = |url: &Url| url.host_str().is_some_and(is_loopback);
    if to.scheme() != "https" && (from.scheme() == "https" || !may_go(to, plain_http)) {
        Some("a server that is not spoken to over TLS")
    } else if local(to) && !local(from) {
        Some("this machine itself")
    } else {
        None
    }
}

/// An HTTP client for requests to this host.
pub(crate) fn client(host: &str, plain_http: bool) -> Result<Client, Failure> {
    let policy = redirect::Policy::custom(move |attempt| {
        if attempt.previous().len() > REDIRECTS_MAX {
            attempt.error(format!("it sends us elsewhere more than {REDIRECTS_MAX} times"))
        } else {
            let from = attempt.previous().last();
            match from.and_then(|from| may_not_follow(from, attempt.url(), plain_http)) {
                None => attempt.follow(),
                Some(why) => attempt.error(format!("it sends us to {why}")),
            }
        }
    });
    let builder = Client::builder()
        .user_agent(concat!("ostler/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(SILENCE_MAX)
        .redirect(policy);
    // This machine is reached without a proxy.
    let builder = if is_loopback(host) { ClientBuilder::no_proxy(builder) } else { builder };
    builder.build().map_err(|err| {
        Failure::new(Exit::Refused, format!("no HTTP client can be made: {}", chain(&err)))
    })
}

/// The failure of a request that got no answer.
pub(crate) fn unreached(what: &str, err: reqwest::Error) -> Failure {
    let why = chain(&err.without_url());
    Failure::new(Exit::Unreachable, format!("{what} cannot be fetched: {why}"))
}

/// Reads an answer that has at most `most` bytes.
pub(crate) async fn read(what: &str, answer: Response, most: u64) -> Result<Vec<u8>, Failure> {
    let read = at_most(answer, most).await.map_err(|err| unreached(what, err))?;
    read.ok_or_else(|| {
        let what = format!("{what} is larger than {most} bytes, more than it may be");
        Failure::new(Exit::Refused, what)
    })
}

/// The same. None if the answer is longer.
async fn at_most(mut answer: Response, most: u64) -> Result<Option<Vec<u8>>, reqwest::Error> {
    if answer.content_length().is_some_and(|length| length > most) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    while let Some(part) = answer.chunk().await? {
        if bytes.len() as u64 + part.len() as u64 > most {
            return Ok(None);
        }
        bytes.extend_from_slice(&part);
    }
    Ok(Some(bytes))
}

/// Fetches a component, and the signature beside it (the same URL with `.minisig` after its path)
/// if there is one.
pub(crate) async fn download(url: &Url, plain_http: bool) -> Result<Package, Failure> {
    let what = shown(url);
    if !may_go(url, plain_http) {
        let failure = Failure::usage(format!("{what} is not https://: anybody could alter it"));
        return Err(failure.hint("--plain-http fetches it all the same; pin it with --digest"));
    }
    prepare()?;
    let client = client(url.host_str().unwrap_or_default(), plain_http)?;
    let answer = client.get(url.clone()).send().await.map_err(|err| unreached(&what, err))?;
    let status = answer.status();
    if !status.is_success() {
        let exit = match status {
            StatusCode::NOT_FOUND | StatusCode::GONE => Exit::NotFound,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Exit::Unauthorised,
            _ => Exit::Refused,
        };
        return Err(Failure::new(exit, format!("{what}: the server answers {status}")));
    }
    let bytes = read(&what, answer, FILE_MAX).await?;
    let beside = signature(&client, url).await?;
    Ok(Package { what, bytes, beside })
}

/// The signature beside a file, if there is one.
async fn signature(client: &Client, file: &Url) -> Result<Option<Vec<u8>>, Failure> {
    let mut url = file.clone();
    url.set_path(&format!("{}.minisig", file.path()));
    let what = shown(&url);
    let answer = client.get(url).send().await.map_err(|err| unreached(&what, err))?;
    let status = answer.status();
    // Many servers also answer so for files that are not there.
    if matches!(status.as_u16(), 401 | 403 | 404 | 410) {
        return Ok(None);
    }
    if !status.is_success() {
        // The signature may be there. Without it the component might be refused for no reason.
        return Err(Failure::new(Exit::Refused, format!("{what}: the server answers {status}")));
    }
    // A page that is longer than a signature can be is none.
    let text = at_most(answer, SIGNATURE_MAX as u64).await.map_err(|err| unreached(&what, err))?;
    Ok(text.filter(|text| text.starts_with(SIGNATURE_BEGIN)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_asked_in_the_clear() {
        for (url, plain, may) in [
            ("https://a.example/d.wasm", false, true),
            ("http://a.example/d.wasm", false, false),
            ("http://a.example/d.wasm", true, true),
            ("http://127.0.0.1:8000/d.wasm", false, true),
            ("http://[::1]:8000/d.wasm", false, true),
            ("http://localhost/d.wasm", false, true),
            ("file:///etc/passwd", true, false),
        ] {
            assert_eq!(may_go(&url.parse().expect("a URL"), plain), may, "{url}");
        }
    }

    #[test]
    fn no_server_sends_us_into_the_clear_or_to_this_machine() {
        for (from, to, plain, may) in [
            ("https://a.example", "https://b.example", false, true),
            ("https://a.example", "http://b.example", true, false),
            ("https://a.example", "http://127.0.0.1:8000", false, false),
            ("https://a.example", "https://localhost:8000", false, false),
            ("https://localhost", "http://localhost", true, false),
            ("https://localhost", "https://127.0.0.1", false, true),
            ("http://localhost", "http://127.0.0.1:8000", false, true),
            ("http://localhost", "http://b.example", false, false),
            ("http://localhost", "https://b.example", false, true),
            ("http://a.example", "http://b.example", true, true),
            ("http://a.example", "http://[::1]", true, false),
        ] {
            let url = |text: &str| text.parse().expect("a URL");
            assert_eq!(may_not_follow(&url(from), &url(to), plain).is_none(), may, "{from} {to}");
        }
    }
}
