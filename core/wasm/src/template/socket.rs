//! The path of a local socket, with typed holes as a command has them.
//!
//! A path is either one hole of type `path`, or an absolute path whose holes cannot hold a `/`.

use super::{Argument, HoleType, Part, Piece, Template};
use ostler_model::FilePath;
use std::fmt;

/// The path of a socket with its holes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketTemplate(Template);

/// The place of a socket, after rendering.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reached {
    /// An absolute path, as the operator granted it.
    Fixed(String),
    /// A file in a datastore. The code that connects keeps it below the datastore's root.
    File(FilePath),
}

impl SocketTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// The text says what is wrong, for people.
    pub fn parse(name: &str, path: &str) -> Result<Self, String> {
        // A command whose one argument is the path: names, holes and limits are checked alike.
        let template = Template::parse(name, "/socket", &[Argument::Once(path.to_owned())])?;
        let pieces = template.argv.first().and_then(|group| group.arguments.first());
        let pieces = pieces.map(Vec::as_slice).unwrap_or_default();
        if let [Piece::Hole(hole)] = pieces
            && template.holes.get(hole) == Some(&HoleType::Path)
        {
            return Ok(Self(template));
        }
        let starts = matches!(pieces.first(), Some(Piece::Text(text)) if text.starts_with('/'));
        if !starts || path.ends_with('/') || path.split('/').any(|part| part == "..") {
            return Err(format!(
                "path {path:?} must be one hole of type path, or an absolute path without '..'"
            ));
        }
        let may_have_a_slash = template.holes.iter().find(|(_, kind)| match kind {
            HoleType::Word | HoleType::Path | HoleType::Text => true,
            HoleType::Enum(words) => words.iter().any(|word| word.contains('/') || word == ".."),
            HoleType::Id | HoleType::Int(..) => false,
        });
        match may_have_a_slash {
            Some((hole, kind)) => Err(format!(
                "hole {hole:?} of an absolute path must be an id, an int or an enum of plain \
                 words, not {kind}"
            )),
            None => Ok(Self(template)),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// Fills the holes.
    ///
    /// # Errors
    /// As for a command.
    pub fn render(&self, values: &[(String, String)]) -> Result<Reached, String> {
        let mut fixed = String::new();
        for part in self.0.render(values)?.argv.into_iter().flatten() {
            match part {
                Part::File(file) => return Ok(Reached::File(file)),
                Part::Text(text) => fixed.push_str(&text),
            }
        }
        Ok(Reached::Fixed(fixed))
    }
}

/// The form for operators: the path with its holes.
impl fmt::Display for SocketTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0.to_string();
        f.write_str(whole.split_once(' ').map_or("", |(_, path)| path))
    }
}

/// The form for the flight recorder.
impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(path) => f.write_str(path),
            Self::File(file) => write!(f, "{file}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(path: &str, values: &[(&str, &str)]) -> Result<String, String> {
        let values: Vec<_> =
            values.iter().map(|(hole, value)| ((*hole).to_owned(), (*value).to_owned())).collect();
        SocketTemplate::parse("qmp", path)?.render(&values).map(|reached| reached.to_string())
    }

    #[test]
    fn a_path_is_a_file_of_a_datastore_or_fixed() {
        assert_eq!(rendered("{f:path}", &[("f", "ds:a/b")]).as_deref(), Ok("ds:a/b"));
        assert_eq!(rendered("/run/x.sock", &[]).as_deref(), Ok("/run/x.sock"));
        assert_eq!(
            rendered("/run/xen/qmp-{d:int(1..9)}", &[("d", "7")]).as_deref(),
            Ok("/run/xen/qmp-7")
        );
        for path in [
            "run/x.sock",
            "{f:path}/x",
            "/run/{f:path}",
            "/run/{w:word}",
            "/run/{e:enum(a|../b)}",
            "/run/{e:enum(..|a)}",
            "{i:id}",
            "/run/../etc/x",
            "/run/",
            "",
        ] {
            assert!(SocketTemplate::parse("qmp", path).is_err(), "{path}");
        }
        assert!(rendered("/run/{i:id}", &[("i", "..")]).is_err());
        assert!(rendered("{f:path}", &[("f", "ds:../x")]).is_err());
    }
}
