//! One element of XML from a typed value, and the texts that may stand in it.

use ostler_model::DriverError;
use serde::Serialize;

/// A device as XML.
///
/// # Errors
/// `refused` when a value cannot be written as XML.
pub(crate) fn device(device: &impl Serialize) -> Result<String, DriverError> {
    quick_xml::se::to_string(device)
        .map_err(|error| DriverError::refused("bad-spec", format!("the device as XML: {error}")))
}

/// Whether libvirt can be told this character: XML 1.0 has no way to write most control characters,
/// and libvirt's C strings end at a NUL.
pub(crate) fn is_told(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}')
}

/// Refuses a text that libvirt cannot be told.
///
/// # Errors
/// `refused`, with the text and what it is.
pub(crate) fn check_text(what: &str, text: &str) -> Result<(), DriverError> {
    if text.chars().all(is_told) {
        return Ok(());
    }
    Err(DriverError::refused(
        "bad-text",
        format!("the {what} {text:?} has characters that libvirt cannot be told"),
    ))
}
