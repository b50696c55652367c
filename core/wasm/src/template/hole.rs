//! The types of holes, and the values that each type accepts.

use super::Part;
use std::fmt;

/// The longest `id` value.
const ID_MAX: usize = 128;
/// The longest `word` value.
const WORD_MAX: usize = 255;
/// The longest `text` value, in bytes: a kernel's command line has at most 2 KiB on x86.
const TEXT_MAX: usize = 2048;

/// The type of a hole: the values that it accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoleType {
    /// A letter or digit, then letters, digits, `.`, `_`, `-`.
    Id,
    /// Printable ASCII without blanks, not beginning with `-`.
    Word,
    /// A decimal number within bounds.
    Int(i64, i64),
    /// One of these words.
    Enum(Vec<String>),
    /// `DATASTORE:RELATIVE/PATH`.
    Path,
    /// One line of text, not beginning with `-`. It may have blanks.
    Text,
}

impl HoleType {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let inside = |word: &str| {
            text.strip_prefix(word)
                .and_then(|rest| rest.strip_prefix('('))
                .and_then(|rest| rest.strip_suffix(')'))
        };
        if let Some(bounds) = inside("int") {
            let parsed = bounds
                .split_once("..")
                .and_then(|(least, most)| Some((least.parse().ok()?, most.parse().ok()?)));
            return match parsed {
                Some((least, most)) if least <= most => Ok(Self::Int(least, most)),
                Some(_) | None => Err(format!("int({bounds}) must be int(LEAST..MOST)")),
            };
        }
        if let Some(words) = inside("enum") {
            let words: Vec<String> = words.split('|').map(str::to_owned).collect();
            return match words.iter().find(|word| !word_ok(word)) {
                Some(bad) => Err(format!(
                    "enum word {bad:?} must be printable ASCII without blanks, not beginning with \
                     '-'"
                )),
                None => Ok(Self::Enum(words)),
            };
        }
        match text {
            "id" => Ok(Self::Id),
            "word" => Ok(Self::Word),
            "path" => Ok(Self::Path),
            "text" => Ok(Self::Text),
            other => Err(format!(
                "hole type {other:?} is not one of id, word, int(a..b), enum(a|b), path, text"
            )),
        }
    }

    pub(super) fn take(&self, value: &str) -> Result<Part, String> {
        let text = || Ok(Part::Text(value.to_owned()));
        match self {
            Self::Id if id_ok(value) => text(),
            Self::Id => Err(format!(
                "{value:?} is not an id: a letter or digit, then letters, digits, '.', '_', '-', \
                 at most {ID_MAX}"
            )),
            Self::Word if word_ok(value) => text(),
            Self::Word => Err(format!(
                "{value:?} is not a word: 1 to {WORD_MAX} printable ASCII characters, no blanks, \
                 no '-' first"
            )),
            Self::Text if text_ok(value) => text(),
            Self::Text => Err(format!(
                "{value:?} is not a text: 1 to {TEXT_MAX} bytes in one line, no '-' first"
            )),
            Self::Int(least, most) => match value.parse::<i64>() {
                Ok(number) if number.to_string() == value && (*least..=*most).contains(&number) => {
                    text()
                }
                Ok(_) | Err(_) => Err(format!("{value:?} is not a number from {least} to {most}")),
            },
            Self::Enum(words) if words.iter().any(|word| word == value) => text(),
            Self::Enum(words) => Err(format!("{value:?} is not one of {}", words.join(", "))),
            Self::Path => value
                .parse()
                .map(Part::File)
                .map_err(|error: ostler_model::InvalidName| error.to_string()),
        }
    }
}

fn id_ok(value: &str) -> bool {
    value.len() <= ID_MAX
        && value.starts_with(|c: char| c.is_ascii_alphanumeric())
        && value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

fn word_ok(value: &str) -> bool {
    !value.is_empty()
        && value.len() <= WORD_MAX
        && !value.starts_with('-')
        && value.chars().all(|c| c.is_ascii_graphic())
}

fn text_ok(value: &str) -> bool {
    !value.is_empty()
        && value.len() <= TEXT_MAX
        && !value.starts_with('-')
        && !value.chars().any(char::is_control)
}

impl fmt::Display for HoleType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id => f.write_str("id"),
            Self::Word => f.write_str("word"),
            Self::Int(least, most) => write!(f, "int({least}..{most})"),
            Self::Enum(words) => write!(f, "enum({})", words.join("|")),
            Self::Path => f.write_str("path"),
            Self::Text => f.write_str("text"),
        }
    }
}
