//! `ostler vm console-log`.

use crate::context::Context;
use crate::retry::patiently;
use crate::{Exit, Failure, range};
use clap::Args;
use ostler_api::{Client, ClientError, ConsoleChunk, code};
use std::time::Duration;

/// The pause between two looks at a log that is followed.
const LOOK: Duration = Duration::from_millis(500);

/// Selects the log.
#[derive(Debug, Args)]
pub struct ConsoleArgs {
    /// The VM: id or name
    vm: String,
    /// Go on as it grows, until interrupted or the VM is done
    #[arg(short, long)]
    follow: bool,
    /// From its beginning; near its end if not given
    #[arg(long)]
    all: bool,
    /// Hand everything to the terminal as it is. Otherwise only colours pass: a guest could send
    /// worse
    #[arg(long)]
    raw: bool,
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, args: ConsoleArgs) -> Result<(), Failure> {
    range::one(&args.vm)?;
    let client = cx.client()?;
    let mut filter = Filter { pass_all: args.raw || !cx.out.terminal, state: Escape::None };
    let mut from = args.all.then_some(0);
    loop {
        let chunk = match patiently(|| client.console_log(&args.vm, from)).await {
            Ok(chunk) => chunk,
            Err(err) if args.follow && may_come(&client, &args.vm, &err).await => {
                tokio::time::sleep(LOOK).await;
                continue;
            }
            Err(ClientError::Problem(problem)) if args.follow && problem.code == code::UNUSABLE => {
                return Ok(());
            }
            Err(err) => return Err(err.into()),
        };
        cx.out.write(&filter.pass(&chunk.text))?;
        let at_end = chunk.next >= chunk.size;
        if at_end && !args.follow {
            return Ok(());
        }
        from = Some(next(from, &chunk)?);
        if at_end {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// The offset to read from next. If the log is shorter than what was read, it was begun again.
fn next(from: Option<u64>, chunk: &ConsoleChunk) -> Result<u64, Failure> {
    if from.is_some_and(|from| chunk.size < from) {
        return Ok(0);
    }
    if chunk.next < chunk.size && chunk.next <= chunk.from {
        return Err(Failure::new(Exit::Server, "the daemon's parts of the log do not lead on"));
    }
    Ok(chunk.next)
}

/// Whether a log that cannot be read now may appear later. It begins when the VM is first started.
async fn may_come(client: &Client, vm: &str, err: &ClientError) -> bool {
    let ClientError::Problem(problem) = err else { return false };
    problem.code == code::UNUSABLE && client.vm(vm).await.is_ok_and(|vm| vm.state != "done")
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Escape {
    None,
    /// After ESC.
    Begun,
    /// After ESC and `[`. Holds the parameters so far.
    Sequence(String),
    /// Within a command that ends with BEL, ESC `\` or a line feed. All of it is dropped.
    Text,
}

/// Keeps a guest from controlling the operator's terminal: of all escape sequences only colours
/// pass.
struct Filter {
    pass_all: bool,
    state: Escape,
}

impl Filter {
    /// The longest parameters of a colour sequence that pass. Real ones have about 20 characters.
    const LONGEST: usize = 64;

    fn pass(&mut self, text: &str) -> String {
        if self.pass_all {
            return text.to_owned();
        }
        let mut passed = String::with_capacity(text.len());
        for c in text.chars() {
            self.state = self.step(c, &mut passed);
        }
        passed
    }

    fn step(&mut self, c: char, passed: &mut String) -> Escape {
        match (std::mem::replace(&mut self.state, Escape::None), c) {
            (Escape::None | Escape::Sequence(_) | Escape::Text, '\u{1b}') => Escape::Begun,
            (Escape::None, '\n' | '\t' | '\r') => {
                passed.push(c);
                Escape::None
            }
            (Escape::None, c) => {
                if !c.is_control() {
                    passed.push(c);
                }
                Escape::None
            }
            (Escape::Begun, '[') => Escape::Sequence(String::new()),
            (Escape::Begun, ']' | 'P' | 'X' | '^' | '_') => Escape::Text,
            (Escape::Begun, _) | (Escape::Text, '\u{7}' | '\n') => Escape::None,
            (Escape::Text, _) => Escape::Text,
            (Escape::Sequence(mut sequence), '0'..='9' | ';' | ':')
                if sequence.len() < Self::LONGEST =>
            {
                sequence.push(c);
                Escape::Sequence(sequence)
            }
            (Escape::Sequence(sequence), 'm') => {
                passed.push_str("\u{1b}[");
                passed.push_str(&sequence);
                passed.push('m');
                Escape::None
            }
            // Colours do not have such parameters. The rest of the sequence is dropped, up to its
            // last character.
            (Escape::Sequence(_), ' '..='?') => Escape::Sequence("?".repeat(Self::LONGEST)),
            (Escape::Sequence(_), _) => Escape::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filtered(parts: &[&str]) -> String {
        let mut filter = Filter { pass_all: false, state: Escape::None };
        parts.iter().map(|part| filter.pass(part)).collect()
    }

    #[test]
    fn only_colours_pass() {
        assert_eq!(filtered(&["\u{1b}[1;32mok\u{1b}[0m\r\n"]), "\u{1b}[1;32mok\u{1b}[0m\r\n");
        assert_eq!(filtered(&["a\u{1b}[2Jb\u{1b}[10;10Hc\u{1b}[?25ld"]), "abcd");
        assert_eq!(
            filtered(&["a\u{1b}]0;title\u{7}b\u{1b}]52;c;x\u{1b}\\c\u{1b}cd\u{7}e"]),
            "abcde"
        );
        assert_eq!(filtered(&["a\u{1b}", "[3", "1mb"]), "a\u{1b}[31mb");
    }

    #[test]
    fn parts_lead_on_or_begin_anew() {
        let chunk = |from, next, size| ConsoleChunk { from, next, size, text: String::new() };
        assert_eq!(next(None, &chunk(5, 10, 10)).expect("good"), 10);
        assert_eq!(next(Some(10), &chunk(3, 3, 3)).expect("anew"), 0);
        assert!(next(Some(3), &chunk(3, 3, 9)).is_err());
    }
}
