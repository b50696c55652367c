//! The files of a disk, from the one that the guest writes down to the last below it, as XML.

use crate::element::{check_text, device};
use ostler_driver::{DomainDisk, FileRef, Layer};
use ostler_model::{DiskFormat, DriverError};
use serde::Serialize;

/// A disk's file, and the files below it.
pub(crate) fn files_of(disk: &DomainDisk) -> impl Iterator<Item = &FileRef> {
    [&disk.file].into_iter().chain(disk.below.iter().flatten().map(|layer| &layer.file))
}

/// The files below a disk as XML; none if these files are not known.
///
/// # Errors
/// `refused` when a path cannot stand in XML.
pub(crate) fn below(disk: &DomainDisk) -> Result<Option<String>, DriverError> {
    files_of(disk).try_for_each(|file| check_text("path", &file.absolute))?;
    disk.below.as_deref().map(|layers| device(&Backing::of(layers))).transpose()
}

#[derive(Serialize)]
pub(crate) struct Source<'a> {
    #[serde(rename = "@file")]
    pub(crate) file: &'a str,
}

#[derive(Serialize)]
pub(crate) struct Format {
    #[serde(rename = "@type")]
    pub(crate) kind: &'static str,
}

/// The files below a disk, down to an empty element that ends the chain. With this element libvirt
/// opens these files and no others. Without it, libvirt reads from each file which file is below,
/// and opens that.
#[derive(Serialize)]
#[serde(rename = "backingStore")]
pub(crate) struct Backing<'a> {
    #[serde(rename = "@type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Format>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Source<'a>>,
    #[serde(rename = "backingStore", skip_serializing_if = "Option::is_none")]
    next: Option<Box<Self>>,
}

impl<'a> Backing<'a> {
    pub(crate) fn of(layers: &'a [Layer]) -> Self {
        match layers {
            [] => Self { kind: None, format: None, source: None, next: None },
            [first, rest @ ..] => Self {
                kind: Some("file"),
                format: Some(Format { kind: format_word(first.format) }),
                source: Some(Source { file: &first.file.absolute }),
                next: Some(Box::new(Self::of(rest))),
            },
        }
    }
}

/// The word of libvirt and QEMU for a disk format.
pub(crate) const fn format_word(format: DiskFormat) -> &'static str {
    match format {
        DiskFormat::Qcow2 => "qcow2",
        DiskFormat::Raw => "raw",
    }
}

#[cfg(test)]
mod tests {
    use crate::options::Cache;
    use crate::xml::{disk, tests::spec};
    use ostler_driver::{DomainDisk, FileRef, Layer};
    use ostler_model::DiskFormat;

    fn above(below: Option<Vec<Layer>>) -> DomainDisk {
        DomainDisk { below, ..spec().disks.remove(0) }
    }

    fn layer(path: &str, format: DiskFormat) -> Layer {
        Layer { file: FileRef { absolute: path.to_owned(), ..spec().disks.remove(0).file }, format }
    }

    fn told(below: Option<Vec<Layer>>) -> String {
        let xml = disk(&above(below), Cache::None).expect("serialises");
        let (_, rest) = xml.split_once("qcow2\"/>").expect("a source");
        rest.split_once("<target").expect("a target").0.to_owned()
    }

    #[test]
    fn all_files_below_a_disk_are_told_down_to_the_end() {
        assert_eq!(told(Some(Vec::new())), "<backingStore/>");
        let chain =
            vec![layer("/i/top<&.qcow2", DiskFormat::Qcow2), layer("/i/base.raw", DiskFormat::Raw)];
        assert_eq!(
            told(Some(chain)),
            "<backingStore type=\"file\"><format type=\"qcow2\"/><source file=\"/i/top&lt;&amp;.qcow2\"/>\
             <backingStore type=\"file\"><format type=\"raw\"/><source file=\"/i/base.raw\"/><backingStore/></backingStore></backingStore>"
        );
    }

    #[test]
    fn what_is_not_known_is_left_to_libvirt() {
        assert_eq!(told(None), "");
    }

    #[test]
    fn a_path_that_cannot_be_told_is_refused() {
        let odd = above(Some(vec![layer("/i/a\u{0}b", DiskFormat::Raw)]));
        assert_eq!(disk(&odd, Cache::None).expect_err("a NUL").code, "bad-text");
        assert_eq!(super::below(&odd).expect_err("a NUL").code, "bad-text");
    }
}
