//! Names and paths. They are checked once, where they enter Ostler.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Longest name of anything. Libvirt and file systems allow longer names, but tables for people
/// have no room for them.
const NAME_MAX: usize = 63;
/// Longest relative path inside a datastore. Together with the datastore's root it stays below the
/// limit of every file system.
const PATH_MAX: usize = 1024;

/// An error message repeats at most this many bytes of an invalid text, because that text may have
/// any length.
const SHOWN_MAX: usize = 256;

fn shown(text: &str) -> String {
    if text.len() <= SHOWN_MAX {
        text.to_owned()
    } else {
        format!("{}...", &text[..text.floor_char_boundary(SHOWN_MAX)])
    }
}

/// Why a text is not a name or path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Wrong characters, or wrong length.
    #[error(
        "{what} {given:?} is not valid: use 1 to {NAME_MAX} letters, digits, '.', '_' or '-', beginning with a letter or digit"
    )]
    Name {
        /// The kind of name that was expected.
        what: &'static str,
        /// The text that was given.
        given: String,
    },
    /// A path that is absolute, empty or too long, or that leads out of the datastore.
    #[error(
        "path {given:?} is not valid: use a relative path of at most {PATH_MAX} bytes without '.', '..', empty parts or control characters"
    )]
    Path {
        /// The text that was given.
        given: String,
    },
    /// Not a name of a secret.
    #[error(
        "secret name {given:?} is not valid: use 1 to {NAME_MAX} lower-case letters, digits and dashes"
    )]
    Secret {
        /// The text that was given.
        given: String,
    },
    /// Not a unicast hardware address.
    #[error(
        "hardware address {given:?} is not valid: use a unicast address like 52:54:00:12:34:56"
    )]
    Mac {
        /// The text that was given.
        given: String,
    },
    /// Not `datastore:path`.
    #[error(
        "{given:?} is not a file in a datastore: write DATASTORE:RELATIVE/PATH, for example images:vmlinux"
    )]
    File {
        /// The text that was given.
        given: String,
    },
}

impl InvalidName {
    /// The error for a text that is no name of a secret.
    pub(crate) fn secret(given: &str) -> Self {
        Self::Secret { given: shown(given) }
    }
}

fn name_is_valid(text: &str) -> bool {
    let mut chars = text.chars();
    text.len() <= NAME_MAX
        && chars.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The checked text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                if name_is_valid(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(InvalidName::Name { what: $what, given: shown(text) })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name!(
    /// A VM's name. It need not be unique; an ambiguous lookup lists the candidates.
    VmName, "VM name"
);
name!(
    /// A host's name. Unique.
    HostName, "host name"
);
name!(
    /// A datastore's name. Unique.
    DatastoreName, "datastore name"
);
name!(
    /// An image's name. Unique.
    ImageName, "image name"
);
name!(
    /// The name of a VM's disk, which is also its target device (`vda`). Unique within the VM.
    DiskName, "disk name"
);
name!(
    /// The name of a loaded driver (`kvm`, `sim`, `transfer-qcow2`). Unique.
    DriverName, "driver name"
);

name!(
    /// The name of a system snapshot at the hypervisor. Unique within the VM, and derived from the
    /// operation that made the snapshot.
    SnapshotName, "snapshot name"
);

/// The hardware address of a network card: unicast, in lower case (`52:54:00:12:34:56`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress(String);

impl MacAddress {
    /// The checked text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address of a network card if the record does not name one: made of the last bytes of
    /// `uuid` and the card's index `place`. Records that are written now name all addresses.
    #[must_use]
    pub fn of_place(uuid: crate::VmUuid, place: u8) -> Self {
        let bytes = uuid.0.as_bytes();
        Self(format!(
            "52:54:00:{:02x}:{:02x}:{:02x}",
            bytes[13],
            bytes[14],
            bytes[15].wrapping_add(place)
        ))
    }

    /// An address for a new network card. Its last 40 bits follow from `salt` and the last bytes of
    /// `uuid`, which are random. Another salt gives another address. The first byte is b2: anybody
    /// may use it (IEEE 802c: administratively assigned), and neither QEMU nor the container
    /// engines use it.
    #[must_use]
    pub fn chosen(uuid: crate::VmUuid, salt: u64) -> Self {
        const BITS: u64 = (1 << 40) - 1;
        // Odd, so that no two salts give the same address. Large, so that it does not hit the
        // addresses of the next VM.
        const STRIDE: u64 = 0x9e_3779_b97f;
        let bytes = uuid.0.as_bytes();
        let last = bytes[11..].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let [.., a, b, c, d, e] =
            (last.wrapping_add(salt.wrapping_mul(STRIDE)) & BITS).to_be_bytes();
        Self(format!("b2:{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}"))
    }

    /// Its 48 bits as a number.
    #[must_use]
    pub fn bits(&self) -> u64 {
        self.0
            .split(':')
            .filter_map(|part| u64::from_str_radix(part, 16).ok())
            .fold(0, |number, byte| number << 8 | byte)
    }
}

impl FromStr for MacAddress {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let byte =
            |part: &str| if part.len() == 2 { u8::from_str_radix(part, 16).ok() } else { None };
        let bytes: Vec<Option<u8>> = text.split(':').map(byte).collect();
        // The lowest bit of the first byte marks a multicast address (IEEE 802).
        let unicast = bytes.len() == 6
            && bytes.iter().all(Option::is_some)
            && bytes[0].is_some_and(|first| first & 1 == 0);
        if unicast {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(InvalidName::Mac { given: shown(text) })
        }
    }
}

impl TryFrom<String> for MacAddress {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> Self {
        mac.0
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A path below a datastore's root. It is never absolute, and its text never leads out of the root.
/// Symbolic links are not checked here: the code that opens the file must resolve them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RelPath(String);

impl RelPath {
    /// The checked text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RelPath {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts_ok = text.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        if parts_ok && text.len() <= PATH_MAX && !text.chars().any(char::is_control) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName::Path { given: shown(text) })
        }
    }
}

impl TryFrom<String> for RelPath {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<RelPath> for String {
    fn from(path: RelPath) -> Self {
        path.0
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A file in a datastore, written `datastore:relative/path`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FilePath {
    /// The datastore.
    pub datastore: DatastoreName,
    /// The path below the datastore's root.
    pub path: RelPath,
}

impl FromStr for FilePath {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (datastore, path) =
            text.split_once(':').ok_or_else(|| InvalidName::File { given: shown(text) })?;
        Ok(Self { datastore: datastore.parse()?, path: path.parse()? })
    }
}

impl TryFrom<String> for FilePath {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<FilePath> for String {
    fn from(file: FilePath) -> Self {
        file.to_string()
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.datastore, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_once() {
        for good in ["a", "web-1", "0", "a.b_c", &"x".repeat(NAME_MAX)] {
            assert!(good.parse::<VmName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", ".a", "a b", "a/b", "ä", "a\n", &"x".repeat(NAME_MAX + 1)] {
            assert!(bad.parse::<VmName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn chosen_addresses_are_local_unicast_and_differ() {
        let uuid = |number| crate::VmUuid(uuid::Uuid::from_u128(number));
        let chosen: Vec<MacAddress> = (0..50)
            .flat_map(|vm| (0..50).map(move |salt| MacAddress::chosen(uuid(vm), salt)))
            .collect();
        for mac in &chosen {
            assert_eq!(mac.as_str().parse::<MacAddress>().as_ref(), Ok(mac));
            assert_eq!(mac.bits() >> 40 & 0b11, 0b10, "local, and for one receiver");
        }
        let different: std::collections::BTreeSet<u64> =
            chosen.iter().map(MacAddress::bits).collect();
        assert_eq!(different.len(), chosen.len());
        assert_eq!(MacAddress::chosen(uuid(0x01_0203_0405), 0).as_str(), "b2:01:02:03:04:05");
    }

    #[test]
    fn a_path_cannot_step_out() {
        for good in ["a", "a/b.qcow2", "..a/b"] {
            assert!(good.parse::<RelPath>().is_ok(), "{good}");
        }
        for bad in ["", "/a", "a//b", "../a", "a/..", "a/./b", "a/", "a\0"] {
            assert!(bad.parse::<RelPath>().is_err(), "{bad}");
        }
        assert!("images:../x".parse::<FilePath>().is_err());
        assert_eq!("images:a/b".parse::<FilePath>().expect("valid").to_string(), "images:a/b");
    }
}
