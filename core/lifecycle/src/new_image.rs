//! Decides which image a disk is to become.

use ostler_model::{
    Datastore, DatastoreId, DatastoreKind, DatastoreName, DiskName, DriverName, Image, ImageId,
    ImageName, ImageState, Timestamp, VmRecord,
};

/// The things that a choice of a new image depends on, beside the record.
#[derive(Debug)]
pub struct Shelf<'a> {
    /// All datastores.
    pub datastores: &'a [Datastore],
    /// The datastore of the image below the disk.
    pub below: Option<DatastoreId>,
    /// The id that the image gets.
    pub id: ImageId,
    /// The time.
    pub now: Timestamp,
}

/// The image `name` that the disk is to become, and the transfer driver of its datastore. The
/// datastore is the one that was asked for, or else the one of the image below the disk, or else
/// the only image datastore. None if there is no such datastore, or no such disk.
#[must_use]
pub fn image_to_be(
    record: &VmRecord,
    disk: &DiskName,
    name: &ImageName,
    asked: Option<&DatastoreName>,
    shelf: &Shelf<'_>,
) -> Option<(Image, DriverName)> {
    let known = record.disks.iter().find(|known| known.name == *disk)?;
    let of_images: Vec<&Datastore> =
        shelf.datastores.iter().filter(|store| store.kind == DatastoreKind::Image).collect();
    let store = match (asked, shelf.below, of_images.as_slice()) {
        (Some(asked), _, stores) => stores.iter().find(|store| store.name == *asked)?,
        (None, Some(below), stores) => stores.iter().find(|store| store.id == below)?,
        (None, None, [only]) => only,
        (None, None, _) => return None,
    };
    let image = Image {
        id: shelf.id,
        name: name.clone(),
        datastore: store.id,
        path: format!("{name}-{}.{}", shelf.id, known.format).parse().ok()?,
        format: known.format,
        state: ImageState::Locked,
        virtual_size: None,
        // Drivers make images that stand alone.
        stands_alone: true,
        added: shelf.now,
    };
    Some((image, store.driver.clone()))
}
