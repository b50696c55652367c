//! Where a component is: in a file, at a URL, or in a registry.

use crate::Failure;
use oci_client::Reference;
use reqwest::Url;
use std::net::IpAddr;
use std::path::PathBuf;

/// The prefix of a reference to a registry.
const OCI: &str = "oci://";
/// The longest text of a URL or a reference.
const TEXT_MAX: usize = 2048;

/// Where a component is.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// A file on the daemon's machine.
    File(PathBuf),
    /// A file at a web server.
    Url(Box<Url>),
    /// An artifact in a registry.
    Registry(Box<Reference>),
}

impl Source {
    /// Reads a source: `https://...`, `oci://...`, or a path.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        if text.starts_with(OCI) {
            return reference(text).map(Box::new).map(Self::Registry);
        }
        if !text.contains("://") {
            return Ok(Self::File(PathBuf::from(text)));
        }
        if text.len() > TEXT_MAX {
            return Err(Failure::usage(format!("the URL is longer than {TEXT_MAX} bytes")));
        }
        // The text is not repeated: a password or a token may be in it.
        let url: Url = text
            .parse()
            .map_err(|err| Failure::usage(format!("this is not a URL of a driver: {err}")))?;
        if !matches!(url.scheme(), "https" | "http") {
            let what = format!("a driver cannot be fetched by {}:", url.scheme());
            return Err(Failure::usage(what).hint("name a file, https://... or oci://..."));
        }
        if !url.username().is_empty() || url.password().is_some() {
            let what = "the URL has a login in it, which others can read in the command line";
            return Err(Failure::usage(what).hint("fetch the file another way, and add the file"));
        }
        Ok(Self::Url(Box::new(url)))
    }
}

/// A URL for people. The query may hold a token, so it is left out.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

/// Reads a reference: `HOST[:PORT]/PATH:TAG` or `HOST[:PORT]/PATH@sha256:...`, with or without
/// `oci://` before it. Nothing is guessed: neither a registry nor a tag.
pub(crate) fn reference(text: &str) -> Result<Reference, Failure> {
    let form = "a reference is HOST[:PORT]/PATH:TAG or HOST[:PORT]/PATH@sha256:DIGEST";
    let bad = |why: String| Failure::usage(why).hint(form);
    if text.len() > TEXT_MAX {
        return Err(bad(format!("the reference is longer than {TEXT_MAX} bytes")));
    }
    let text = text.strip_prefix(OCI).unwrap_or(text);
    let host = text.split_once('/').map(|(host, _)| host).unwrap_or_default();
    if !(host.contains('.') || host.contains(':') || host == "localhost") {
        return Err(bad(format!("{text} does not say which registry")));
    }
    let reference: Reference =
        text.parse().map_err(|err| bad(format!("{text} is not a reference: {err}")))?;
    // The library reads a missing tag as `latest`.
    let named = text.rsplit_once('/').is_some_and(|(_, last)| last.contains([':', '@']));
    if !named {
        return Err(bad(format!("{text} has no tag")));
    }
    if reference.digest().is_some_and(|digest| !digest.starts_with("sha256:")) {
        return Err(bad(format!("{text} has a digest that is no SHA-256")));
    }
    Ok(reference)
}

/// Reads a SHA-256 as people give it: 64 hexadecimal digits, with or without `sha256:` before them.
pub(crate) fn digest(text: &str) -> Result<String, String> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    if hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(text.to_owned());
    }
    Err("a SHA-256 has 64 hexadecimal digits".to_owned())
}

/// Whether this host, with or without a port, is this machine. Then nobody else can read what is
/// sent to it in the clear.
pub(crate) fn is_loopback(host: &str) -> bool {
    let bare = match host.rsplit_once(':') {
        Some((bare, port)) if port.bytes().all(|b| b.is_ascii_digit()) => bare,
        _ => host,
    };
    let bare = bare.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_told_apart_by_its_beginning() {
        assert!(matches!(Source::parse("a/b.wasm"), Ok(Source::File(_))));
        assert!(matches!(Source::parse("https://a.example/b.wasm"), Ok(Source::Url(_))));
        assert!(matches!(Source::parse("oci://a.example/b:1"), Ok(Source::Registry(_))));
        for bad in ["ftp://a.example/b.wasm", "https://u:secret@a.example/b", "https://"] {
            let told = format!("{:?}", Source::parse(bad).expect_err(bad));
            assert!(!told.contains("secret"), "{told}");
        }
    }

    #[test]
    fn a_reference_names_its_registry_and_its_tag() {
        for good in [
            "localhost/a:1",
            "oci://127.0.0.1:5000/a/b:v1.2",
            "ghcr.io/acme/driver:1",
            &format!("ghcr.io/acme/driver@sha256:{}", "ab".repeat(32)),
        ] {
            reference(good).expect(good);
        }
        for (bad, says) in [
            ("acme/driver:1", "which registry"),
            ("driver", "which registry"),
            ("ghcr.io/acme/driver", "has no tag"),
            ("localhost:5000/driver", "has no tag"),
            ("ghcr.io/Acme/driver:1", "is not a reference"),
            ("ghcr.io/acme/driver@sha256:ab", "is not a reference"),
            (&format!("ghcr.io/a@sha512:{}", "ab".repeat(64)), "no SHA-256"),
        ] {
            let told = reference(bad).expect_err(bad).what.expect("said");
            assert!(told.contains(says), "{told}");
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for host in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.1.2.3", "[::1]:5000"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example", "10.0.0.1:5000", "example:5000", "127.0.0.1.example"] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn a_token_in_a_query_is_not_shown() {
        let url = "https://a.example/b.wasm?token=secret#x".parse().expect("a URL");
        assert_eq!(shown(&url), "https://a.example/b.wasm");
    }
}
