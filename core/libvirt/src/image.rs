//! The XML inside a saved memory file: whose memory it is, and how it is changed for the restore.
//!
//! The machine in the file must stay as it was, to the last address on its buses; otherwise the
//! memory does not fit. So its description is not made anew from the specification. Only the names
//! of files and the stamp in it are changed. libvirt itself reads the file, at the host: it refuses
//! a file that is not whole, by the mark that it sets only at the end of a save.
//!
//! The same holds for memory that moves to another host: `migrate` changes the description of a
//! running domain here.

use crate::failure::During;
use crate::live::Live;
use crate::raw;
use crate::stamp::{ELEMENT, NAMESPACE, PREFIX, Stamp};
use crate::tree::{Node, TreeError};
use ostler_driver::DomainSpec;
use ostler_model::{DriverError, ErrorKind};
use virt::domain::Domain;

/// The contents of a memory file beside the memory.
pub(crate) struct Image {
    /// Whose memory it is.
    pub(crate) stamp: Option<Stamp>,
    domain: Node,
}

/// The kernel's error numbers for a path where nothing is: no such file (`ENOENT`), and a part of
/// the path is no folder (`ENOTDIR`).
const NOTHING_THERE: [i32; 2] = [2, 20];
/// libvirt's messages about a file that it has read and that is no memory file, or only a part of
/// one. If it could not read a header to its end, its message does not tell whether the file ends
/// there or the storage failed.
const NOT_WHOLE: [&str; 2] = ["save image is incomplete", "image magic is incorrect"];

/// Reads the description in a whole memory file at the host.
///
/// # Errors
/// `gone` if there is no such file, or it is not whole: then its memory is given up. No other error
/// says that the memory is lost.
pub(crate) fn read(live: &Live, path: &str) -> Result<Image, DriverError> {
    let xml = Domain::save_image_get_xml_desc(live.connect(), path, 0).map_err(|error| {
        let number = raw::error_number();
        let told = live.error(&error, During::Asking);
        let unanswered = matches!(told.code.as_str(), "no-connection" | "busy" | "forbidden");
        if unanswered { told } else { unread(number, error.message()) }
    })?;
    Image::parse(&xml).map_err(|error| unreadable(&error))
}

fn unread(number: Option<i32>, message: &str) -> DriverError {
    let nothing_there = number.is_some_and(|number| NOTHING_THERE.contains(&number));
    if nothing_there || NOT_WHOLE.iter().any(|words| message.contains(words)) {
        return DriverError::new(ErrorKind::Gone, "no-recovery-file", message);
    }
    DriverError::retry("no-answer", format!("the memory file could not be read: {message}"))
}

fn unreadable(error: &TreeError) -> DriverError {
    DriverError::refused(
        "bad-recovery-file",
        format!("the description in the memory file: {error}"),
    )
}

fn is_stamp(node: &Node) -> bool {
    node.name == ELEMENT
        || node.attr(&format!("xmlns:{PREFIX}")) == Some(NAMESPACE)
        || node.attr("xmlns") == Some(NAMESPACE)
}

impl Image {
    /// Reads a domain's description.
    pub(crate) fn parse(xml: &str) -> Result<Self, TreeError> {
        let domain = Node::parse(xml)?;
        let element = domain
            .child("metadata")
            .and_then(|metadata| metadata.children().find(|node| is_stamp(node)));
        let stamp = element.map(Node::write).transpose()?.as_deref().and_then(Stamp::parse);
        Ok(Self { stamp, domain })
    }

    /// The same machine with the files of `spec` and its stamp.
    pub(crate) fn as_domain(&self, spec: &DomainSpec) -> Result<String, DriverError> {
        let mut domain = self.domain.clone();
        let metadata = domain.child_or_new("metadata");
        metadata.drop_children(is_stamp);
        let element = quick_xml::se::to_string_with_root(ELEMENT, &Stamp::new(spec.identity).xml());
        let element =
            element.map_err(|error| DriverError::refused("bad-stamp", error.to_string()))?;
        metadata.inside.push(crate::tree::Piece::Node(
            Node::parse(&element).map_err(|error| unreadable(&error))?,
        ));
        let os = domain.child_or_new("os");
        for (name, file) in [("kernel", &spec.kernel), ("initrd", &spec.initrd)] {
            if let Some(file) = file {
                crate::element::check_text("path", &file.absolute)?;
                os.child_or_new(name).set_text(&file.absolute);
            }
        }
        move_devices(domain.child_or_new("devices"), spec)?;
        domain.write().map_err(|error| unreadable(&error))
    }
}

fn move_devices(devices: &mut Node, spec: &DomainSpec) -> Result<(), DriverError> {
    for disk in &spec.disks {
        let below = crate::layers::below(disk)?;
        let is_it = |node: &&mut Node| {
            node.name == "disk"
                && node.child("target").and_then(|target| target.attr("dev"))
                    == Some(disk.name.as_str())
        };
        let Some(node) = devices.children_mut().find(is_it) else {
            let detail = format!("the machine as it is has no disk {}", disk.name);
            return Err(DriverError::refused("other-machine", detail));
        };
        node.child_or_new("source").set_attr("file", &disk.file.absolute);
        // The images below an overlay may have other paths now. If these are not known, libvirt
        // reads them from the overlay itself.
        node.drop_children(|node| node.name == "backingStore");
        if let Some(below) = below {
            let chain = Node::parse(&below).map_err(|error| unreadable(&error))?;
            node.inside.push(crate::tree::Piece::Node(chain));
        }
    }
    crate::element::check_text("path", &spec.console_log.absolute)?;
    for node in
        devices.children_mut().filter(|node| matches!(node.name.as_str(), "serial" | "console"))
    {
        if node.child("log").is_some() {
            node.child_or_new("log").set_attr("file", &spec.console_log.absolute);
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "image_tests.rs"]
mod tests;
