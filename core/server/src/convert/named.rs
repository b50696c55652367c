//! Names for what the engine calls by id. It speaks of hosts, datastores and images by number; people know them by name.

use crate::app::App;
use crate::problem::{Answer, ApiError};
use ostler_engine::EngineError;
use ostler_store::{ReadError, Reader};

/// What is called by number, and what its name is; none if there is no such thing.
type Lookup = fn(&Reader, u32) -> Result<Option<String>, ReadError>;

/// The words that a number follows.
const KINDS: &[(&str, Lookup)] = &[
    ("host", |reader, id| Ok(reader.host(ostler_model::HostId(id))?.map(|host| host.name.into()))),
    ("hosts", |reader, id| Ok(reader.host(ostler_model::HostId(id))?.map(|host| host.name.into()))),
    ("datastore", |reader, id| Ok(reader.datastore(ostler_model::DatastoreId(id))?.map(|store| store.name.into()))),
    ("image", |reader, id| Ok(reader.image(ostler_model::ImageId(id))?.map(|image| image.name.into()))),
];

/// The text with names in the place of ids: "on host 1 already" becomes "on host kvm1 already".
pub(crate) fn named(reader: &Reader, text: &str) -> Answer<String> {
    let lookup = |kind: &str, id: u32| match KINDS.iter().find(|(word, _)| *word == kind) {
        Some((_, lookup)) => lookup(reader, id),
        None => Ok(None),
    };
    Ok(replaced(text, lookup)?)
}

/// Why the engine does not do it, with names.
pub(crate) fn refused(app: &App, error: EngineError) -> ApiError {
    match app.store().read() {
        Ok(reader) => problem(&reader, error.into()),
        Err(err) => err.into(),
    }
}

/// A problem in which things have their names. That they cannot be read is no reason to hide it.
pub(crate) fn problem(reader: &Reader, mut error: ApiError) -> ApiError {
    if let Ok(detail) = named(reader, &error.0.detail) {
        error.0.detail = detail;
    }
    if let Some(Ok(hint)) = error.0.hint.as_deref().map(|hint| named(reader, hint)) {
        error.0.hint = Some(hint);
    }
    error
}

/// Each `KIND NUMBER` looked up, and the numbers of a list behind it: `hosts 1 and 2`. A number that has no name stays.
fn replaced<E>(text: &str, lookup: impl Fn(&str, u32) -> Result<Option<String>, E>) -> Result<String, E> {
    let mut kind = "";
    let mut words = Vec::new();
    for word in text.split(' ') {
        let (number, tail) = word.split_at(word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len()));
        let alone = tail.is_empty() || tail == "." || tail.starts_with([',', ';', ':', ')']);
        let name = match number.parse() {
            Ok(id) if alone && !kind.is_empty() => lookup(kind, id)?,
            _ => None,
        };
        kind = match word {
            "and" => kind,
            _ if name.is_some() && kind.starts_with("host") && (tail.is_empty() || tail == ",") => kind,
            word => known(word.trim_start_matches('(')),
        };
        words.push(name.map_or_else(|| word.to_owned(), |name| name + tail));
    }
    Ok(words.join(" "))
}

/// The word, if a number may follow it.
fn known(word: &str) -> &'static str {
    KINDS.iter().map(|(known, _)| *known).find(|known| *known == word).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    #[test]
    fn what_has_a_number_gets_its_name() {
        let told = |text: &str| {
            let name = |kind: &str, id| Ok::<_, Infallible>((id < 3).then(|| format!("{}-{id}", kind.trim_end_matches('s'))));
            replaced(text, name).expect("nothing fails")
        };
        for (text, named) in [
            ("VM 1 is on host 1 already", "VM 1 is on host host-1 already"),
            ("host 2: no answer (host 1)", "host host-2: no answer (host host-1)"),
            ("hosts 1 and 2 both to be seen: 1", "hosts host-1 and host-2 both to be seen: 1"),
            ("host 1, 2 to be seen; 2 more", "host host-1, host-2 to be seen; 2 more"),
            ("the datastore 1 is in use by image 2: move that", "the datastore datastore-1 is in use by image image-2: move that"),
            // What only looks so, and what has no name, stays.
            ("host 9 at host 10.0.0.1:22, host kvm, 1 VM", "host 9 at host 10.0.0.1:22, host kvm, 1 VM"),
            ("", ""),
        ] {
            assert_eq!(told(text), named, "{text}");
        }
    }
}
