//! The driver's own state about a VM as a value with a version.

use crate::host::log;
use crate::{Call, Error, OpaqueState, Outcome};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The most bytes of state that the host keeps with a VM.
const STATE_MAX: usize = 64 * 1024;

/// A value that the host keeps for the driver with a VM.
///
/// ```
/// use ostler_sdk::mock::MockHost;
/// use ostler_sdk::{Kept, Outcome};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Slots {
///     disks: Vec<u8>,
/// }
///
/// impl Kept for Slots {
///     const VERSION: u32 = 2;
///
///     fn upgrade(version: u32, data: &[u8]) -> Option<Self> {
///         // Version 1 was the list alone.
///         let disks = (version == 1).then(|| serde_json::from_slice(data).ok()).flatten()?;
///         Some(Self { disks })
///     }
/// }
///
/// let host = MockHost::new();
/// let outcome = Outcome::done().keeping_value(&Slots { disks: vec![3] })?;
/// let next = host.call("11111111-2222-3333-4444-555555555555", 1).with_state(outcome.state);
/// assert_eq!(next.kept::<Slots>().map(|slots| slots.disks), Some(vec![3]));
/// # Ok::<(), ostler_sdk::Error>(())
/// ```
pub trait Kept: Serialize + DeserializeOwned {
    /// The version of this form. Raise it when an older build of the driver could not read the new
    /// form, or would misread it.
    const VERSION: u32;

    /// The value that another version of the driver has kept. None if it cannot be understood: a
    /// driver can always make its state anew.
    #[must_use]
    fn upgrade(_version: u32, _data: &[u8]) -> Option<Self> {
        None
    }
}

impl Call {
    /// The value that the driver keeps about this VM. None if it keeps none, or none that this
    /// version understands (a later build has kept it, and this one was put back): then make it
    /// anew from what is at the hypervisor, and not from a default.
    #[must_use]
    pub fn kept<T: Kept>(&self) -> Option<T> {
        let OpaqueState { version, data } = self.state()?;
        if version != T::VERSION {
            let read = T::upgrade(version, &data);
            if read.is_none() {
                log::warn(format!(
                    "the state that is kept for VM {} has version {version}, which this driver \
                     does not understand; it is made anew",
                    self.vm()
                ));
            }
            return read;
        }
        let read = serde_json::from_slice(&data);
        read.inspect_err(|error| {
            log::warn(format!(
                "the state that is kept for VM {} cannot be read, and is made anew: {error}",
                self.vm()
            ));
        })
        .ok()
    }
}

impl Outcome {
    /// The same outcome with the driver's own state, which the host keeps.
    ///
    /// # Errors
    /// `refused` with code `state-too-large` if it has more than 64 KiB.
    pub fn keeping_value<T: Kept>(self, value: &T) -> Result<Self, Error> {
        let data = serde_json::to_vec(value)?;
        if data.len() > STATE_MAX {
            let told = format!("the state has {} bytes, at most {STATE_MAX} are kept", data.len());
            return Err(Error::refused("state-too-large", told));
        }
        Ok(self.keeping(T::VERSION, data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::MockHost;
    use crate::{DomainSpec, LogLevel};

    const VM: &str = "11111111-2222-3333-4444-555555555555";

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Mine {
        spec: DomainSpec,
    }

    impl Kept for Mine {
        const VERSION: u32 = 7;
    }

    #[test]
    fn a_state_reads_back_and_one_of_another_version_does_not() {
        let host = MockHost::new();
        let call = host.call(VM, 1);
        let mine = Mine { spec: call.domain() };
        let state = Outcome::done().keeping_value(&mine).expect("small").state.expect("kept");
        assert_eq!(call.clone().with_state(Some(state.clone())).kept(), Some(mine));
        let other = OpaqueState { version: 6, data: state.data };
        assert_eq!(call.kept::<Mine>(), None);
        assert!(host.lines().is_empty());
        assert_eq!(call.with_state(Some(other)).kept::<Mine>(), None);
        assert!(host.lines()[0].1.contains("version 6"), "{:?}", host.lines());
    }

    #[test]
    fn a_state_that_is_damaged_is_made_anew_and_told() {
        let host = MockHost::new();
        let damaged = OpaqueState { version: 7, data: b"{".to_vec() };
        assert_eq!(host.call(VM, 1).with_state(Some(damaged)).kept::<Mine>(), None);
        assert_eq!(host.lines()[0].0, LogLevel::Warn);
    }

    #[test]
    fn a_state_that_the_host_would_not_keep_is_refused() {
        let host = MockHost::new();
        let mut mine = Mine { spec: host.call(VM, 1).domain() };
        mine.spec.title = "x".repeat(STATE_MAX);
        let error = Outcome::done().keeping_value(&mine).expect_err("large");
        assert_eq!(error.code, "state-too-large");
    }

    #[test]
    fn records_are_written_with_the_names_of_the_contract() {
        let host = MockHost::new();
        let text = serde_json::to_value(host.call(VM, 1).domain()).expect("written");
        assert_eq!(text["memory-mib"], 64);
        assert_eq!(text["firmware"], "bios");
        assert_eq!(text["console-log"]["datastore"], "system");
        let later = text.to_string().replace("\"bios\"", "\"coreboot\"");
        let spec: DomainSpec = serde_json::from_str(&later).expect("a word of a later host");
        assert_eq!(spec.firmware.as_str(), "coreboot");
        assert_eq!(serde_json::to_value(&spec.firmware).expect("written"), "coreboot");
        assert!(serde_json::from_str::<crate::Power>("\"on\"").is_err());
    }
}
