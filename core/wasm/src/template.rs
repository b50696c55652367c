//! Command templates: an absolute program and an argv with typed holes. Rendering is pure; nothing
//! here looks at a disk.
//!
//! The guarantee: no value that a driver fills in adds an argument or turns one into an option.
//! Only the groups of a template that are marked as optional or repeated come as often as their
//! holes are given.

mod hole;
mod secret;
mod socket;

pub use hole::HoleType;
pub(crate) use secret::{InputPart, parts};
pub use socket::{Reached, SocketTemplate};

use crate::confine::Reach;
use crate::limits::Limits;
use ostler_model::{FilePath, SecretName};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// The most arguments of a template.
const ARGV_MAX: usize = 128;
/// The most times that a repeated group may come: a VM has far fewer disks and network cards.
const REPEATS_MAX: usize = 64;
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

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Hole(String),
}

/// One entry of the argv of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    /// An argument that is always there.
    Once(String),
    /// Arguments that are there if their holes are given.
    Optional(Vec<String>),
    /// Arguments that are there once for each value of their holes.
    Repeated(Vec<String>),
}

/// How often a group of arguments comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Often {
    Once,
    Optional,
    Repeated,
}

/// Arguments that come together.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    often: Often,
    arguments: Vec<Vec<Piece>>,
    holes: BTreeSet<String>,
}

/// A checked command template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    name: String,
    program: String,
    argv: Vec<Group>,
    holes: BTreeMap<String, HoleType>,
    time_limit: Option<Duration>,
    reach: Reach,
    limits: Limits,
    secrets: BTreeSet<SecretName>,
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
    /// How long it may run. If none, as long as its call.
    pub time_limit: Option<Duration>,
    /// Where it may read and write, beside the files of its call.
    pub reach: Reach,
    /// What its processes may use.
    pub limits: Limits,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// The text says what is wrong, for people.
    pub fn parse(name: &str, program: &str, argv: &[Argument]) -> Result<Self, String> {
        if !name_ok(name) {
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
        let mut template = Self {
            name: name.to_owned(),
            program: program.to_owned(),
            argv: Vec::new(),
            holes: BTreeMap::new(),
            time_limit: None,
            reach: Reach::default(),
            limits: Limits::default(),
            secrets: BTreeSet::new(),
        };
        for argument in argv {
            let (often, texts) = match argument {
                Argument::Once(text) => (Often::Once, std::slice::from_ref(text)),
                Argument::Optional(texts) => (Often::Optional, texts.as_slice()),
                Argument::Repeated(texts) => (Often::Repeated, texts.as_slice()),
            };
            let group = template.parse_group(often, texts)?;
            template.argv.push(group);
        }
        let count: usize = template.argv.iter().map(|group| group.arguments.len()).sum();
        if count > ARGV_MAX {
            return Err(format!("{count} arguments, at most {ARGV_MAX} are allowed"));
        }
        Ok(template)
    }

    /// The same command, ended if it runs for longer than `limit`.
    #[must_use]
    pub const fn ended_after(mut self, limit: Option<Duration>) -> Self {
        self.time_limit = limit;
        self
    }

    /// The same command, which also reaches these paths.
    ///
    /// # Errors
    /// The text says which path cannot be reached, for people.
    pub fn reaching(mut self, reach: Reach) -> Result<Self, String> {
        reach.check()?;
        self.reach = reach;
        Ok(self)
    }

    /// The same command, whose processes may use so much.
    ///
    /// # Errors
    /// The text says which limit is out of its bounds, for people.
    pub fn limited(mut self, limits: Limits) -> Result<Self, String> {
        limits.check()?;
        self.limits = limits;
        Ok(self)
    }

    /// Whether `other` runs the same program with the same arguments, reaches the same paths, is
    /// given the same secrets, and may use no more. How long each may run makes no difference.
    #[must_use]
    pub fn runs_the_same(&self, other: &Self) -> bool {
        self.limits.allow(&other.limits)
            && (&self.program, &self.argv, &self.holes, &self.reach, &self.secrets)
                == (&other.program, &other.argv, &other.holes, &other.reach, &other.secrets)
    }

    /// Where it may read and write, beside the files of its call.
    #[must_use]
    pub const fn reach(&self) -> &Reach {
        &self.reach
    }

    /// What its processes may use.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How long the command may run. If none, as long as its call.
    #[must_use]
    pub const fn time_limit(&self) -> Option<Duration> {
        self.time_limit
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
    /// files that a disk names, `xl create` runs the programs that a configuration names. A driver
    /// that can write such a file may do much of what the user may do who runs commands there; the
    /// confinement of commands makes it less, on the daemon's machine. An unknown program counts as
    /// such a program. So does every program that takes a `word` or a `text`: it may be any path of
    /// the host, and then even `cp` or `rm` can do any harm. And so does one that keeps
    /// `CAP_SYS_ADMIN`.
    #[must_use]
    pub fn interprets_files(&self) -> bool {
        let inert = self
            .program
            .rsplit_once('/')
            .is_some_and(|(folder, name)| PROGRAMS.contains(&folder) && INERT.contains(&name));
        self.reach.sys_admin
            || self.holes.values().any(|kind| match kind {
                HoleType::Word | HoleType::Text => true,
                HoleType::Path => !inert,
                HoleType::Id | HoleType::Int(..) | HoleType::Enum(_) => false,
            })
    }

    fn parse_group(&mut self, often: Often, texts: &[String]) -> Result<Group, String> {
        let mut group = Group { often, arguments: Vec::new(), holes: BTreeSet::new() };
        for text in texts {
            group.arguments.push(self.parse_argument(text, &mut group.holes)?);
        }
        if often == Often::Once {
            let shared = |other: &&Group| other.often != Often::Once;
            return self.apart(group, shared);
        }
        if group.holes.is_empty() {
            return Err(format!(
                "the optional or repeated arguments {texts:?} have no hole: nothing says how often \
                 they are wanted"
            ));
        }
        self.apart(group, |_| true)
    }

    /// Refuses a hole that one of the `others` has, too. How often it is given would then mean two
    /// things.
    fn apart(&self, group: Group, others: impl Fn(&&Group) -> bool) -> Result<Group, String> {
        for other in self.argv.iter().filter(others) {
            if let Some(hole) = group.holes.intersection(&other.holes).next() {
                return Err(format!(
                    "hole {hole:?} of an optional or repeated group occurs outside of it, too"
                ));
            }
        }
        Ok(group)
    }

    fn parse_argument(
        &mut self,
        argument: &str,
        holes: &mut BTreeSet<String>,
    ) -> Result<Vec<Piece>, String> {
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
                    let hole = self.add_hole(&inside)?;
                    holes.insert(hole.clone());
                    pieces.push(Piece::Hole(hole));
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
        if !name_ok(name) {
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
    /// A hole is missing, unknown, given too often, or has a value that its type does not accept.
    /// The text names the hole.
    pub fn render(&self, values: &[(String, String)]) -> Result<Rendered, String> {
        let mut given: BTreeMap<&str, Vec<Part>> = BTreeMap::new();
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
            given.entry(hole).or_default().push(part);
        }
        let mut argv = Vec::new();
        for group in &self.argv {
            for at in 0..self.times(group, &given)? {
                let fill = |piece: &Piece| match piece {
                    Piece::Text(text) => Some(Part::Text(text.clone())),
                    Piece::Hole(hole) => {
                        given.get(hole.as_str()).and_then(|parts| parts.get(at)).cloned()
                    }
                };
                let filled = |pieces: &Vec<Piece>| pieces.iter().filter_map(fill).collect();
                argv.extend(group.arguments.iter().map(filled));
            }
        }
        let program = self.program.clone();
        let (reach, limits) = (self.reach.clone(), self.limits);
        Ok(Rendered { program, argv, time_limit: self.time_limit, reach, limits })
    }

    /// How often a group comes. All its holes have so many values then.
    fn times(&self, group: &Group, given: &BTreeMap<&str, Vec<Part>>) -> Result<usize, String> {
        let count = |hole: &String| given.get(hole.as_str()).map_or(0, Vec::len);
        let most = match group.often {
            Often::Once | Often::Optional => 1,
            Often::Repeated => REPEATS_MAX,
        };
        let times = match group.often {
            Often::Once => 1,
            Often::Optional | Often::Repeated => {
                group.holes.iter().map(count).max().unwrap_or_default()
            }
        };
        for hole in &group.holes {
            let problem = match count(hole) {
                0 if times > 0 => "is not given".to_owned(),
                many if many > most && most == 1 => "is given twice".to_owned(),
                many if many > most => format!("is given {many} times, at most {most} are allowed"),
                fewer if fewer < times => {
                    format!("is given {fewer} times, less often than others of its group ({times})")
                }
                _ => continue,
            };
            return Err(format!("hole {hole:?} of command {:?} {problem}", self.name));
        }
        Ok(times)
    }

    fn hole_names(&self) -> String {
        self.holes.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}

/// The form for operators: the command line with its holes.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.program)?;
        for group in &self.argv {
            let (opening, closing) = match group.often {
                Often::Once => (" ", ""),
                Often::Optional => (" [", "]"),
                Often::Repeated => (" [", "]..."),
            };
            f.write_str(opening)?;
            for (at, argument) in group.arguments.iter().enumerate() {
                f.write_str(if at == 0 { "" } else { " " })?;
                self.write_argument(f, argument)?;
            }
            f.write_str(closing)?;
        }
        Ok(())
    }
}

impl Template {
    fn write_argument(&self, f: &mut fmt::Formatter<'_>, argument: &[Piece]) -> fmt::Result {
        for piece in argument {
            match piece {
                Piece::Text(text) => f.write_str(text)?,
                Piece::Hole(hole) => match self.holes.get(hole) {
                    Some(kind) => write!(f, "{{{hole}:{kind}}}")?,
                    None => write!(f, "{{{hole}}}")?,
                },
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

pub(crate) fn name_ok(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_MAX
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
