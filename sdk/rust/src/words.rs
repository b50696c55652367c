//! The words of the contract as enums.
//!
//! The contract sends most of its choices as text, so that a later host can send a word that a
//! driver of today does not know. The enums of such words have a case `Other`. A driver receives it
//! and has no function that makes it, so that it does not send a word that no host knows. (With
//! the feature `serde`, a file can have any word.)

use std::fmt;

/// A word that this SDK does not know: a later host has sent it. The
/// driver's answer to it is mostly [`crate::Error::refused`], with the word in the detail.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct UnknownWord(String);

impl UnknownWord {
    pub(crate) fn new(word: impl Into<String>) -> Self {
        Self(word.into())
    }

    /// The word, as the host has sent it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Text for people and for serde, which both kinds of enum have.
macro_rules! as_text {
    ($name:ident, $read:expr) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl From<$name> for String {
            fn from(word: $name) -> Self {
                word.as_str().to_owned()
            }
        }

        #[cfg(feature = "serde")]
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }

        #[cfg(feature = "serde")]
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let word = <String as serde::Deserialize>::deserialize(from)?;
                let read: fn(String) -> Result<Self, String> = $read;
                read(word).map_err(|word| {
                    serde::de::Error::custom(format!(
                        concat!("{:?} is no word of ", stringify!($name)),
                        word
                    ))
                })
            }
        }
    };
}

/// An enum of words that drivers send.
macro_rules! closed {
    ($(#[$doc:meta])* $name:ident { $($(#[$case_doc:meta])* $case:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name { $($(#[$case_doc])* $case),* }

        impl $name {
            /// The contract's word for this value.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$case => $text),* }
            }

            /// The value for a word of the contract. None if the word is unknown.
            #[must_use]
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($text => Some(Self::$case),)* _ => None }
            }
        }

        as_text!($name, |word| Self::parse(&word).ok_or(word));
    };
}

/// An enum of words that the host sends.
macro_rules! open {
    ($(#[$doc:meta])* $name:ident { $($(#[$case_doc:meta])* $case:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$case_doc])* $case,)*
            /// A word of a later version of the contract.
            Other(UnknownWord),
        }

        impl $name {
            /// The contract's word for this value.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self { $(Self::$case => $text,)* Self::Other(word) => word.as_str() }
            }

            /// The value for a word of the contract. None if the word is unknown.
            #[must_use]
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($text => Some(Self::$case),)* _ => None }
            }

            /// The value for any word.
            #[cfg_attr(
                not(any(target_family = "wasm", feature = "serde")),
                allow(dead_code, reason = "only a host and a file have any word")
            )]
            pub(crate) fn of(word: String) -> Self {
                Self::parse(&word).unwrap_or_else(|| Self::Other(UnknownWord::new(word)))
            }
        }

        as_text!($name, |word| Ok(Self::of(word)));
    };
}

closed!(
    /// The power state of a domain.
    Power {
        /// The domain runs.
        Running = "running",
        /// The domain exists, but its virtual CPUs do not run.
        Paused = "paused",
        /// The domain is defined, but off.
        Off = "off",
        /// The domain has crashed, and was preserved so that somebody can look at it.
        Crashed = "crashed",
    }
);

closed!(
    /// The reason for the power state of a domain.
    PowerReason {
        /// The reason is not known.
        None = "none",
        /// Somebody did it at the hypervisor.
        Person = "person",
        /// The guest switched itself off.
        Guest = "guest",
        /// The domain was destroyed.
        Destroyed = "destroyed",
        /// The domain's process died.
        Crashed = "crashed",
        /// The domain was saved.
        Saved = "saved",
        /// The domain moved away.
        Migrated = "migrated",
        /// A disk failed.
        IoError = "io-error",
        /// A watchdog has acted.
        Watchdog = "watchdog",
        /// The domain is being created or restored. Its state is not final yet.
        Starting = "starting",
    }
);

closed!(
    /// The person a line of the log is for.
    LogLevel {
        /// An author of drivers.
        Debug = "debug",
        /// An operator.
        Info = "info",
        /// An operator, who should check something some day.
        Warn = "warn",
        /// An operator, who should check something now.
        Error = "error",
    }
);

closed!(
    /// The kind of a file.
    FileKind {
        /// A regular file.
        File = "file",
        /// A folder.
        Directory = "directory",
        /// A pipe, a socket, a device. It is not read: that could wait for ever.
        Other = "other",
    }
);

open!(
    /// The format of a disk's file.
    DiskFormat {
        /// qcow2 of QEMU.
        Qcow2 = "qcow2",
        /// The bytes of the disk and nothing else.
        Raw = "raw",
    }
);

open!(
    /// The firmware that starts a guest.
    Firmware {
        /// BIOS.
        Bios = "bios",
        /// UEFI.
        Uefi = "uefi",
    }
);

open!(
    /// The screen of a guest.
    Graphics {
        /// There is none.
        None = "none",
        /// A screen that is shown by VNC.
        Vnc = "vnc",
    }
);

open!(
    /// The kind of a console.
    ConsoleKind {
        /// The screen.
        Vnc = "vnc",
        /// The serial port.
        Serial = "serial",
    }
);

open!(
    /// The way in which a domain moves to another host.
    MigrationMode {
        /// The guest runs all the time.
        Live = "live",
    }
);

/// The thing of a VM that an effect is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Item {
    /// The domain.
    Domain,
    /// The disk of that name.
    Disk(String),
    /// The network card of that MAC address.
    Nic(String),
    /// The snapshot of that name.
    Snapshot(String),
    /// The recovery of a VM.
    Recovery,
    /// The files of a VM.
    Files,
    /// A look. It changes nothing.
    Look,
    /// An item of a later version of the contract.
    Other(UnknownWord),
}

impl Item {
    pub(crate) fn of(text: String) -> Self {
        let named = text.split_once(':').map(|(kind, name)| (kind, name.to_owned()));
        match (text.as_str(), named) {
            ("domain", _) => Self::Domain,
            ("recovery", _) => Self::Recovery,
            ("files", _) => Self::Files,
            ("look", _) => Self::Look,
            (_, Some(("disk", name))) => Self::Disk(name),
            (_, Some(("nic", mac))) => Self::Nic(mac),
            (_, Some(("snapshot", name))) => Self::Snapshot(name),
            _ => Self::Other(UnknownWord::new(text)),
        }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain => f.write_str("domain"),
            Self::Disk(name) => write!(f, "disk:{name}"),
            Self::Nic(mac) => write!(f, "nic:{mac}"),
            Self::Snapshot(name) => write!(f, "snapshot:{name}"),
            Self::Recovery => f.write_str("recovery"),
            Self::Files => f.write_str("files"),
            Self::Look => f.write_str("look"),
            Self::Other(word) => f.write_str(word.as_str()),
        }
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Item {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Item {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        <String as serde::Deserialize>::deserialize(from).map(Self::of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back() {
        assert_eq!(Power::parse(Power::Off.as_str()), Some(Power::Off));
        assert_eq!(PowerReason::parse("io-error"), Some(PowerReason::IoError));
        assert_eq!(Power::parse("on"), None);
        assert_eq!(DiskFormat::of("raw".to_owned()), DiskFormat::Raw);
    }

    #[test]
    fn a_word_of_a_later_host_is_carried_as_it_is() {
        let format = DiskFormat::of("qcow3".to_owned());
        assert_eq!((format.as_str(), DiskFormat::parse("qcow3")), ("qcow3", None));
        assert!(matches!(&format, DiskFormat::Other(word) if word.to_string() == "qcow3"));
        assert_eq!(String::from(format), "qcow3");
    }

    #[test]
    fn items_read_back() {
        for text in [
            "domain",
            "disk:vda",
            "nic:52:54:00:00:00:01",
            "snapshot:a:b",
            "recovery",
            "files",
            "look",
            "gpu:0",
            "diskette",
        ] {
            let item = Item::of(text.to_owned());
            assert_eq!(item.to_string(), text);
            let later = ["gpu:0", "diskette"].contains(&text);
            assert_eq!(matches!(item, Item::Other(_)), later, "{text}");
        }
        assert_eq!(Item::of("nic:52:54".to_owned()), Item::Nic("52:54".to_owned()));
    }
}
