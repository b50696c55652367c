//! What the helper at the far end is told of a command, before it starts it.

use super::RunError;
use super::lease::Lease;
use crate::epoch::Charge;
use crate::limits::Limits;

/// The most bytes of all arguments: below the kernel's limit for one process.
const ARGV_BYTES_MAX: usize = 64 * 1024;

/// What the helper is told beside the arguments.
#[derive(Clone, Copy)]
pub(super) struct Told<'a> {
    /// In base64; empty for none, `-` for what follows.
    pub(super) input: &'a str,
    pub(super) lease: Option<Lease>,
    pub(super) limits: Option<Limits>,
    /// The epoch that the host compares first. None: the command changes nothing.
    pub(super) charge: Option<&'a Charge>,
}

/// The text that the helper reads first. Each argument is one line, so it must have no line break;
/// templates and paths have none.
pub(super) fn header(tag: &str, argv: &[String], told: Told<'_>) -> Result<String, RunError> {
    let bytes: usize = argv.iter().map(String::len).sum();
    if argv.is_empty()
        || bytes > ARGV_BYTES_MAX
        || argv.iter().any(|argument| argument.contains(['\n', '\0']))
    {
        return Err(RunError::Invalid(format!(
            "arguments must be at most {ARGV_BYTES_MAX} bytes without line breaks and NUL"
        )));
    }
    let lapse = told.lease.map_or(0, |lease| lease.lapse().as_secs());
    let charge = told.charge.map_or_else(|| "-".to_owned(), Charge::line);
    let mut head = format!("{tag}\n{lapse}\n{charge}\n{}\n", argv.len());
    for argument in argv {
        head.push_str(argument);
        head.push('\n');
    }
    let limits = told.limits.map(|limits| limits.for_helper()).unwrap_or_default();
    for line in [told.input, &limits] {
        head.push_str(line);
        head.push('\n');
    }
    Ok(head)
}
