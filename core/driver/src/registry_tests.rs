//! Tests of what is entered into the registry.

use super::*;
use crate::{CallControl, DomainSpec, Listed, Reboot, Site};
use async_trait::async_trait;
use ostler_model::{CallResult, DriverError, HostFacts, Observation, VmUuid};

/// A driver that states abilities, and has only the part to reboot.
struct Stating(Vec<Ability>);

fn never<T>() -> Result<T, DriverError> {
    Err(DriverError::retry("unreachable", "no host"))
}

#[async_trait]
impl Hypervisor for Stating {
    fn abilities(&self) -> &[Ability] {
        &self.0
    }
    async fn probe(&self, _: &Site) -> Result<HostFacts, DriverError> {
        never()
    }
    async fn deploy(&self, _: &Site, _: &CallControl, _: &DomainSpec) -> CallResult {
        never()
    }
    async fn press_power(&self, _: &Site, _: &CallControl) -> CallResult {
        never()
    }
    async fn destroy(&self, _: &Site, _: &CallControl) -> CallResult {
        never()
    }
    async fn remove(&self, _: &Site, _: &CallControl) -> CallResult {
        never()
    }
    async fn observe(&self, _: &Site, _: VmUuid) -> Result<Observation, DriverError> {
        never()
    }
    async fn list(&self, _: &Site) -> Result<Listed, DriverError> {
        never()
    }
    fn reboot(&self) -> Option<&dyn Reboot> {
        Some(self)
    }
}

#[async_trait]
impl Reboot for Stating {
    async fn reboot(&self, _: &Site, _: &CallControl) -> CallResult {
        never()
    }
    async fn reset(&self, _: &Site, _: &CallControl) -> CallResult {
        never()
    }
}

fn entry(abilities: &[Ability]) -> Result<DriverEntry, WithoutPart> {
    let info = DriverInfo {
        name: "some".parse().expect("a name"),
        version: "1".to_owned(),
        description: "some driver".to_owned(),
        origin: DriverOrigin::BuiltIn,
        abilities: abilities.to_vec(),
        settings: None,
    };
    DriverEntry::new(info, vec![DriverKind::Hypervisor(Arc::new(Stating(abilities.to_vec())))])
}

#[test]
fn a_driver_that_states_an_ability_and_has_no_part_for_it_is_refused() {
    use Ability::{
        Adopt, Changes, Console, DiskCopy, Fence, Hotplug, LiveResize, Metrics, Migrate, Reboot,
        Snapshots, Suspend,
    };
    for lacking in [
        Suspend, Migrate, Hotplug, Snapshots, LiveResize, Metrics, Console, Changes, Fence,
        DiskCopy, Adopt,
    ] {
        let refused = entry(&[Reboot, lacking]).err().expect("refused");
        assert_eq!((refused.name.as_str(), refused.abilities), ("some", vec![lacking]));
    }
    let refused = entry(&[Suspend, Reboot, Fence]).err().expect("refused");
    assert_eq!(
        refused.to_string(),
        "driver some states abilities that it has no part for: suspend, fence"
    );
}

#[test]
fn a_driver_with_all_parts_that_it_states_is_found() {
    let (registry, name) = (Registry::new(), "some".parse().expect("a name"));
    for abilities in [&[][..], &[Ability::Reboot]] {
        registry.insert(entry(abilities).expect("it has what it states"));
        assert_eq!(registry.hypervisor(&name).expect("is there").abilities(), abilities);
    }
}

#[test]
fn a_call_whose_part_is_missing_is_refused_with_the_name_of_the_driver() {
    let (driver, name) = (Stating(Vec::new()), "some".parse().expect("a name"));
    assert!(crate::require(Hypervisor::reboot(&driver), &name).is_ok());
    let error = crate::require(driver.live_resize(), &name).err().expect("refused");
    assert_eq!(error, DriverError::refused(crate::NOT_ABLE, "driver some cannot live-resize"));
}

#[test]
fn whoever_needs_a_driver_that_was_left_out_is_told_why() {
    let (registry, name) = (Registry::new(), "some".parse().expect("a name"));
    let loaded = entry(&[Ability::Reboot]).expect("it has what it states");
    registry.leave_out(LeftOut { info: loaded.info.clone(), why: "it is not signed".to_owned() });
    let error = registry.hypervisor(&name).err().expect("not loaded");
    assert_eq!(error.to_string(), "driver some is not loaded: it is not signed");
    assert_eq!(registry.left_out().len(), 1);
    // It is loaded from another file.
    registry.insert(loaded);
    assert!(registry.hypervisor(&name).is_ok());
    assert_eq!(registry.left_out(), []);
}

#[test]
fn operations_stay_on_the_driver_that_they_began_with() {
    let (registry, name) = (Registry::new(), "some".parse().expect("a name"));
    let three = [vec![], vec![Ability::Reboot]];
    let of = |operation| {
        let found = registry.hypervisor_for(&name, OperationId(operation)).expect("is there");
        found.abilities().len()
    };
    registry.insert(entry(&three[0]).expect("has its parts"));
    registry.succeed(entry(&three[1]).expect("has its parts"), OperationId(10));
    assert_eq!([of(1), of(9), of(10), of(0)], [0, 0, 1, 1]);
    // A third one: operations before 10 stay on the first, those before 20 on the second.
    registry.succeed(entry(&three[0]).expect("has its parts"), OperationId(20));
    assert_eq!([of(9), of(10), of(19), of(20), of(0)], [0, 1, 1, 0, 0]);
    assert_eq!(registry.earlier(), 2);
    // The first operation that has not ended is 10: nobody needs the first driver.
    registry.retire(Some(OperationId(10)));
    assert_eq!((registry.earlier(), of(10)), (1, 1));
    registry.retire(Some(OperationId(20)));
    assert_eq!((registry.earlier(), of(10)), (0, 0));
    // After a restart: the earlier one is loaded after the one that is in place.
    registry.keep_earlier(entry(&three[1]).expect("has its parts"), OperationId(20));
    assert_eq!([of(19), of(20)], [1, 0]);
    registry.retire(None);
    assert_eq!(registry.earlier(), 0);
    // All at once.
    registry.succeed(entry(&three[1]).expect("has its parts"), OperationId(30));
    registry.replace_all(entry(&three[1]).expect("has its parts"));
    assert_eq!((registry.earlier(), of(5)), (0, 1));
}

#[test]
fn no_more_earlier_drivers_are_kept_than_may_be() {
    let (registry, name) = (Registry::new(), "some".parse().expect("a name"));
    registry.insert(entry(&[]).expect("has its parts"));
    for n in 1..=20 {
        registry.succeed(entry(&[Ability::Reboot]).expect("has its parts"), OperationId(n * 10));
    }
    assert_eq!(registry.earlier(), EARLIER_MAX);
    // The operations of the first driver go on with the oldest that is kept.
    assert_eq!(registry.hypervisor_for(&name, OperationId(1)).expect("there").abilities().len(), 1);
}
