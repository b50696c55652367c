//! The file of a cassette: one JSON object a line, so that two of them can be compared line by line.
//!
//! The first line says what was recorded. Then each call of the driver has a line, followed by a line
//! for each of its calls to the host.

use super::CASSETTE_MAX;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of the format.
pub(super) const VERSION: u32 = 1;

/// The recorded run, and its driver: the first line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// The version of the format.
    pub ostler_cassette: u32,
    /// The driver's name.
    pub driver: String,
    /// The driver's own version.
    pub version: String,
    /// SHA-256 of the component.
    pub digest: String,
    /// Identities and randomness come from it.
    pub(super) seed: String,
    /// How the suite was run.
    pub setup: Value,
}

/// Which call of a driver it is. Several calls can have the same key; they are in their order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Key {
    pub(super) check: String,
    pub(super) function: String,
    /// The effect that it is for. Empty for a question.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) about: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) host: String,
}

/// A call of a driver.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    pub(super) key: Key,
    pub(super) hosts: Vec<HostCall>,
    /// Whether the driver has answered it. Otherwise it was dropped.
    pub(super) ended: bool,
}

/// A call to the host.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct HostCall {
    pub(super) does: String,
    pub(super) with: Value,
    /// None: the driver was dropped before the answer came.
    pub(super) answer: Option<Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Call {
        call: usize,
        #[serde(flatten)]
        key: Key,
        ended: bool,
    },
    Host {
        #[serde(rename = "in")]
        call: usize,
        does: String,
        #[serde(default, skip_serializing_if = "Value::is_null")]
        with: Value,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answer: Option<Value>,
    },
}

/// Why a file is no cassette.
#[derive(Debug, thiserror::Error)]
pub enum CassetteProblem {
    /// It is too large.
    #[error("the cassette is larger than {} MiB", CASSETTE_MAX / (1024 * 1024))]
    TooLarge,
    /// A line cannot be read.
    #[error("line {line} of the cassette cannot be read: {problem}")]
    Line {
        /// The line, from 1.
        line: usize,
        /// The fault.
        problem: String,
    },
    /// It is of another version.
    #[error(
        "the cassette has version {0} of its format, and this version of ostler plays version {ours}; \
         record it anew",
        ours = VERSION
    )]
    Version(u32),
    /// The recording was not completed.
    #[error("nothing was recorded: {0}")]
    NotWhole(String),
}

fn line(text: &mut Vec<u8>, line: &impl Serialize) {
    // Texts, numbers and JSON values can always be written.
    let _ = serde_json::to_writer(&mut *text, line);
    text.push(b'\n');
}

/// The file.
pub(super) fn written(recorded: &Recorded, calls: &[Call]) -> Vec<u8> {
    let mut text = Vec::new();
    line(&mut text, recorded);
    for (at, call) in calls.iter().enumerate() {
        let number = at + 1;
        line(&mut text, &Line::Call { call: number, key: call.key.clone(), ended: call.ended });
        for host in call.hosts.iter().cloned() {
            let HostCall { does, with, answer } = host;
            line(&mut text, &Line::Host { call: number, does, with, answer });
        }
    }
    text
}

/// Reads a file.
pub(super) fn read(file: &[u8]) -> Result<(Recorded, Vec<Call>), CassetteProblem> {
    // A written text is longer than what it was made of, by its quotes.
    if file.len() > 2 * CASSETTE_MAX {
        return Err(CassetteProblem::TooLarge);
    }
    let bad = |line: usize, problem: String| CassetteProblem::Line { line, problem };
    let mut lines = file.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let head = lines.next().ok_or_else(|| bad(1, "there is none".to_owned()))?;
    let head: Value = serde_json::from_slice(head).map_err(|error| bad(1, error.to_string()))?;
    let version = head.get("ostler_cassette").and_then(Value::as_u64);
    match version.and_then(|version| u32::try_from(version).ok()) {
        Some(VERSION) => {}
        Some(other) => return Err(CassetteProblem::Version(other)),
        None => return Err(bad(1, "it has no field ostler_cassette".to_owned())),
    }
    let recorded = serde_json::from_value(head).map_err(|error| bad(1, error.to_string()))?;
    let mut calls = Vec::<Call>::new();
    for (at, line) in lines.enumerate() {
        let (at, problem) = (at + 2, |text: &str| text.to_owned());
        match serde_json::from_slice(line).map_err(|error| bad(at, error.to_string()))? {
            Line::Call { call, key, ended } if call == calls.len() + 1 => {
                calls.push(Call { key, hosts: Vec::new(), ended });
            }
            Line::Host { call, does, with, answer } if call == calls.len() => {
                match calls.last_mut() {
                    Some(last) => last.hosts.push(HostCall { does, with, answer }),
                    None => return Err(bad(at, problem("it is in no call"))),
                }
            }
            Line::Call { .. } | Line::Host { .. } => {
                return Err(bad(at, problem("its number is not the next one")));
            }
        }
    }
    Ok((recorded, calls))
}
