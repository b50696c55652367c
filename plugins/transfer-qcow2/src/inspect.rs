//! Describes a file for an operator who registers it.

use crate::look::{self, Found};
use crate::tools;
use ostler_sdk::qcow2::Content;
use ostler_sdk::{Error, FileLook, FileRef};

/// The largest file that is checked. A check reads all metadata, and on a slow disk this would take
/// too long for larger files.
const CHECK_MOST: u64 = 256 << 30;

/// Reads the head of the file. If it is a qcow2 disk that names no other file and needs no key, all
/// its metadata are checked, too.
pub(crate) fn inspect(file: &FileRef) -> Result<FileLook, Error> {
    let place = file.place();
    let found = look::look(&place)?
        .ok_or_else(|| Error::gone("no-such-file", format!("{} is not there", file.absolute)))?;
    let mut told = told(&found);
    let safe = matches!(found.content, Content::Qcow2(_))
        && told.names.is_empty()
        && !told.encrypted
        && told.damage.is_none();
    if safe && found.allocated <= CHECK_MOST {
        told.damage = match tools::sound(&place) {
            Ok(true) => None,
            Ok(false) => Some("qemu-img check finds it corrupt, or cut off".to_owned()),
            // `qemu-img check` has failed, so the file counts as damaged. Any other error is one of
            // the host.
            Err(error) if error.code == "command-failed" => Some(error.detail),
            Err(error) => return Err(error),
        };
    }
    Ok(told)
}

fn told(found: &Found) -> FileLook {
    let mut told = FileLook {
        kind: found.kind,
        size: found.size,
        format: if found.is_file { found.content.word().to_owned() } else { String::new() },
        virtual_size: found.size,
        names: Vec::new(),
        encrypted: false,
        damage: None,
        extra: Vec::new(),
    };
    match &found.content {
        Content::Qcow2(header) => {
            told.virtual_size = header.virtual_size;
            told.names = header.names().map(str::to_owned).collect();
            told.encrypted = header.encrypted;
            told.damage = (header.least_size > found.size).then(|| "it is cut off".to_owned());
        }
        Content::Broken(why) => told.damage = Some((*why).to_owned()),
        Content::Other(_) | Content::Raw => {}
    }
    told
}
