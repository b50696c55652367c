//! Where the requests of an endpoint go: an operator's URL, taken apart. Nothing here asks a network.

use hyper::http::uri::PathAndQuery;
use hyper::{Uri, http::uri::Scheme};
use std::net::IpAddr;

/// The longest URL. The paths of requests come on top of it.
const URL_MAX: usize = 2048;

/// The machine or socket that serves an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Server {
    /// A machine.
    Tcp {
        /// Its name or address, without brackets.
        host: String,
        port: u16,
        /// Whether it is spoken to over TLS.
        tls: bool,
    },
    /// A socket at an absolute path of the call's host.
    Unix(String),
}

/// Where the requests of an endpoint go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) server: Server,
    /// The path that comes before that of each request. It does not end with `/`.
    base: String,
}

impl Target {
    /// Reads the URL of an operator: `https://HOST[:PORT][/PATH]`, `http://...` or `unix:/PATH`.
    ///
    /// # Errors
    /// The text says what is wrong, for people. It does not repeat the URL, which may hold a
    /// password.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let form = "it must be https://HOST[:PORT][/PATH], http://HOST[:PORT][/PATH] or unix:/PATH";
        if url.len() > URL_MAX {
            return Err(format!("it is longer than {URL_MAX} bytes"));
        }
        if let Some(path) = url.strip_prefix("unix:") {
            let plain = path.starts_with('/') && !path.split('/').any(|part| part == "..");
            if !plain || path.chars().any(char::is_control) {
                return Err("the path after unix: must be absolute, without '..'".to_owned());
            }
            return Ok(Self { server: Server::Unix(path.to_owned()), base: String::new() });
        }
        let uri: Uri = url.parse().map_err(|error| format!("{form}: {error}"))?;
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(form.to_owned()),
        };
        let authority = uri.authority().ok_or(form)?;
        if authority.as_str().contains('@') {
            return Err("it must hold no login: that is a setting and a secret".to_owned());
        }
        if uri.query().is_some() {
            return Err("it must have no '?': that is part of a request".to_owned());
        }
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            // There is one, and it is no number of 16 bits.
            None if authority.as_str() != authority.host() => return Err(form.to_owned()),
            None => {
                if tls {
                    443
                } else {
                    80
                }
            }
        };
        let base = uri.path().trim_end_matches('/');
        if leaves(base) {
            return Err("its path must have no '.' and '..'".to_owned());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() || port == 0 {
            return Err(form.to_owned());
        }
        Ok(Self { server: Server::Tcp { host, port, tls }, base: base.to_owned() })
    }

    /// The value of the header `Host`.
    pub(crate) fn authority(&self) -> String {
        match &self.server {
            Server::Unix(_) => "localhost".to_owned(),
            Server::Tcp { host, port, tls } => {
                let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                let usual = if *tls { 443 } else { 80 };
                if *port == usual { host } else { format!("{host}:{port}") }
            }
        }
    }

    /// The path of a request at the server.
    ///
    /// # Errors
    /// It would leave the path of the URL.
    pub(crate) fn path(&self, asked: Option<&PathAndQuery>) -> Result<PathAndQuery, String> {
        let asked = asked.map_or("/", PathAndQuery::as_str);
        let path = asked.split_once('?').map_or(asked, |(path, _)| path);
        if leaves(path) {
            return Err("a path must have no '.' and '..'".to_owned());
        }
        let whole = format!("{}{asked}", self.base);
        whole.parse().map_err(|error| format!("the path is no path of a URL: {error}"))
    }

    /// Whether a password may be sent as it is: nobody else can read it on its way.
    pub(crate) fn is_private(&self) -> bool {
        match &self.server {
            Server::Unix(_) => true,
            Server::Tcp { tls: true, .. } => true,
            Server::Tcp { host, .. } => {
                host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
        }
    }
}

/// Whether a server that resolves `.` and `..` would end elsewhere. Some take `\` and `%2f` for `/`.
fn leaves(path: &str) -> bool {
    let plain = path.to_ascii_lowercase().replace("%2e", ".");
    let plain = plain.replace("%2f", "/").replace("%5c", "/").replace('\\', "/");
    plain.split('/').any(|part| {
        // A server may cut off parameters of a part: `..;x`.
        let part = part.split(';').next().unwrap_or(part);
        matches!(part, "." | "..")
    })
}

/// Whether an address may be connected to that a *name* was resolved to. A name that leads to the
/// daemon's own machine or to its link (where clouds serve credentials) was hardly meant by the
/// operator; somebody else may answer for that name. An address that the operator has written is
/// not asked about.
pub(crate) fn may_resolve_to(address: IpAddr) -> bool {
    let address = match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    };
    let elsewhere = !address.is_loopback() && !address.is_unspecified() && !address.is_multicast();
    elsewhere
        && match address {
            IpAddr::V4(v4) => !v4.is_link_local() && !v4.is_broadcast() && v4.octets()[0] != 0,
            IpAddr::V6(v6) => !v6.is_unicast_link_local(),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16, tls: bool) -> Server {
        Server::Tcp { host: host.to_owned(), port, tls }
    }

    #[test]
    fn a_url_is_taken_apart() {
        for (url, server, authority, path) in [
            ("https://vc.example", tcp("vc.example", 443, true), "vc.example", "/a?b=c"),
            (
                "https://vc.example:8443/",
                tcp("vc.example", 8443, true),
                "vc.example:8443",
                "/a?b=c",
            ),
            ("http://vc.example:80/x/y/", tcp("vc.example", 80, false), "vc.example", "/x/y/a?b=c"),
            ("http://[::1]:8080", tcp("::1", 8080, false), "[::1]:8080", "/a?b=c"),
            ("unix:/run/fc.sock", Server::Unix("/run/fc.sock".into()), "localhost", "/a?b=c"),
        ] {
            let target = Target::parse(url).expect(url);
            assert_eq!(target.server, server, "{url}");
            assert_eq!(target.authority(), authority, "{url}");
            let asked = PathAndQuery::from_static("/a?b=c");
            assert_eq!(target.path(Some(&asked)).expect(url).as_str(), path, "{url}");
        }
    }

    #[test]
    fn a_url_that_says_two_things_is_refused_and_never_repeated() {
        let long = format!("https://vc/{}", "a".repeat(URL_MAX));
        for url in [
            "vc.example",
            "ftp://vc",
            "https://",
            "https:///x",
            "https://root:hunter2@vc/x",
            "https://vc/?a=b",
            "https://vc/a/../b",
            "https://vc/a/%2E%2e/b",
            "https://vc:0",
            "https://vc:99999",
            "https://vc:",
            "unix:run/x",
            "unix:/run/../etc/x",
            "",
            "https://v c",
            &long,
        ] {
            let problem = Target::parse(url).expect_err(url);
            assert!(!problem.contains("hunter2"), "{problem}");
        }
    }

    #[test]
    fn a_request_never_leaves_the_path_of_its_endpoint() {
        let target = Target::parse("https://vc/rest").expect("valid");
        for path in [
            "/../admin",
            "/a/..",
            "/./a",
            "/%2e%2E/admin",
            "/a/.%2e/b",
            "/..%2fadmin",
            "/..%5Cadmin",
            "/..;x/admin",
        ] {
            let asked: PathAndQuery = path.parse().expect(path);
            target.path(Some(&asked)).expect_err(path);
        }
        for path in ["/..a/b", "/a...b", "/a?x=../y", "/.well-known"] {
            let asked: PathAndQuery = path.parse().expect(path);
            target.path(Some(&asked)).expect(path);
        }
        assert_eq!(target.path(None).expect("the root").as_str(), "/rest/");
    }

    #[test]
    fn a_password_goes_in_the_clear_only_where_nobody_else_listens() {
        for (url, private) in [
            ("https://vc", true),
            ("http://vc", false),
            ("http://10.1.2.3", false),
            ("http://127.0.0.1:1", true),
            ("http://[::1]:1", true),
            ("http://localhost", true),
            ("http://localhost.example", false),
            ("unix:/x", true),
        ] {
            assert_eq!(Target::parse(url).expect(url).is_private(), private, "{url}");
        }
    }

    #[test]
    fn a_name_does_not_lead_to_this_machine_or_its_link() {
        for (address, may) in [
            ("10.0.0.1", true),
            ("192.168.7.7", true),
            ("203.0.113.9", true),
            ("fd00::1", true),
            ("2001:db8::1", true),
            ("127.0.0.1", false),
            ("127.8.8.8", false),
            ("0.0.0.0", false),
            ("0.1.2.3", false),
            ("169.254.169.254", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::1", false),
            ("::", false),
            ("fe80::1", false),
            ("ff02::1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:169.254.169.254", false),
            ("::ffff:10.0.0.1", true),
        ] {
            assert_eq!(may_resolve_to(address.parse().expect(address)), may, "{address}");
        }
    }
}
