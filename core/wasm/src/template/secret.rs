//! Marks of secrets in the standard input of a command: `{secret:NAME}`. The value takes the place
//! of the mark outside of the driver, so the driver need not see it.

use super::Template;
use ostler_model::SecretName;
use std::collections::BTreeSet;

/// The beginning of a mark.
const OPENING: &[u8] = b"{secret:";

/// A part of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum InputPart<'a> {
    /// Bytes as they stand.
    Bytes(&'a [u8]),
    /// A mark.
    Secret(SecretName),
}

impl Template {
    /// The same command, with the secrets whose marks are replaced in its input.
    #[must_use]
    pub fn given(mut self, secrets: BTreeSet<SecretName>) -> Self {
        self.secrets = secrets;
        self
    }

    /// The secrets whose marks are replaced in its input.
    #[must_use]
    pub const fn secrets(&self) -> &BTreeSet<SecretName> {
        &self.secrets
    }
}

/// The name of the mark that `input` begins with, and the length of the mark.
fn mark(input: &[u8]) -> Option<(SecretName, usize)> {
    let rest = input.strip_prefix(OPENING)?;
    let length = rest.iter().position(|byte| *byte == b'}')?;
    let name = std::str::from_utf8(rest.get(..length)?).ok()?.parse().ok()?;
    Some((name, OPENING.len() + length + 1))
}

/// Takes an input apart. A text that is not exactly a mark stays as it is.
pub(crate) fn parts(input: &[u8]) -> Vec<InputPart<'_>> {
    let (mut parts, mut rest, mut plain) = (Vec::new(), input, 0);
    while let Some(here) = rest.get(plain..).filter(|here| !here.is_empty()) {
        let Some((name, length)) = mark(here) else {
            plain += 1;
            continue;
        };
        let (before, _) = rest.split_at(plain);
        if !before.is_empty() {
            parts.push(InputPart::Bytes(before));
        }
        parts.push(InputPart::Secret(name));
        (rest, plain) = (here.get(length..).unwrap_or_default(), 0);
    }
    if !rest.is_empty() {
        parts.push(InputPart::Bytes(rest));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(input: &[u8]) -> String {
        let told = |part: &InputPart<'_>| match part {
            InputPart::Bytes(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
            InputPart::Secret(name) => format!("<{name}>"),
        };
        parts(input).iter().map(told).collect()
    }

    #[test]
    fn only_an_exact_mark_is_one() {
        assert_eq!(told(b""), "");
        assert_eq!(told(b"plain"), "\"plain\"");
        assert_eq!(told(b"{secret:a}"), "<a>");
        assert_eq!(told(b"a={secret:a}{secret:b-2}\n"), "\"a=\"<a><b-2>\"\\n\"");
        assert_eq!(told(b"{{secret:a}}"), "\"{\"<a>\"}\"");
        assert_eq!(told(b"{secret:{secret:a}"), "\"{secret:\"<a>");
        for input in ["{secret:}", "{secret:A}", "{secret:a b}", "{secret: a}", "{secret:a", "{se"]
        {
            assert_eq!(told(input.as_bytes()), format!("{input:?}"));
        }
        assert_eq!(told(b"\xff{secret:a}\xff").matches("<a>").count(), 1);
    }
}
