//! Knobs: faults on demand. `README.md` explains each of them.

use ostler_sdk::host::{clock, random};
use ostler_sdk::{Call, Error, ErrorKind};
use serde::Deserialize;

/// All knobs of one call.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Knobs {
    pub(crate) ignore_acpi: bool,
    pub(crate) acpi_delay_ms: u64,
    pub(crate) crash_after_ms: Option<u64>,
    pub(crate) migrate_ms: u64,
    rules: Vec<Rule>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Rule {
    call: String,
    vm: Option<String>,
    first: Option<u32>,
    percent: Option<u8>,
    delay_ms: u64,
    error: Option<Kind>,
    code: Option<String>,
    lost: bool,
    trap: Option<When>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Retry,
    Refused,
    NotHere,
    Gone,
    Stale,
    Cancelled,
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum When {
    Before,
    After,
}

/// The properties of a call that knobs look at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) name: &'a str,
    pub(crate) vm: &'a str,
    pub(crate) attempt: u32,
}

impl<'a> Subject<'a> {
    /// A call without an effect.
    pub(crate) const fn question(name: &'a str, vm: &'a str) -> Self {
        Self { name, vm, attempt: 1 }
    }

    /// A call with an effect.
    pub(crate) fn effect(name: &'a str, vm: &'a str, call: &Call) -> Self {
        Self { name, vm, attempt: call.attempt() }
    }
}

/// The faults that come after the work of a call.
#[derive(Debug, Default)]
pub(crate) struct After {
    lost: Option<Error>,
    trap: bool,
}

impl Knobs {
    pub(crate) fn parse(text: &[u8]) -> Result<Self, Error> {
        serde_json::from_slice(text).map_err(|error| {
            Error::refused("bad-knobs", format!("the knobs cannot be read: {error}"))
        })
    }

    /// Runs before the work of a call: waits, fails, or panics. Answers the faults that come after
    /// the work.
    pub(crate) fn before(&self, subject: Subject<'_>) -> Result<After, Error> {
        let mut after = After::default();
        for rule in self.rules.iter().filter(|rule| rule.matches(subject) && rule.luck()) {
            if rule.delay_ms > 0 {
                clock::sleep_ms(rule.delay_ms)?;
            }
            match rule.trap {
                Some(When::Before) => panic!("the knobs say: trap before {}", subject.name),
                Some(When::After) => after.trap = true,
                None => {}
            }
            match (rule.lost, rule.error) {
                (true, kind) => {
                    after.lost = Some(rule.fault(kind.unwrap_or(Kind::Unknown), subject))
                }
                (false, Some(kind)) => return Err(rule.fault(kind, subject)),
                (false, None) => {}
            }
        }
        Ok(after)
    }
}

impl After {
    /// Runs after the work of a call: loses the answer, or panics.
    pub(crate) fn finish(self) -> Result<(), Error> {
        assert!(!self.trap, "the knobs say: trap after the deed");
        self.lost.map_or(Ok(()), Err)
    }
}

impl Rule {
    fn matches(&self, subject: Subject<'_>) -> bool {
        (self.call == "*" || self.call == subject.name)
            && self.vm.as_deref().is_none_or(|vm| vm == subject.vm)
            && self.first.is_none_or(|first| subject.attempt <= first)
    }

    fn luck(&self) -> bool {
        self.percent.is_none_or(|percent| {
            let byte = random::bytes(1).first().copied().unwrap_or_default();
            u32::from(byte) * 100 < u32::from(percent) * 256
        })
    }

    fn fault(&self, kind: Kind, subject: Subject<'_>) -> Error {
        let kind = match kind {
            Kind::Retry => ErrorKind::Retry,
            Kind::Refused => ErrorKind::Refused,
            Kind::NotHere => ErrorKind::NotHere,
            Kind::Gone => ErrorKind::Gone,
            Kind::Stale => ErrorKind::Stale,
            Kind::Cancelled => ErrorKind::Cancelled,
            Kind::Unknown => ErrorKind::Unknown,
        };
        let code = self.code.clone().unwrap_or_else(|| "knob".to_owned());
        Error::new(kind, code, format!("the knobs say so for {}", subject.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knobs_do_what_the_readme_says() {
        let knobs = Knobs::parse(
            br#"{"ignore-acpi":true,"rules":[
                {"call":"deploy","error":"retry","code":"busy","first":2},{"call":"*","vm":"v","lost":true}]}"#,
        )
        .expect("well formed");
        assert!(knobs.ignore_acpi);
        let error =
            knobs.before(Subject { name: "deploy", vm: "w", attempt: 2 }).expect_err("too early");
        assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Retry, "busy"));
        assert!(
            knobs
                .before(Subject { name: "deploy", vm: "w", attempt: 3 })
                .expect("now")
                .finish()
                .is_ok()
        );
        let after = knobs.before(Subject::question("destroy", "v")).expect("does it");
        assert_eq!(after.finish().expect_err("lost").kind, ErrorKind::Unknown);
    }

    #[test]
    fn a_misspelt_knob_is_told() {
        assert_eq!(
            Knobs::parse(br#"{"igonre-acpi":true}"#).expect_err("unknown").code,
            "bad-knobs"
        );
    }
}
