//! Explains libvirt's error about a bridge that a host does not have, and names the bridge.

use ostler_driver::Site;
use ostler_model::DriverError;

/// For a missing bridge, libvirt reports a number that it could not read ("Cannot get interface MTU
/// on 'br7': No such device"). The kind of the error, and so the engine's reaction, is decided
/// already; this function only gives it clear words and a code of its own.
pub(crate) fn told<'a>(
    error: DriverError,
    site: &Site,
    bridges: impl IntoIterator<Item = &'a str>,
) -> DriverError {
    if !error.detail.contains("No such device") {
        return error;
    }
    let missing = bridges.into_iter().find(|bridge| error.detail.contains(&format!("'{bridge}'")));
    match missing {
        Some(bridge) => DriverError {
            code: "no-bridge".to_owned(),
            detail: format!(
                "host {} has no bridge {bridge} (libvirt: {})",
                site.name, error.detail
            ),
            ..error
        },
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_model::{ErrorKind, ExecTransport, HostId};
    use std::collections::BTreeMap;

    fn site() -> Site {
        Site {
            id: HostId(1),
            name: "h1".parse().expect("valid"),
            config: BTreeMap::new(),
            transport: ExecTransport::Local,
            roots: BTreeMap::new(),
        }
    }

    #[test]
    fn libvirts_words_are_explained_once() {
        let words = "Cannot get interface MTU on 'br7': No such device";
        let error = DriverError::new(ErrorKind::NotHere, "failed", crate::failure::told(words));
        assert_eq!(
            told(error, &site(), ["br7"]).detail,
            format!("host h1 has no bridge br7 (libvirt: {words})")
        );
    }

    #[test]
    fn only_a_bridge_of_the_vm_is_named() {
        let site = site();
        let said = |detail: &str| DriverError::new(ErrorKind::NotHere, "failed", detail);
        let mtu = said("Cannot get interface MTU on 'br7': No such device");
        let error = told(mtu.clone(), &site, ["br0", "br7"]);
        assert_eq!((error.kind, error.code.as_str()), (ErrorKind::NotHere, "no-bridge"));
        assert!(error.detail.starts_with("host h1 has no bridge br7 "), "{}", error.detail);
        assert_eq!(told(mtu.clone(), &site, ["br0"]), mtu);
        let other = said("unable to set 'br7'");
        assert_eq!(told(other.clone(), &site, ["br7"]), other);
    }
}
