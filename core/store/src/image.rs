//! Images.

use crate::batch::Batch;
use crate::error::{Fault, ReadError};
use crate::read::Reader;
use crate::resource::{Ahead, Refusal, in_use, not_found};
use crate::row::{self, Row};
use crate::tables::{IMAGE, IMAGE_BY_NAME};
use ostler_model::{Image, ImageId, ImageName, ImageState, ResourceKind, ResourceRefused, UsedBy};
use redb::ReadableTable;

impl Row for Image {
    const TABLE: &'static str = "image";
}

impl Batch<'_> {
    /// An image as this batch sees it.
    pub(crate) fn image(&self, id: ImageId) -> Result<Option<Image>, ReadError> {
        let kept = self.hot.image.get(id.0).map_err(Fault::from)?;
        Ok(kept.map(|kept| row::decode(kept.value(), id)).transpose()?)
    }

    pub(crate) fn image_put_refused(&mut self, image: &Image, ahead: &mut Ahead<'_>) -> Refusal {
        let name = image.name.as_str();
        let known = self.hot.datastore.get(image.datastore.0).map_err(Fault::from)?.is_some();
        if !known && !ahead.datastore(image.datastore) {
            return not_found(image.datastore);
        }
        if let Some(refused) = self.file_refused(image)? {
            return Ok(Some(refused));
        }
        let owner = self.cold()?.image_by_name.get(name).map_err(Fault::from)?.map(|id| id.value());
        ahead.name(ResourceKind::Image, name, owner, image.id.0)
    }

    /// Whether the file is already an image of another format. All images of the datastore are
    /// read, because images are rarely added.
    fn file_refused(&mut self, image: &Image) -> Refusal {
        if self
            .image(image.id)?
            .is_some_and(|old| (&old.path, old.format) == (&image.path, image.format))
        {
            return Ok(None);
        }
        let of_store = (image.datastore.0, 0)..=(image.datastore.0, u32::MAX);
        let mut ids = Vec::new();
        for entry in self.cold()?.image_by_datastore.range(of_store).map_err(Fault::from)? {
            ids.push(entry.map_err(Fault::from)?.0.value().1);
        }
        for id in ids.into_iter().filter(|id| *id != image.id.0) {
            let other = self
                .image(ImageId(id))?
                .filter(|other| other.path == image.path && other.format != image.format);
            if let Some(Image { path, name: image, format, .. }) = other {
                return Ok(Some(ResourceRefused::FileTaken { path, image, format }));
            }
        }
        Ok(None)
    }

    pub(crate) fn image_remove_refused(&mut self, id: ImageId) -> Refusal {
        match self.image(id)? {
            None => return not_found(id),
            // The operation that writes the image sets its state at the end, and must find the
            // image then.
            Some(image) if image.state == ImageState::Locked => {
                return in_use(id, UsedBy::DiskToSave);
            }
            Some(_) => {}
        }
        let disks = self.holds(id)?;
        if disks > 0 {
            return in_use(id, UsedBy::Disks { count: disks });
        }
        Ok(None)
    }

    pub(crate) fn image_discard_refused(&mut self, id: ImageId, ahead: &Ahead<'_>) -> Refusal {
        let Some(image) = self.image(id)? else { return Ok(None) };
        if image.state == ImageState::Ready {
            return in_use(id, UsedBy::Ready);
        }
        match ahead.holds(id, self.holds(id)?) {
            0 => Ok(None),
            disks => in_use(id, UsedBy::Disks { count: disks }),
        }
    }

    pub(crate) fn image_put(&mut self, image: &Image) -> Result<(), ReadError> {
        let old = self.image(image.id)?;
        let kept = row::encode(image)?;
        self.hot.image.insert(image.id.0, kept.as_slice()).map_err(Fault::from)?;
        if old.as_ref().map(|old| (&old.name, old.datastore))
            == Some((&image.name, image.datastore))
        {
            return Ok(());
        }
        let cold = self.cold()?;
        if let Some(old) = old {
            cold.image_by_name.remove(old.name.as_str()).map_err(Fault::from)?;
            cold.image_by_datastore.remove((old.datastore.0, old.id.0)).map_err(Fault::from)?;
        }
        cold.image_by_name.insert(image.name.as_str(), image.id.0).map_err(Fault::from)?;
        cold.image_by_datastore.insert((image.datastore.0, image.id.0), ()).map_err(Fault::from)?;
        Ok(())
    }

    pub(crate) fn image_remove(&mut self, id: ImageId) -> Result<(), ReadError> {
        if let Some(old) = self.image(id)? {
            self.hot.image.remove(id.0).map_err(Fault::from)?;
            let cold = self.cold()?;
            cold.image_by_name.remove(old.name.as_str()).map_err(Fault::from)?;
            cold.image_by_datastore.remove((old.datastore.0, id.0)).map_err(Fault::from)?;
        }
        Ok(())
    }
}

impl Reader {
    /// An image.
    ///
    /// # Errors
    /// When the store or the row cannot be read.
    pub fn image(&self, id: ImageId) -> Result<Option<Image>, ReadError> {
        let kept = self.table(IMAGE)?.get(id.0).map_err(Fault::from)?;
        Ok(kept.map(|kept| row::decode(kept.value(), id)).transpose()?)
    }

    /// An image by name.
    ///
    /// # Errors
    /// When the store or the row cannot be read.
    pub fn image_by_name(&self, name: &ImageName) -> Result<Option<Image>, ReadError> {
        match self.table(IMAGE_BY_NAME)?.get(name.as_str()).map_err(Fault::from)? {
            Some(id) => self.image(ImageId(id.value())),
            None => Ok(None),
        }
    }

    /// All images, lowest id first.
    ///
    /// # Errors
    /// When the store or a row cannot be read.
    pub fn images(&self) -> Result<Vec<Image>, ReadError> {
        let table = self.table(IMAGE)?;
        let mut found = Vec::new();
        for entry in ReadableTable::iter(&table).map_err(Fault::from)? {
            let (id, kept) = entry.map_err(Fault::from)?;
            found.push(row::decode(kept.value(), id.value())?);
        }
        Ok(found)
    }
}
