//! Judges what machines have seen of a file or a datastore: it is fit, with notes for people, or it
//! is refused with a reason.

use super::{Missed, Seen};
use crate::problem::{ApiError, Handled};
use axum::http::StatusCode;
use ostler_api::code;
use ostler_driver::{FileKind, FileLook};
use ostler_model::{DiskFormat, FilePath, Hint};

/// The names of formats of compressed files.
const PACKED: [&str; 4] = ["gzip", "xz", "zstd", "bzip2"];
/// The name of the machine that `ostlerd` runs on.
const FRONT_END: &str = "front-end";

/// An image that is fit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Fit {
    /// Bytes that a guest sees, if a machine could look into the file.
    pub(crate) virtual_size: Option<u64>,
    /// True if it is certain that the file names no other file: each machine that may have it has
    /// looked into it.
    pub(crate) stands_alone: bool,
    /// Sentences for people: on which machines the file is missing or was not looked at.
    pub(crate) notes: Vec<String>,
}

/// Judges whether disks can be made of a file.
pub(crate) fn image(
    file: &FilePath,
    told: DiskFormat,
    shared: bool,
    seen: &[Seen],
) -> Handled<Fit> {
    let notes = presence(file, shared, seen)?;
    let mut fit = Fit { virtual_size: None, stands_alone: looked_into(shared, seen), notes };
    for Seen { at, found } in seen {
        let Ok(found) = found else { continue };
        let what = if seen.len() == 1 { file.to_string() } else { format!("{file} on {at}") };
        content(&what, told, found)?;
        if found.format.is_empty() {
            fit.notes.push(
                "its transfer driver cannot look into files: format and content were not looked at"
                    .to_owned(),
            );
        } else {
            fit.virtual_size.get_or_insert(found.virtual_size);
        }
    }
    Ok(fit)
}

/// True if each machine that has the file has looked into it. A machine that could not be asked may
/// have another file under this path, unless the datastore is shared.
fn looked_into(shared: bool, seen: &[Seen]) -> bool {
    let mut looked = seen.iter().filter_map(|seen| match &seen.found {
        Ok(found) => Some(!found.format.is_empty()),
        Err(Missed::Blind { .. }) if !shared => Some(false),
        Err(Missed::Blind { .. } | Missed::Gone | Missed::NoRoot | Missed::Refused(_)) => None,
    });
    looked.next().is_some_and(|first| first && looked.all(|more| more))
}

fn refused(code: &str, detail: String, hint: &str) -> ApiError {
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail).field("path").hint(hint)
}

fn content(what: &str, told: DiskFormat, found: &FileLook) -> Handled<()> {
    let kind = match found.kind {
        FileKind::File => None,
        FileKind::Directory => Some("a folder"),
        FileKind::Other => Some("a pipe, a socket or a device"),
    };
    if let Some(kind) = kind {
        return Err(refused(
            code::NOT_A_FILE,
            format!("{what} is {kind}"),
            "an image is a regular file",
        ));
    }
    if found.size == 0 {
        return Err(refused(
            code::EMPTY_FILE,
            format!("{what} is empty"),
            "was it copied to its end?",
        ));
    }
    let told = told.to_string();
    if !found.format.is_empty() && found.format != told {
        let detail = format!("{what} is {}, not {told}", found.format);
        let hint = match found.format.as_str() {
            "qcow2" | "raw" => format!("add --format {}", found.format),
            packed if PACKED.contains(&packed) => "unpack it first".to_owned(),
            _ => "make a qcow2 file of it first: qemu-img convert -O qcow2 OLD NEW".to_owned(),
        };
        return Err(refused(code::FORMAT_MISMATCH, detail, &hint).field("format"));
    }
    if let Some(other) = found.names.first() {
        let detail = format!(
            "{what} stands on another file ({other}), which guests would be shown with the rights \
             of their host"
        );
        return Err(refused(
            code::NAMES_OTHER_FILE,
            detail,
            "make one whole file of it: qemu-img convert -O qcow2 OLD NEW",
        ));
    }
    if found.encrypted {
        return Err(refused(
            code::ENCRYPTED,
            format!("{what} is encrypted"),
            "store it decrypted: there is no key for it here",
        ));
    }
    match &found.damage {
        Some(damage) => {
            Err(refused(code::DAMAGED, format!("{what} is damaged: {damage}"), "copy it again"))
        }
        None => Ok(()),
    }
}

/// Notes on the machines that do not see the file. The file is refused if it is missing for
/// certain, if a machine may not use it, or if the time was over before any machine could look.
fn presence(file: &FilePath, shared: bool, seen: &[Seen]) -> Handled<Vec<String>> {
    let there = seen.iter().any(|seen| seen.found.is_ok());
    let of = |missed: fn(&Missed) -> bool| -> Vec<&str> {
        seen.iter()
            .filter(|seen| seen.found.as_ref().is_err_and(missed))
            .map(|seen| seen.at.as_str())
            .collect()
    };
    let (gone, rootless) =
        (of(|missed| *missed == Missed::Gone), of(|missed| *missed == Missed::NoRoot));
    let blind = of(|missed| matches!(missed, Missed::Blind { .. }));
    let mut notes = Vec::new();
    for Seen { at, found } in seen {
        match found {
            Err(Missed::Refused(why)) => {
                return Err(ApiError::unusable("path", &format!("{file} on {at}: {why}")));
            }
            Err(Missed::Gone) if at != FRONT_END => {
                notes.push(format!("{file} is not there on {at}: no VM can be made from it there"))
            }
            Err(Missed::NoRoot) if at != FRONT_END => {
                notes.push(format!("{at} does not see the datastore {}", file.datastore))
            }
            Err(Missed::Blind { why, .. }) => notes.push(format!("not looked at on {at}: {why}")),
            Err(Missed::Gone | Missed::NoRoot) | Ok(_) => {}
        }
    }
    if there {
        return Ok(notes);
    }
    if !gone.is_empty() && (shared || blind.is_empty()) {
        let detail = format!("{file} is not there (looked on {})", gone.join(", "));
        return Err(refused(
            code::NO_SUCH_FILE,
            detail,
            "put the file into the datastore's directory first, on each host that is to use it",
        ));
    }
    if !rootless.is_empty() && blind.is_empty() {
        let detail = format!(
            "nobody sees the datastore {} (looked on {})",
            file.datastore,
            rootless.join(", ")
        );
        let error =
            ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, code::NO_SUCH_DIRECTORY, detail)
                .field("path");
        return Err(error.advise(&Hint::ShowDatastore, None));
    }
    if gone.is_empty()
        && rootless.is_empty()
        && seen.iter().any(|seen| matches!(seen.found, Err(Missed::Blind { late: true, .. })))
    {
        let detail = format!("{file} could not be looked at: {}", notes.join("; "));
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code::TIMEOUT, detail)
            .hint("try again when its storage answers"));
    }
    Ok(notes)
}

/// Notes on the machines that do not see a datastore's root. `seen` has looks for a file in it that
/// does not exist. The root is refused if all machines could look and none of them sees it.
pub(crate) fn root(root: &str, seen: &[Seen]) -> Handled<Vec<String>> {
    let notes = root_notes(root, seen);
    let seen_by =
        seen.iter().any(|seen| !matches!(seen.found, Err(Missed::NoRoot | Missed::Blind { .. })));
    let blind = seen.iter().any(|seen| matches!(seen.found, Err(Missed::Blind { .. })));
    if seen_by || blind {
        return Ok(notes);
    }
    let places: Vec<&str> = seen.iter().map(|seen| seen.at.as_str()).collect();
    let detail = format!("there is no directory {root} (looked on {})", places.join(", "));
    let hint = "make it first, or add a host first that has it";
    Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, code::NO_SUCH_DIRECTORY, detail)
        .field("root")
        .hint(hint))
}

/// Notes on the machines that do not see a root, cannot use it, or could not be asked.
pub(crate) fn root_notes(root: &str, seen: &[Seen]) -> Vec<String> {
    let note = |seen: &Seen| match &seen.found {
        Err(Missed::NoRoot) => {
            Some(format!("{} does not see it: there is no directory {root}", seen.at))
        }
        Err(Missed::Refused(why)) => Some(format!("{} cannot use it: {why}", seen.at)),
        Err(Missed::Blind { why, .. }) => Some(format!("not looked at on {}: {why}", seen.at)),
        Err(Missed::Gone) | Ok(_) => None,
    };
    seen.iter().filter_map(note).collect()
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
