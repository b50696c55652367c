//! Deeds with sockets, with several commands at once, and with the clock.

use super::ostler::driver::types::Error;
use super::ostler::driver::{clock, exec, socket};
use super::{arguments, told};

/// The command line `count` times, at once.
fn run_all(count: &str, words: &[&str]) -> Result<Error, Error> {
    let line = || exec::CommandLine {
        command: words[0].to_owned(),
        arguments: arguments(&words[1..]),
        input: b"input".to_vec(),
    };
    let lines: Vec<_> = (0..count.parse().unwrap_or(0)).map(|_| line()).collect();
    Ok(told(exec::run_all(&lines)?.into_iter().map(ended).collect::<Vec<_>>()))
}

fn ended(run: Result<exec::Exit, Error>) -> Result<usize, String> {
    run.map(|exit| exit.stdout.len()).map_err(|error| error.code)
}

/// The deeds with sockets, several commands and the clock; what came of them is told as an error.
pub(super) fn act(words: &[&str]) -> Result<Error, Error> {
    let connect = |hole: &str| socket::connect(words[1], &arguments(&[hole]));
    Ok(match words {
        ["clock"] => {
            let left = clock::remaining_ms();
            told((left > 0 && left < 3_600_000, clock::told_to_stop()))
        }
        ["all", count, ..] => run_all(count, &words[2..])?,
        ["mixed"] => {
            let named = |command: &str| exec::CommandLine {
                command: command.to_owned(),
                arguments: Vec::new(),
                input: vec![b'x'; if command == "cat" { 65_536 } else { 0 }],
            };
            let lines = ["cat", "missing", "no-such", "cat"].map(named);
            let ends: Vec<_> = exec::run_all(&lines)?.into_iter().map(ended).collect();
            told(ends)
        }
        ["talk", _, hole, text] => {
            let (peer, mut heard) = (connect(hole)?, Vec::new());
            peer.write(format!("{text}\n").as_bytes())?;
            while !heard.ends_with(b"\n") {
                heard.extend(peer.read(3, 60_000)?);
            }
            told(String::from_utf8_lossy(&heard))
        }
        ["hear", _, hole, max, wait] => {
            let peer = connect(hole)?;
            told(peer.read(max.parse().unwrap_or(0), wait.parse().unwrap_or(0))?.len())
        }
        ["pour", _, hole] => {
            let peer = connect(hole)?;
            loop {
                peer.write(&vec![0; 1 << 20])?;
            }
        }
        ["many", _, hole] => {
            let mut open = Vec::new();
            let error = loop {
                match connect(hole) {
                    Ok(peer) => open.push(peer),
                    Err(error) => break error,
                }
            };
            let most = open.len();
            open.truncate(3);
            told((most, error.code, connect(hole).map(drop).is_ok()))
        }
        _ => told("no such deed"),
    })
}
