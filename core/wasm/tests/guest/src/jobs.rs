//! The deeds with command jobs, and with commands on the other host of a migration:
//! `start NAME[@HOST] COMMAND HOLES...`, `poll NAME[@HOST]`, `stop NAME[@HOST]`, `on HOST COMMAND ...`.

use crate::ostler::driver::exec::{self, JobName, JobState};
use crate::ostler::driver::types::{Error, ErrorKind};
use crate::ostler::driver::{clock, files};
use crate::{arguments, deed, path};

fn name(word: &str) -> JobName {
    let (name, host) = word.split_once('@').map_or((word, None), |(name, host)| (name, Some(host)));
    JobName { name: name.to_owned(), host: host.map(str::to_owned) }
}

fn line(words: &[&str]) -> exec::CommandLine {
    let input = if words[0] == "login" { "{secret:password}" } else { "input" };
    exec::CommandLine {
        command: words[0].to_owned(),
        arguments: arguments(&words[1..]),
        input: input.as_bytes().to_vec(),
    }
}

fn exit(exit: exec::Exit) -> String {
    let (out, err) = (String::from_utf8_lossy(&exit.stdout), String::from_utf8_lossy(&exit.stderr));
    let most = |text: &str| text.chars().take(200).collect::<String>();
    format!(
        "ended {:?} {:?} {} {} {} {:?} {:?}",
        exit.code,
        exit.signal,
        exit.truncated,
        out.len(),
        err.len(),
        most(&out),
        most(&err)
    )
}

fn state(state: JobState) -> String {
    match state {
        JobState::Absent => "absent".to_owned(),
        JobState::Running(running) => {
            format!("running {:?}", String::from_utf8_lossy(&running.stdout))
        }
        JobState::Ended(ended) => exit(ended),
        JobState::Lost(why) => format!("lost: {why}"),
    }
}

pub(crate) fn act(words: &[&str]) -> Result<Error, Error> {
    let text = match words {
        ["start", job, ..] => state(exec::start(&name(job), &line(&words[2..]))?),
        ["poll", job] => state(exec::poll(&name(job))?),
        ["stop", job] => state(exec::stop(&name(job))?),
        ["cancelled-stop", job] => {
            let _ = files::write(&path(&["ds", "began"]), b"");
            while !clock::told_to_stop() {
                let _ = clock::sleep_ms(10);
            }
            state(exec::stop(&name(job))?)
        }
        ["on", host, ..] => exit(exec::run_on(host, &line(&words[2..]))?),
        _ => "no such deed".to_owned(),
    };
    Ok(Error { kind: ErrorKind::Refused, code: "told".to_owned(), detail: text })
}

/// The deed, in a call of a migration. None if it is another one.
pub(crate) fn of_migration() -> Option<Result<Error, Error>> {
    let deed = deed().unwrap_or_default();
    let words: Vec<&str> = deed.split_whitespace().collect();
    words.split_first().filter(|(first, _)| **first == "job").map(|(_, rest)| act(rest))
}
