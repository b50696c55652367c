//! Which image a disk is to become.

use crate::rig::{Fault, Rig};
use ostler_lifecycle::{Shelf, image_to_be};
use ostler_model::{Datastore, DatastoreId, DatastoreKind, ImageId, Timestamp};

#[test]
fn an_image_goes_where_it_was_asked_for_or_beside_the_one_below_or_to_the_only_place() {
    let record = Rig::new(1, true, Fault::None).record;
    let disk = record.disks[0].name.clone();
    let store = |id: u32, kind| Datastore {
        id: DatastoreId(id),
        name: format!("store{id}").parse().unwrap(),
        kind,
        driver: format!("driver{id}").parse().unwrap(),
        root: "/x".to_owned(),
        shared: true,
        added: Timestamp(0),
    };
    let two = [
        store(1, DatastoreKind::System),
        store(2, DatastoreKind::Image),
        store(3, DatastoreKind::Image),
    ];
    let to = |stores: &[Datastore], asked: Option<&str>, below: Option<u32>| {
        let shelf = Shelf {
            datastores: stores,
            below: below.map(DatastoreId),
            id: ImageId(7),
            now: Timestamp(5),
        };
        let asked = asked.map(|name| name.parse().unwrap());
        image_to_be(&record, &disk, &"new".parse().unwrap(), asked.as_ref(), &shelf)
            .map(|(image, driver)| (image.datastore.0, driver.to_string()))
    };
    assert_eq!(to(&two, Some("store3"), Some(2)), Some((3, "driver3".to_owned())));
    assert_eq!(to(&two, None, Some(2)), Some((2, "driver2".to_owned())));
    assert_eq!(to(&two, None, None), None, "nobody said which of two");
    assert_eq!(to(&two[..2], None, None), Some((2, "driver2".to_owned())));
    assert_eq!(to(&two, Some("store1"), None), None, "that is where the disks of VMs are");
    let unknown = "vdz".parse().unwrap();
    let shelf =
        Shelf { datastores: &two, below: Some(DatastoreId(2)), id: ImageId(7), now: Timestamp(5) };
    assert_eq!(image_to_be(&record, &unknown, &"new".parse().unwrap(), None, &shelf), None);
}
