//! Answers of the host as JSON, for cassettes. An answer is `{"is": ...}`, `{"ok": ...}` or
//! `{"error": ...}`. Bytes are a text if they are UTF-8, else `{"base64": "..."}`.

use crate::bindings::ostler::driver::exec::{Exit, JobRunning, JobState};
use crate::bindings::ostler::driver::files::FileStat;
use crate::bindings::ostler::driver::types::{Error, ErrorKind};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// An answer that a cassette can keep.
pub(super) trait Taped: Sized {
    /// The answer as it is kept.
    fn kept(&self) -> Value;
    /// The answer that was kept. None if it is none of this kind.
    fn played(value: &Value) -> Option<Self>;
}

/// A value that can be a part of an answer.
pub(super) trait Part: Sized {
    fn kept(&self) -> Value;
    fn played(value: &Value) -> Option<Self>;
}

/// Bytes as JSON.
pub(super) fn bytes(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::from(text),
        Err(_) => json!({ "base64": STANDARD.encode(bytes) }),
    }
}

impl Part for Vec<u8> {
    fn kept(&self) -> Value {
        bytes(self)
    }

    fn played(value: &Value) -> Option<Self> {
        match value.as_str() {
            Some(text) => Some(text.as_bytes().to_vec()),
            None => STANDARD.decode(value.get("base64")?.as_str()?).ok(),
        }
    }
}

macro_rules! parts {
    ($($part:ty),* $(,)?) => {$(
        impl Part for $part {
            fn kept(&self) -> Value {
                json!(self)
            }

            fn played(value: &Value) -> Option<Self> {
                serde_json::from_value(value.clone()).ok()
            }
        }
    )*};
}

parts!((), bool, u64, String, Vec<String>);

impl<T: Part> Part for Option<T> {
    fn kept(&self) -> Value {
        self.as_ref().map_or(Value::Null, Part::kept)
    }

    fn played(value: &Value) -> Option<Self> {
        if value.is_null() { Some(None) } else { T::played(value).map(Some) }
    }
}

impl Part for Exit {
    fn kept(&self) -> Value {
        let mut kept = json!({ "code": self.code, "stdout": bytes(&self.stdout) });
        if !self.stderr.is_empty() {
            kept["stderr"] = bytes(&self.stderr);
        }
        if let Some(signal) = self.signal {
            kept["signal"] = signal.into();
        }
        if self.truncated {
            kept["truncated"] = true.into();
        }
        kept
    }

    fn played(value: &Value) -> Option<Self> {
        let number = |key: &str| value.get(key).and_then(Value::as_i64);
        let number = |key: &str| number(key).and_then(|number| i32::try_from(number).ok());
        let output = |key: &str| value.get(key).map_or(Some(Vec::new()), Part::played);
        Some(Self {
            code: number("code"),
            signal: number("signal"),
            stdout: output("stdout")?,
            stderr: output("stderr")?,
            truncated: value.get("truncated").and_then(Value::as_bool).unwrap_or_default(),
        })
    }
}

impl Part for JobState {
    fn kept(&self) -> Value {
        match self {
            Self::Absent => json!({ "is": "absent" }),
            Self::Running(running) => json!({
                "is": "running",
                "ran_ms": running.ran_ms,
                "stdout": bytes(&running.stdout),
                "stderr": bytes(&running.stderr),
            }),
            Self::Ended(exit) => json!({ "is": "ended", "exit": exit.kept() }),
            Self::Lost(why) => json!({ "is": "lost", "why": why }),
        }
    }

    fn played(value: &Value) -> Option<Self> {
        Some(match value.get("is")?.as_str()? {
            "absent" => Self::Absent,
            "running" => Self::Running(JobRunning {
                ran_ms: value.get("ran_ms")?.as_u64()?,
                stdout: Part::played(value.get("stdout")?)?,
                stderr: Part::played(value.get("stderr")?)?,
            }),
            "ended" => Self::Ended(Part::played(value.get("exit")?)?),
            "lost" => Self::Lost(value.get("why")?.as_str()?.to_owned()),
            _ => return None,
        })
    }
}

impl Part for FileStat {
    fn kept(&self) -> Value {
        json!({
            "kind": self.kind,
            "size": self.size,
            "allocated": self.allocated,
            "modified_ms": self.modified_ms,
        })
    }

    fn played(value: &Value) -> Option<Self> {
        let number = |key: &str| value.get(key)?.as_u64();
        Some(Self {
            kind: value.get("kind")?.as_str()?.to_owned(),
            size: number("size")?,
            allocated: number("allocated")?,
            modified_ms: number("modified_ms")?,
        })
    }
}

/// The kinds of errors, with their names in the contract.
const KINDS: [(ErrorKind, &str); 7] = [
    (ErrorKind::Retry, "retry"),
    (ErrorKind::Refused, "refused"),
    (ErrorKind::NotHere, "not-here"),
    (ErrorKind::Gone, "gone"),
    (ErrorKind::Stale, "stale"),
    (ErrorKind::Cancelled, "cancelled"),
    (ErrorKind::Unknown, "unknown"),
];

impl<T: Part> Taped for Result<T, Error> {
    fn kept(&self) -> Value {
        match self {
            Ok(answer) => json!({ "ok": answer.kept() }),
            Err(error) => {
                let kind = KINDS.iter().find(|(kind, _)| *kind == error.kind);
                let kind = kind.map_or("unknown", |(_, name)| name);
                json!({ "error": kind, "code": error.code, "detail": error.detail })
            }
        }
    }

    fn played(value: &Value) -> Option<Self> {
        if let Some(answer) = value.get("ok") {
            return T::played(answer).map(Ok);
        }
        let text = |key: &str| value.get(key)?.as_str();
        let (kind, _) = KINDS.iter().find(|(_, name)| Some(*name) == text("error"))?;
        let (code, detail) = (text("code")?.to_owned(), text("detail")?.to_owned());
        Some(Err(Error { kind: *kind, code, detail }))
    }
}

macro_rules! plain {
    ($($answer:ty),* $(,)?) => {$(
        impl Taped for $answer {
            fn kept(&self) -> Value {
                json!({ "is": Part::kept(self) })
            }

            fn played(value: &Value) -> Option<Self> {
                Part::played(value.get("is")?)
            }
        }
    )*};
}

plain!(bool, u64);
