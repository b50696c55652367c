//! Exit codes of the command. Scripts rely on them.

use ostler_api::{ClientError, Problem, code};
use std::process::ExitCode;

/// How a command ended. The numbers never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// The request was done.
    Ok = 0,
    /// The request was refused in the present state, or the operation failed.
    Refused = 1,
    /// The command line or an input is wrong.
    Usage = 2,
    /// There is no such thing.
    NotFound = 3,
    /// Something else uses it, or it changed meanwhile. Trying again may help.
    Conflict = 4,
    /// There is no valid token, or the token does not allow this.
    Unauthorised = 5,
    /// The daemon cannot be reached.
    Unreachable = 6,
    /// The operation did not end within the timeout. It goes on.
    TimedOut = 7,
    /// The daemon has a fault, or its answer cannot be understood.
    Server = 8,
    /// Cargo could not build a driver. The number is cargo's own.
    Cargo = 101,
    /// Somebody interrupted a wait (Ctrl-C). The operation goes on. The number is 128 plus the
    /// signal, as shells do it.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    /// All exit codes with their meaning, except [`Self::Cargo`] and [`Self::Interrupted`].
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::Ok, "It was done, or it was so already."),
        (
            Self::Refused,
            "Refused as things are (wrong state, no capacity, a rule), or the operation failed.",
        ),
        (
            Self::Usage,
            "The command line or an input makes no sense: unknown flag, bad file, ambiguous name.",
        ),
        (Self::NotFound, "There is no such VM, host, operation, ..."),
        (
            Self::Conflict,
            "Something else holds it or came first: busy, in use, exists, other version, \
             overtaken. Look, try again.",
        ),
        (
            Self::Unauthorised,
            "No token, one that is not known or over, or one that may not do that.",
        ),
        (
            Self::Unreachable,
            "The daemon cannot be reached. Or the registry or web server of a driver cannot.",
        ),
        (
            Self::TimedOut,
            "It did not end within --timeout. It goes on: `ostler operation show ID --wait`.",
        ),
        (Self::Server, "A fault of the daemon, or an answer that makes no sense."),
    ];

    /// The exit code for a problem.
    #[must_use]
    pub fn of_problem(problem: &Problem) -> Self {
        match problem.code.as_str() {
            code::MALFORMED | code::INVALID | code::TOO_LARGE | code::AMBIGUOUS => Self::Usage,
            code::UNAUTHENTICATED | code::FORBIDDEN => Self::Unauthorised,
            code::NOT_FOUND => Self::NotFound,
            code::EXISTS
            | code::IN_USE
            | code::VERSION_MISMATCH
            | code::IDEMPOTENCY_CONFLICT
            | code::OVERLOADED
            | "busy" => Self::Conflict,
            code::SHUTTING_DOWN => Self::Unreachable,
            code::TIMEOUT => Self::TimedOut,
            code::STORE | code::INTERNAL | code::METHOD_NOT_ALLOWED => Self::Server,
            // The code is from a later daemon. Its status decides.
            _ => match problem.status {
                401 | 403 => Self::Unauthorised,
                404 => Self::NotFound,
                412 | 429 => Self::Conflict,
                400..=499 => Self::Refused,
                _ => Self::Server,
            },
        }
    }

    /// The exit code for a missing answer.
    #[must_use]
    pub fn of(error: &ClientError) -> Self {
        match error {
            ClientError::Problem(problem) => Self::of_problem(problem),
            ClientError::Unreachable { .. } => Self::Unreachable,
            ClientError::TimedOut { .. } => Self::TimedOut,
            ClientError::Garbled { .. } | ClientError::Setup(_) => Self::Server,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_api_has_its_exit_code() {
        let table = [
            (400, code::MALFORMED, 2),
            (400, code::INVALID, 2),
            (422, code::INVALID, 2),
            (413, code::TOO_LARGE, 2),
            (409, code::AMBIGUOUS, 2),
            (401, code::UNAUTHENTICATED, 5),
            (403, code::FORBIDDEN, 5),
            (404, code::NOT_FOUND, 3),
            (405, code::METHOD_NOT_ALLOWED, 8),
            (409, code::EXISTS, 4),
            (409, code::IN_USE, 4),
            (412, code::VERSION_MISMATCH, 4),
            (409, code::IDEMPOTENCY_CONFLICT, 4),
            (422, code::UNUSABLE, 1),
            (429, code::OVERLOADED, 4),
            (410, code::TRIMMED, 1),
            (503, code::TIMEOUT, 7),
            (503, code::SHUTTING_DOWN, 6),
            (503, code::STORE, 8),
            (500, code::INTERNAL, 8),
            (409, "busy", 4),
            (409, "wrong-state", 1),
            (409, "no-capacity", 1),
            (409, "from-a-later-daemon", 1),
            (507, "from-a-later-daemon", 8),
        ];
        for (status, code, exit) in table {
            assert_eq!(Exit::of_problem(&Problem::new(status, "", code, "")) as u8, exit, "{code}");
        }
    }

    #[test]
    fn the_list_is_whole_and_in_order() {
        for (number, (exit, about)) in Exit::ALL.into_iter().enumerate() {
            assert_eq!(exit as usize, number);
            assert!(!about.is_empty());
        }
    }

    #[test]
    fn missing_answers_have_theirs() {
        assert_eq!(Exit::of(&ClientError::TimedOut { endpoint: String::new() }), Exit::TimedOut);
        assert_eq!(
            Exit::of(&ClientError::Garbled { endpoint: String::new(), detail: String::new() }),
            Exit::Server
        );
    }
}
