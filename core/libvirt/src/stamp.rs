//! The stamp that we write into a domain's metadata: whose domain it is, which placement, and the
//! last effects that must not happen twice.
//!
//! The stamp is an element of our own namespace. So libvirt keeps it for us in the domain's
//! definition, in its running state (over a restart of the libvirt daemon too) and in the header of
//! a saved memory file.

use ostler_model::{EffectKey, Generation, Identity};
use serde::{Deserialize, Serialize};

/// The namespace of our element. It is a name, not a web address.
pub(crate) const NAMESPACE: &str = "urn:ostler:domain:1";
/// The prefix libvirt writes for it.
pub(crate) const PREFIX: &str = "ostler";
/// Our element's name, with prefix.
pub(crate) const ELEMENT: &str = "ostler:vm";

/// A stamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Whose domain it is.
    pub(crate) identity: Identity,
    /// The last edge effect. Written before the effect is sent.
    pub(crate) edge: Option<EffectKey>,
    /// The last save. Written before the save begins: a memory file that carries it was written by
    /// that very call.
    pub(crate) save: Option<EffectKey>,
    /// The last long job. Written before the job begins: a process that finds the job at work knows
    /// whose it is.
    pub(crate) job: Option<EffectKey>,
    /// The last copy of a disk that is complete. Written once it is.
    pub(crate) copied: Option<EffectKey>,
}

/// Our mark in a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Nothing: it is nobody's.
    None,
    /// A stamp. Boxed, because it is large and most domains that are looked at have none.
    Stamp(Box<Stamp>),
    /// Our element, but this program cannot read it: the domain belongs to somebody else.
    Unreadable,
}

impl Mark {
    /// Reads our element, as libvirt returns it.
    pub(crate) fn of(element: &str) -> Self {
        Stamp::parse(element).map_or(Self::Unreadable, |stamp| Self::Stamp(Box::new(stamp)))
    }

    /// The stamp, if it can be read.
    pub(crate) const fn stamp(&self) -> Option<&Stamp> {
        match self {
            Self::Stamp(stamp) => Some(stamp),
            Self::None | Self::Unreadable => None,
        }
    }
}

/// The stamp as XML.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StampXml {
    #[serde(rename = "@xmlns:ostler", default, skip_deserializing)]
    xmlns: &'static str,
    #[serde(rename = "@store")]
    store: String,
    #[serde(rename = "@vm")]
    vm: String,
    #[serde(rename = "@generation")]
    generation: u64,
    #[serde(rename = "@edge", default, skip_serializing_if = "Option::is_none")]
    edge: Option<String>,
    #[serde(rename = "@save", default, skip_serializing_if = "Option::is_none")]
    save: Option<String>,
    #[serde(rename = "@job", default, skip_serializing_if = "Option::is_none")]
    job: Option<String>,
    #[serde(rename = "@copied", default, skip_serializing_if = "Option::is_none")]
    copied: Option<String>,
}

impl Stamp {
    /// The stamp of a new placement.
    pub(crate) const fn new(identity: Identity) -> Self {
        Self { identity, edge: None, save: None, job: None, copied: None }
    }

    /// As attributes of [`ELEMENT`].
    pub(crate) fn xml(&self) -> StampXml {
        StampXml {
            xmlns: NAMESPACE,
            store: self.identity.store.to_string(),
            vm: self.identity.vm.to_string(),
            generation: self.identity.generation.0,
            edge: self.edge.as_ref().map(ToString::to_string),
            save: self.save.as_ref().map(ToString::to_string),
            job: self.job.as_ref().map(ToString::to_string),
            copied: self.copied.as_ref().map(ToString::to_string),
        }
    }

    /// The element without prefix, as libvirt expects it in the call that sets metadata.
    pub(crate) fn element(&self) -> Result<String, quick_xml::SeError> {
        #[derive(Serialize)]
        #[serde(rename = "vm")]
        struct Bare {
            #[serde(rename = "@store")]
            store: String,
            #[serde(rename = "@vm")]
            vm: String,
            #[serde(rename = "@generation")]
            generation: u64,
            #[serde(rename = "@edge", skip_serializing_if = "Option::is_none")]
            edge: Option<String>,
            #[serde(rename = "@save", skip_serializing_if = "Option::is_none")]
            save: Option<String>,
            #[serde(rename = "@job", skip_serializing_if = "Option::is_none")]
            job: Option<String>,
            #[serde(rename = "@copied", skip_serializing_if = "Option::is_none")]
            copied: Option<String>,
        }
        let StampXml { xmlns: _, store, vm, generation, edge, save, job, copied } = self.xml();
        quick_xml::se::to_string(&Bare { store, vm, generation, edge, save, job, copied })
    }

    /// Reads the element. None if this program could not have written it: such a domain is not
    /// ours.
    pub(crate) fn parse(element: &str) -> Option<Self> {
        let read: StampXml = quick_xml::de::from_str(element).ok()?;
        let identity = Identity {
            store: read.store.parse().ok()?,
            vm: read.vm.parse().ok()?,
            generation: Generation(read.generation),
        };
        let key = |text: Option<String>| text.as_deref().and_then(parse_key);
        Some(Self {
            identity,
            edge: key(read.edge),
            save: key(read.save),
            job: key(read.job),
            copied: key(read.copied),
        })
    }
}

fn parse_key(text: &str) -> Option<EffectKey> {
    let mut parts = text.splitn(4, '/');
    let (vm, operation, step, item) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    Some(EffectKey {
        vm: vm.parse().ok()?,
        operation: operation.parse().ok()?,
        step: step.parse().ok()?,
        item: item.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_model::{Item, OperationId, StepNo, StoreId, VmUuid};
    use uuid::Uuid;

    fn stamp() -> Stamp {
        let vm = VmUuid(Uuid::from_u128(7));
        let key = |item| EffectKey { vm, operation: OperationId(u64::MAX), step: StepNo(3), item };
        Stamp {
            identity: Identity {
                store: StoreId(Uuid::from_u128(9)),
                vm,
                generation: Generation(u64::MAX),
            },
            edge: Some(key(Item::Domain)),
            save: Some(key(Item::Disk("vd.a_-b".parse().expect("valid")))),
            job: Some(key(Item::Nic("52:54:00:00:00:01".parse().expect("valid")))),
            copied: Some(key(Item::Snapshot("s-1".parse().expect("valid")))),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for stamp in [stamp(), Stamp { edge: None, ..stamp() }, Stamp::new(stamp().identity)] {
            let element = stamp.element().expect("serialises");
            assert_eq!(Stamp::parse(&element).as_ref(), Some(&stamp), "{element}");
            // As libvirt returns it, with the prefix and the namespace.
            let given =
                element.replacen("<vm ", &format!("<{ELEMENT} xmlns:{PREFIX}=\"{NAMESPACE}\" "), 1);
            assert_eq!(Stamp::parse(&given).as_ref(), Some(&stamp), "{given}");
        }
    }

    #[test]
    fn what_we_could_not_have_written_is_not_ours() {
        for bad in [
            "",
            "<vm/>",
            "<vm store='x' vm='y' generation='1'/>",
            "<vm store='00000000-0000-0000-0000-000000000009' vm='00000000-0000-0000-0000-000000000007' generation='-1'/>",
            "<vm store='00000000-0000-0000-0000-000000000009' vm='00000000-0000-0000-0000-000000000007'/>",
            "not xml & more <",
        ] {
            assert_eq!(Stamp::parse(bad), None, "{bad}");
            assert_eq!(Mark::of(bad), Mark::Unreadable, "it is somebody's: {bad}");
        }
        let odd = "<vm store='00000000-0000-0000-0000-000000000009' vm='00000000-0000-0000-0000-000000000007' generation='1' \
                   edge='a/b/c' save='&lt;&amp;'/>";
        let read = Stamp::parse(odd).expect("ours, with keys nobody can read");
        assert_eq!((read.edge, read.save), (None, None));
    }
}
