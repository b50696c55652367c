//! Command templates: an absolute program and an argv with typed holes. Rendering is pure; nothing
//! here looks at a disk.
//!
//! The guarantee: for all values that a driver fills in, the number of arguments stays that of the
//! template, and no value turns an argument into an option.

mod socket;

pub use socket::{Reached, SocketTemplate};

use ostler_model::FilePath;
use std::collections::BTreeMap;
use std::fmt;

/// The longest `id` value.
const ID_MAX: usize = 128;
/// The longest `word` value.
const WORD_MAX: usize = 255;
/// The most arguments of a template.
const ARGV_MAX: usize = 128;
/// The longest literal text in an argument.
const LITERAL_MAX: usize = 4096;
/// The longest name of a command or a hole.
const NAME_MAX: usize = 63;

/// The folders of a host's own programs. In other folders, a program's name does not tell what it
/// does.
const PROGRAMS: [&str; 4] = ["/bin", "/sbin", "/usr/bin", "/usr/sbin"];
/// Programs there that read and write the files they are given, but never act upon the content.
const INERT: [&str; 15] = [
    "cat",
    "cp",
    "head",
    "ls",
    "mkdir",
    "mkswap",
    "mv",
    "printf",
    "rm",
    "sha256sum",
    "sleep",
    "stat",
    "tail",
    "touch",
    "truncate",
];

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
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Hole(String),
}

/// A checked command template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    name: String,
    program: String,
    argv: Vec<Vec<Piece>>,
    holes: BTreeMap<String, HoleType>,
}

/// One argument, or a part of one, after rendering.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text as it stands.
    Text(String),
    /// A file. The code that runs the command checks it and puts its absolute path here.
    File(FilePath),
}

/// A command to run. Each argument is a list of parts that are joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The program, as an absolute path.
    pub program: String,
    /// The arguments, one entry each.
    pub argv: Vec<Vec<Part>>,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// The text says what is wrong, for people.
    pub fn parse(name: &str, program: &str, argv: &[String]) -> Result<Self, String> {
        if !hole_name_ok(name) {
            return Err(format!(
                "its name must be 1 to {NAME_MAX} lower-case letters, digits and dashes"
            ));
        }
        // No `=`, because `env` would take such a program for an assignment.
        let plain = program.len() <= LITERAL_MAX
            && !program.chars().any(|c| c.is_control() || matches!(c, '=' | '{' | '}'));
        if !program.starts_with('/')
            || program.ends_with('/')
            || program.split('/').any(|part| part == "..")
            || !plain
        {
            return Err(format!(
                "program {program:?} must be an absolute path without '..', '=', braces and \
                 control characters"
            ));
        }
        if argv.len() > ARGV_MAX {
            return Err(format!("{} arguments, at most {ARGV_MAX} are allowed", argv.len()));
        }
        let mut template = Self {
            name: name.to_owned(),
            program: program.to_owned(),
            argv: Vec::new(),
            holes: BTreeMap::new(),
        };
        for argument in argv {
            let pieces = template.parse_argument(argument)?;
            template.argv.push(pieces);
        }
        Ok(template)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its holes by name.
    #[must_use]
    pub fn holes(&self) -> &BTreeMap<String, HoleType> {
        &self.holes
    }

    /// Whether it hands a file to a program that acts upon the file's content: `qemu-img` opens the
    /// files that a disk names, `xl create` runs the programs that a configuration names. Until
    /// commands are confined, a driver that can write such a file may do everything there that the
    /// user may do as whom commands run. An unknown program counts as such a program. So does every
    /// program that takes a `word`: a word may be any path of the host, and then even `cp` or `rm`
    /// can do any harm.
    #[must_use]
    pub fn interprets_files(&self) -> bool {
        let inert = self
            .program
            .rsplit_once('/')
            .is_some_and(|(folder, name)| PROGRAMS.contains(&folder) && INERT.contains(&name));
        self.holes.values().any(|kind| match kind {
            HoleType::Word => true,
            HoleType::Path => !inert,
            HoleType::Id | HoleType::Int(..) | HoleType::Enum(_) => false,
        })
    }

    fn parse_argument(&mut self, argument: &str) -> Result<Vec<Piece>, String> {
        if argument.len() > LITERAL_MAX || argument.chars().any(char::is_control) {
            return Err(format!(
                "argument {argument:?} must have at most {LITERAL_MAX} bytes and no control \
                 characters"
            ));
        }
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut rest = argument.chars().peekable();
        while let Some(c) = rest.next() {
            match c {
                '{' | '}' if rest.peek() == Some(&c) => {
                    rest.next();
                    text.push(c);
                }
                '}' => {
                    return Err(format!(
                        "argument {argument:?} has a '}}' without '{{'; write '}}}}' for a brace"
                    ));
                }
                '{' => {
                    let mut inside = String::new();
                    loop {
                        match rest.next() {
                            Some('}') => break,
                            Some(c) => inside.push(c),
                            None => {
                                return Err(format!(
                                    "argument {argument:?} has a '{{' without '}}'"
                                ));
                            }
                        }
                    }
                    if !text.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut text)));
                    }
                    pieces.push(Piece::Hole(self.add_hole(&inside)?));
                }
                c => text.push(c),
            }
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Ok(pieces)
    }

    fn add_hole(&mut self, inside: &str) -> Result<String, String> {
        let (name, kind) = inside
            .split_once(':')
            .ok_or_else(|| format!("hole {{{inside}}} has no type; write {{name:type}}"))?;
        if !hole_name_ok(name) {
            return Err(format!(
                "hole name {name:?} must be 1 to {NAME_MAX} lower-case letters, digits and dashes"
            ));
        }
        let kind = HoleType::parse(kind)?;
        match self.holes.get(name) {
            Some(before) if *before != kind => {
                return Err(format!("hole {name:?} occurs with two types"));
            }
            Some(_) => {}
            None => {
                self.holes.insert(name.to_owned(), kind);
            }
        }
        Ok(name.to_owned())
    }

    /// Fills the holes.
    ///
    /// # Errors
    /// A hole is missing, unknown, given twice, or has a value that its type does not accept. The
    /// text names the hole.
    pub fn render(&self, values: &[(String, String)]) -> Result<Rendered, String> {
        let mut parts: BTreeMap<&str, Part> = BTreeMap::new();
        for (hole, value) in values {
            let (hole, kind) = self.holes.get_key_value(hole).ok_or_else(|| {
                format!(
                    "command {:?} has no hole {hole:?} (it has: {})",
                    self.name,
                    self.hole_names()
                )
            })?;
            let part = kind.take(value).map_err(|problem| {
                format!("hole {hole:?} of command {:?}: {problem}", self.name)
            })?;
            if parts.insert(hole, part).is_some() {
                return Err(format!("hole {hole:?} of command {:?} is given twice", self.name));
            }
        }
        if let Some(missing) = self.holes.keys().find(|hole| !parts.contains_key(hole.as_str())) {
            return Err(format!("hole {missing:?} of command {:?} is not given", self.name));
        }
        let fill = |piece: &Piece| match piece {
            Piece::Text(text) => Part::Text(text.clone()),
            Piece::Hole(hole) => {
                parts.get(hole.as_str()).cloned().unwrap_or_else(|| Part::Text(String::new()))
            }
        };
        let argv = self.argv.iter().map(|pieces| pieces.iter().map(fill).collect()).collect();
        Ok(Rendered { program: self.program.clone(), argv })
    }

    fn hole_names(&self) -> String {
        self.holes.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}

impl HoleType {
    fn parse(text: &str) -> Result<Self, String> {
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
            other => Err(format!(
                "hole type {other:?} is not one of id, word, int(a..b), enum(a|b), path"
            )),
        }
    }

    fn take(&self, value: &str) -> Result<Part, String> {
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

fn hole_name_ok(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_MAX
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
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

impl fmt::Display for HoleType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id => f.write_str("id"),
            Self::Word => f.write_str("word"),
            Self::Int(least, most) => write!(f, "int({least}..{most})"),
            Self::Enum(words) => write!(f, "enum({})", words.join("|")),
            Self::Path => f.write_str("path"),
        }
    }
}

/// The form for operators: the command line with its holes.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.program)?;
        for argument in &self.argv {
            f.write_str(" ")?;
            for piece in argument {
                match piece {
                    Piece::Text(text) => f.write_str(text)?,
                    Piece::Hole(hole) => match self.holes.get(hole) {
                        Some(kind) => write!(f, "{{{hole}:{kind}}}")?,
                        None => write!(f, "{{{hole}}}")?,
                    },
                }
            }
        }
        Ok(())
    }
}

/// The form for the flight recorder.
impl fmt::Display for Rendered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.program)?;
        for argument in &self.argv {
            f.write_str(" ")?;
            for part in argument {
                match part {
                    Part::Text(text) => f.write_str(text)?,
                    Part::File(file) => write!(f, "{file}")?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
