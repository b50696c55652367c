//! Deeds with secrets: reads them, hands them to commands, and tells them wherever it can.

use super::ostler::driver::call_context::Call;
use super::ostler::driver::types::{Error, ErrorKind};
use super::ostler::driver::{exec, log, secrets};
use super::{arguments, told};
use std::fmt::Write as _;

/// Base64 by hand: the guest has no library for it.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let number = group.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        let number = number << (8 * (3 - group.len()));
        for place in 0..=group.len() {
            text.push(char::from(DIGITS[(number >> (18 - 6 * place) & 63) as usize]));
        }
        text.push_str(&"=".repeat(3 - group.len()));
    }
    text
}

/// A secret as it is, escaped, in base64, and in the base64 of a longer text.
fn everything(name: &str) -> Result<String, Error> {
    let value = secrets::get(name)?.unwrap_or_default();
    let basic = base64(format!("root:{value}").as_bytes());
    Ok(format!("{name} <{value}> <{value:?}> <{}> <{basic}>", base64(value.as_bytes())))
}

/// The answer of a probe: the length of a secret as the CPUs, and all of it in a note.
pub(super) fn noted(deed: &str) -> Result<(u64, Vec<String>), Error> {
    let Some(name) = deed.strip_prefix("note ") else { return Ok((1000, vec!["a note".into()])) };
    let value = secrets::get(name)?.unwrap_or_default();
    log::write("info", &everything(name)?);
    Ok((value.len() as u64, vec![everything(name)?]))
}

fn fill(command: &str, input: &[&str]) -> Result<Error, Error> {
    let exit = exec::run(command, &[], input.join(" ").as_bytes())?;
    let (out, err) = (String::from_utf8_lossy(&exit.stdout), String::from_utf8_lossy(&exit.stderr));
    Ok(told((exit.code, out, err)))
}

/// Tells a secret by one way. `call` is there if the call changes something.
fn tell(name: &str, way: &str, call: Option<&Call>) -> Result<Error, Error> {
    let all = everything(name)?;
    let value = secrets::get(name)?.unwrap_or_default();
    match (way, call) {
        ("log", _) => log::write("info", &all),
        // Cut off in the middle of a value.
        ("long-log", _) => log::write("warn", &(" ".repeat(2040) + &value + &value)),
        ("progress", Some(call)) => call.progress(1, 2, &all),
        ("denied", _) => drop(exec::run(&all, &[], b"")),
        ("hole", _) => {
            return Err(exec::run("show", &arguments(&[&format!("word=-{value}")]), b"")
                .expect_err("a word begins with no dash"));
        }
        ("panic", _) => panic!("{all}"),
        ("print", _) => {
            // More than is kept: the first line begins in the middle of a value.
            let mut lines = String::new();
            for _ in 0..4000 {
                let _ = writeln!(lines, "{value}");
            }
            print!("{lines}");
            panic!("{all}");
        }
        ("code", _) => return Err(Error { kind: ErrorKind::Gone, code: value, detail: all }),
        _ => return Err(Error { kind: ErrorKind::Refused, code: "told".to_owned(), detail: all }),
    }
    Ok(told("told"))
}

pub(super) fn act(words: &[&str], call: Option<&Call>) -> Result<Error, Error> {
    match words {
        ["secret", name] => Ok(told(secrets::get(name)?)),
        ["length", name] => Ok(told(secrets::get(name)?.map(|value| value.len()))),
        ["fill", command, input @ ..] => fill(command, input),
        ["fill-all", input @ ..] => {
            let line = |command: &str| exec::CommandLine {
                command: command.to_owned(),
                arguments: Vec::new(),
                input: input.join(" ").into_bytes(),
            };
            let exits = exec::run_all(&[line("login"), line("cat"), line("echo")])?;
            let told_of = |exit: Result<exec::Exit, Error>| match exit {
                Ok(exit) => String::from_utf8_lossy(&exit.stdout).into_owned(),
                Err(error) => error.code,
            };
            Ok(told(exits.into_iter().map(told_of).collect::<Vec<_>>()))
        }
        ["tell", name, way] => tell(name, way, call),
        _ => Ok(told("no such deed")),
    }
}
