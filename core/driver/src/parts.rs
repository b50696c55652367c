//! The optional parts of drivers: whether a driver has a part, and the error if it has not.

use crate::abilities::{
    Adopt, Changes, Console, DiskCopy, Fence, Hotplug, LiveResize, Metrics, Migrate, Reboot,
    Snapshots, Suspend,
};
use crate::hypervisor::Hypervisor;
use crate::transfer::{TransferImages, TransferInspect};
use ostler_model::{Ability, DriverError, DriverName};

/// The error code of a driver that does not have the part that a call needs.
pub const NOT_ABLE: &str = "not-able";

/// An optional part of a driver.
pub trait Part {
    /// What a driver without the part cannot do, in words that follow "cannot".
    fn deed() -> String;
}

/// Each trait of an ability has the name of its ability.
macro_rules! parts_of_abilities {
    ($($ability:ident),*) => {
        $(impl Part for dyn $ability + '_ {
            fn deed() -> String {
                Ability::$ability.to_string()
            }
        })*
    };
}
parts_of_abilities!(
    Reboot, Suspend, Changes, Metrics, Migrate, Hotplug, Snapshots, LiveResize, DiskCopy, Adopt,
    Console, Fence
);

impl Part for dyn TransferImages + '_ {
    fn deed() -> String {
        "make images of disks".to_owned()
    }
}

impl Part for dyn TransferInspect + '_ {
    fn deed() -> String {
        "look into files".to_owned()
    }
}

/// The part that a call needs, of the driver `name`.
///
/// # Errors
/// `refused` with code [`NOT_ABLE`] if the driver does not have it. The lifecycle checks the host's
/// abilities before it decides on a call, so this error shows that the driver was replaced in
/// between.
pub fn require<'a, P: Part + ?Sized>(
    part: Option<&'a P>,
    name: &DriverName,
) -> Result<&'a P, DriverError> {
    part.ok_or_else(|| {
        DriverError::refused(NOT_ABLE, format!("driver {name} cannot {}", P::deed()))
    })
}

/// The abilities that the driver states without having their parts.
pub(crate) fn without_part(driver: &dyn Hypervisor) -> Vec<Ability> {
    driver.abilities().iter().copied().filter(|ability| !has_part(driver, *ability)).collect()
}

fn has_part(driver: &dyn Hypervisor, ability: Ability) -> bool {
    match ability {
        Ability::Reboot => driver.reboot().is_some(),
        Ability::Suspend => driver.suspend().is_some(),
        Ability::Changes => driver.changes().is_some(),
        Ability::Metrics => driver.metrics().is_some(),
        Ability::Migrate => driver.migrate().is_some(),
        Ability::Hotplug => driver.hotplug().is_some(),
        Ability::Snapshots => driver.snapshots().is_some(),
        Ability::LiveResize => driver.live_resize().is_some(),
        Ability::DiskCopy => driver.disk_copy().is_some(),
        Ability::Adopt => driver.adopt().is_some(),
        Ability::Console => driver.console().is_some(),
        Ability::Fence => driver.fence().is_some(),
    }
}
