//! Failures of a command. They are printed to standard error, with a hint on what to do.

use crate::text::clean;
use crate::{Exit, advice};
use ostler_api::{ClientError, Problem, code};
use std::error::Error;
use std::io;

/// The reason why a command did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// The failure in words. None if it was printed already.
    pub what: Option<String>,
    /// More lines about the failure.
    pub more: Vec<String>,
    /// The hint on what to do.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure with this exit code.
    #[must_use]
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: Some(what.into()), more: Vec::new(), hint: None }
    }

    /// A failure for wrong usage or a wrong input.
    #[must_use]
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    /// A failure of which everything was printed already. Only the exit code is left.
    #[must_use]
    pub const fn silent(exit: Exit) -> Self {
        Self { exit, what: None, more: Vec::new(), hint: None }
    }

    /// The same failure with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same failure with its subject in front, unless its text names the subject already.
    #[must_use]
    pub fn about(mut self, subject: &str) -> Self {
        self.what = self.what.map(|what| {
            if speaks_of(&what, subject) { what } else { format!("{subject}: {what}") }
        });
        self
    }

    /// The lines to print. Empty if everything was printed already.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let Some(what) = &self.what else { return Vec::new() };
        let mut lines = vec![format!("error: {}", clean(what))];
        lines.extend(self.more.iter().map(|line| format!("  {}", clean(line))));
        lines.extend(self.hint.iter().map(|hint| format!("hint: {}", clean(hint))));
        lines
    }

    /// Prints the lines to standard error.
    pub fn tell(&self) {
        for line in self.lines() {
            crate::out::aside(&line);
        }
    }
}

/// Whether the text names the subject already: "there is no host h9". The server puts the name of a
/// VM behind its id: "VM 7 (web) is busy".
fn speaks_of(text: &str, subject: &str) -> bool {
    let (text, subject) = (text.to_ascii_lowercase(), subject.to_ascii_lowercase());
    if subject.strip_prefix("vm ").is_some_and(|name| text.contains(&format!("({name})"))) {
        return true;
    }
    let edge = |c: Option<char>| {
        c.is_none_or(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')))
    };
    text.match_indices(&subject).any(|(at, found)| {
        let behind = &text[at + found.len()..];
        // A full stop at the end of the text ends the name. Inside of a text it may belong to a
        // longer name.
        edge(text[..at].chars().next_back()) && (edge(behind.chars().next()) || behind == ".")
    })
}

/// An error with all its causes. A cause that the text contains already is left out.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let failure = Self::new(Exit::of(&error), chain(&error));
        match error {
            ClientError::Problem(problem) => of_problem(&problem),
            ClientError::Unreachable { source, .. } => failure.hint(if chain(&source).contains("ermission denied") {
                "the socket belongs to somebody else: use http:// with a token, or become that user"
            } else {
                "is ostlerd running? Say where with --server or OSTLER_SERVER (unix:/PATH or \
                 http://ADDRESS:PORT)"
            }),
            ClientError::TimedOut { .. } => {
                failure.hint("look before you ask again: `ostler vm list`, `ostler vm why VM`")
            }
            ClientError::Garbled { .. } => {
                failure.hint("is it an ostlerd of this version? `ostler version` tells")
            }
            ClientError::Setup(_) => failure,
        }
    }
}

fn of_problem(problem: &Problem) -> Failure {
    let what = match &problem.field {
        Some(field) if !field.is_empty() && !problem.detail.contains(field.as_str()) => {
            format!("{field}: {}", problem.detail)
        }
        _ => problem.detail.clone(),
    };
    let mut failure = Failure::new(Exit::of_problem(problem), what);
    failure.more = problem
        .candidates
        .iter()
        .map(|one| {
            if one.about.is_empty() {
                format!("{} {}", one.id, one.name)
            } else {
                format!("{} {} ({})", one.id, one.name, one.about)
            }
        })
        .collect();
    failure.hint = match problem.code.as_str() {
        code::UNAUTHENTICATED => Some(
            "hand in a token with --token-file or OSTLER_TOKEN; the first one is in the file \
             admin.token of the daemon's data directory"
                .to_owned(),
        ),
        _ => advice::hint(problem.advice.as_ref(), problem.hint.as_deref()),
    };
    failure
}

/// Failures of standard output. A reader such as `head` may close the pipe when it has read enough.
/// This is no error.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::silent(Exit::Ok),
            _ => Self::new(Exit::Refused, format!("cannot write to standard output: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_api::Candidate;

    #[test]
    fn an_ambiguous_name_lists_what_it_could_mean() {
        let mut problem = Problem::new(409, "Conflict", code::AMBIGUOUS, "2 vms are called web")
            .hint("use the id");
        problem.candidates = vec![
            Candidate { id: 3, name: "web".to_owned(), about: "running, owner a".to_owned() },
            Candidate { id: 9, name: "web".to_owned(), about: String::new() },
        ];
        let failure = Failure::from(ClientError::Problem(Box::new(problem)));
        let told = [
            "error: 2 vms are called web",
            "  3 web (running, owner a)",
            "  9 web",
            "hint: use the id",
        ];
        assert_eq!(failure.lines(), told);
        assert_eq!(failure.exit, Exit::Usage);
    }

    #[test]
    fn the_place_in_the_input_is_told_once() {
        let mut problem = Problem::new(422, "", code::INVALID, "must not be empty");
        problem.field = Some("spec.disks[0].name".to_owned());
        let failure = Failure::from(ClientError::Problem(Box::new(problem)));
        assert_eq!(failure.lines(), ["error: spec.disks[0].name: must not be empty"]);
    }

    #[test]
    fn what_it_is_about_is_said_once() {
        let said =
            |what: &str, subject: &str| Failure::usage(what).about(subject).what.expect("told");
        for (what, subject) in [
            ("there is no vm web", "vm web"),
            ("VM 7 is busy", "vm 7"),
            ("the host h1 is in use", "host h1"),
            ("VM 7 (web) is busy", "vm web"),
            ("VM 7 (web) is busy", "vm 7"),
        ] {
            assert_eq!(said(what, subject), what);
        }
        assert_eq!(said("VM 7 is busy", "vm web"), "vm web: VM 7 is busy");
        assert_eq!(said("VM 71 is busy", "vm 7"), "vm 7: VM 71 is busy");
        assert_eq!(said("VM 7 (web-2) is busy", "vm web"), "vm web: VM 7 (web-2) is busy");
        assert_eq!(said("there is no vm web-2", "vm web"), "vm web: there is no vm web-2");
    }

    #[test]
    fn words_of_others_cannot_drive_the_terminal() {
        assert_eq!(Failure::usage("a\u{1b}[2Jb\nc").lines(), ["error: a\u{fffd}[2Jb c"]);
    }

    #[test]
    fn a_reader_that_left_is_no_error() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((failure.exit, failure.lines()), (Exit::Ok, Vec::new()));
    }
}
