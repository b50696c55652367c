//! Checks libvirt URIs. Accepts those of QEMU's driver over transports that run no program of the
//! URI's choosing.
//!
//! We must read a URI as libvirt does: it accepts parameter names in any case, decodes `%XX` in
//! them, and separates parameters by `;` as well as by `&`. So names are compared with a list of
//! harmless ones, and a name that would need decoding is refused.

/// The longest URI that we accept; libvirt has no limit of its own.
const URI_MAX: usize = 1024;

/// The transports that are accepted.
const SCHEMES: [&str; 7] =
    ["qemu", "qemu+unix", "qemu+tls", "qemu+tcp", "qemu+ssh", "qemu+libssh", "qemu+libssh2"];

/// The parameters that are accepted. Not accepted are `command`, `netcat` and `proxy`, which choose
/// a program, here or on the other machine; `name`, which chooses another driver there; and `auth`,
/// which names a file of passwords.
const PARAMETERS: [&str; 11] = [
    "keyfile",
    "known_hosts",
    "known_hosts_verify",
    "mode",
    "no_sanity",
    "no_tty",
    "no_verify",
    "pkipath",
    "socket",
    "sshauth",
    "tls_priority",
];

/// The URI, or why it is not accepted. The text continues a sentence that begins with the setting's
/// name.
pub(crate) fn checked_uri(uri: &str) -> Result<String, String> {
    let refuse = |why: &str| Err(format!("{uri:?} {why}"));
    if uri.len() > URI_MAX || uri.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return refuse("is too long, or has blanks or control characters");
    }
    let Some((scheme, rest)) = uri.split_once("://") else {
        return refuse("is no libvirt URI: write qemu:///system or qemu+tls://host/system");
    };
    if !(SCHEMES.contains(&scheme) || cfg!(test) && scheme == "test") {
        return refuse(
            "must begin with qemu:// or qemu+unix://, +tls, +tcp, +ssh, +libssh or +libssh2",
        );
    }
    if rest.contains(['#', ';']) {
        return refuse("has a '#' or a ';': separate parameters by '&'");
    }
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let Some((authority, _)) = place.split_once('/') else {
        return refuse("has no path: write ///system or //host/system");
    };
    let host = authority.rsplit('@').next().unwrap_or_default();
    if host.starts_with('-') {
        return refuse("has a host name that ssh would take for an option");
    }
    // libvirt decodes it and passes the result to ssh.
    if authority.contains('%') {
        return refuse("has a '%' in its user or host name: write the name as it is");
    }
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let name = part.split('=').next().unwrap_or_default();
        if name.contains('%') {
            return refuse("has a '%' in the name of a parameter: write the name as it is");
        }
        if !PARAMETERS.contains(&name.to_ascii_lowercase().as_str()) {
            let known = PARAMETERS.join(", ");
            return refuse(&format!(
                "has the parameter {name:?}, which is not allowed: it may run a program. Allowed \
                 are {known}"
            ));
        }
    }
    Ok(uri.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_no_program_is_taken_as_it_is() {
        for uri in [
            "qemu:///system",
            "qemu+unix:///system?socket=/run/x/libvirt-sock",
            "qemu+tls://host/system?no_verify=1&pkipath=/etc/pki/x",
            "qemu+ssh://root@h:2222/system?keyfile=/etc/key&no_tty=1&Known_Hosts=/etc/known%20hosts",
            "qemu+tcp://[fd00::1]/system?",
            "qemu+libssh2://u@h/system?known_hosts_verify=auto&&sshauth=privkey",
        ] {
            assert_eq!(checked_uri(uri).as_deref(), Ok(uri));
        }
    }

    #[test]
    fn no_spelling_that_libvirt_understands_names_a_program() {
        for uri in [
            "qemu+ssh://h/system?command=/tmp/x",
            "qemu+ssh://h/system?no_tty=1&netcat=/tmp/x",
            "qemu+ssh://h/system?proxy=netcat",
            "qemu+ssh://h/system?Command=/tmp/x",
            "qemu+ssh://h/system?c%6Fmmand=/tmp/x",
            "qemu+ssh://h/system?no_tty=1;command=/tmp/x",
            "qemu+ssh://h/system?no_tty=1%3Bcommand=/x;a",
            "qemu+ssh://h/system?%63ommand",
            "qemu+ssh://h/system?name=lxc:///system",
            "qemu+ssh://-oProxyCommand=x/system",
            "qemu+ssh://u@-oProxyCommand=x/system",
            "qemu+ssh://%2DoProxyCommand=x/system",
            "qemu+ssh://%2DoProxyCommand=x@h/system",
            "qemu+ssh://a%20b@h/system",
            "qemu+ssh://h%2Da:22/system",
            "qemu+ssh://h/system#?command=/tmp/x",
            "qemu+ext:///system?command=/bin/sh",
            "QEMU+EXT:///system?command=/bin/sh",
        ] {
            assert!(checked_uri(uri).is_err(), "{uri}");
        }
    }

    #[test]
    fn what_is_no_uri_is_refused() {
        for uri in ["", "system", "xen:///", "qemu:// /system", "qemu://host", "qemu:///sys\0tem"] {
            assert!(checked_uri(uri).is_err(), "{uri}");
        }
    }
}
