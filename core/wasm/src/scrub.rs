//! Keeps the values of secrets out of texts.
//!
//! A [`HandedOut`] knows the secrets that one call was given. Every text that leaves the call goes
//! through it (`Env::scrub`): each exact occurrence of a value becomes `[secret NAME]`. A value also
//! counts in the forms in which programs print it: escaped, and in base64, alone or within a longer
//! text (`user:password`). A value that a driver prints otherwise, or in parts, is not found: this
//! keeps accidents from being logged, and does not hold a driver that wants to tell.

use crate::grants::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A shorter value is not scrubbed: it occurs in texts that have nothing to do with it.
const VALUE_LEAST: usize = 4;
/// A shorter part of a base64 text is not scrubbed, for the same reason.
const PART_LEAST: usize = 8;

/// A text that tells a value.
struct Form {
    bytes: Vec<u8>,
    name: Arc<str>,
}

/// The secrets that one call was given. There are as many as operators have set for its driver.
#[derive(Default)]
pub(crate) struct HandedOut(Mutex<Forms>);

#[derive(Default)]
struct Forms {
    /// The longest first.
    all: Vec<Form>,
    /// Whether a form begins with this byte.
    first: BTreeSet<u8>,
}

/// All forms in which a value is found.
fn forms(value: &str) -> BTreeSet<Vec<u8>> {
    let mut forms = BTreeSet::from([value.as_bytes().to_vec()]);
    forms.insert(value.escape_debug().to_string().into_bytes());
    if let Ok(json) = serde_json::to_string(value) {
        forms.insert(json.trim_matches('"').as_bytes().to_vec());
    }
    for engine in [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD] {
        forms.insert(engine.encode(value).into_bytes());
        forms.extend((0..3).map(|shift| within(&engine, value, shift)));
    }
    forms.retain(|form| form.len() >= VALUE_LEAST);
    forms
}

/// The part of the base64 of a longer text that only `value` decides, if `shift` bytes, or three
/// more, and so on, stand before it. Empty if that part is short.
fn within(engine: &impl base64::Engine, value: &str, shift: usize) -> Vec<u8> {
    const BITS: usize = 6;
    let text = engine.encode([&[0; 2][..shift], value.as_bytes()].concat()).into_bytes();
    let (begin, end) = ((shift * 8).div_ceil(BITS), (shift + value.len()) * 8 / BITS);
    let part = text.get(begin..end).unwrap_or_default();
    if part.len() >= PART_LEAST { part.to_vec() } else { Vec::new() }
}

impl Forms {
    /// The longest form that `text` has at this place.
    fn at(&self, text: &[u8], at: usize) -> Option<&Form> {
        let rest = text.get(at..)?;
        if !self.first.contains(rest.first()?) {
            return None;
        }
        self.all.iter().find(|form| rest.starts_with(&form.bytes))
    }

    /// The first form that begins here, and the end of it and of all that overlap with it.
    fn covered(&self, text: &[u8], at: usize) -> Option<(&Form, usize)> {
        let form = self.at(text, at)?;
        let (mut end, mut next) = (at + form.bytes.len(), at + 1);
        while next < end {
            if let Some(other) = self.at(text, next) {
                end = end.max(next + other.bytes.len());
            }
            next += 1;
        }
        Some((form, end))
    }

    /// The form whose last bytes `text` begins with, and how many they are.
    fn tail(&self, text: &[u8]) -> Option<(&Form, usize)> {
        let tail = |form: &Form| {
            (VALUE_LEAST..form.bytes.len()).rev().find(|length| {
                form.bytes.get(form.bytes.len() - length..).is_some_and(|end| text.starts_with(end))
            })
        };
        self.all
            .iter()
            .filter_map(|form| Some((form, tail(form)?)))
            .max_by_key(|(_, length)| *length)
    }
}

impl HandedOut {
    fn forms(&self) -> MutexGuard<'_, Forms> {
        // A panic while the lock was held can only have left the forms unsorted.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, texts are scrubbed of this secret.
    pub(crate) fn add(&self, secret: &Secret) {
        if secret.expose().len() < VALUE_LEAST {
            return;
        }
        let mut known = self.forms();
        if known.all.iter().any(|form| form.bytes == secret.expose().as_bytes()) {
            return;
        }
        let name: Arc<str> = Arc::from(secret.name());
        for bytes in forms(secret.expose()) {
            known.first.extend(bytes.first());
            known.all.push(Form { bytes, name: Arc::clone(&name) });
        }
        known.all.sort_by_key(|form| std::cmp::Reverse(form.bytes.len()));
    }

    /// At most `most` bytes of `text`, without the values of secrets. With `cut`, the beginning of
    /// the text was cut off, so that it may begin in the middle of a value.
    pub(crate) fn scrubbed(&self, text: &[u8], most: usize, cut: bool) -> String {
        let forms = self.forms();
        let longest = forms.all.first().map_or(0, |form| form.bytes.len());
        // A text may be megabytes long. More than this is not looked at, and no byte is told at
        // which a value could begin that ends beyond it.
        let window = most.saturating_mul(2).saturating_add(longest.saturating_mul(2));
        let (seen, end) = match text.get(..window) {
            Some(seen) => (seen, window - longest),
            None => (text, text.len()),
        };
        let mark = |out: &mut Vec<u8>, form: &Form| {
            out.extend_from_slice(format!("[secret {}]", form.name).as_bytes());
        };
        if forms.all.is_empty() {
            return crate::text::cut(&String::from_utf8_lossy(seen), most);
        }
        let (mut out, mut at) = (Vec::with_capacity(seen.len().min(most)), 0);
        if cut && let Some((form, length)) = forms.tail(seen) {
            mark(&mut out, form);
            at = length;
        }
        while at < end && out.len() < most {
            match forms.covered(seen, at) {
                Some((form, to)) => {
                    mark(&mut out, form);
                    at = to;
                }
                None => {
                    out.extend(seen.get(at));
                    at += 1;
                }
            }
        }
        let told = String::from_utf8_lossy(&out);
        // The last character may be told in part, if not all of the text is.
        let told = if at < text.len() { told.trim_end_matches('\u{fffd}') } else { &told };
        crate::text::cut(told, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn secrets(values: &[(&str, &str)]) -> HandedOut {
        let handed = HandedOut::default();
        values.iter().for_each(|(name, value)| handed.add(&Secret::new(*value).named(name)));
        handed
    }

    fn scrubbed(handed: &HandedOut, text: &str) -> String {
        handed.scrubbed(text.as_bytes(), 4096, false)
    }

    #[test]
    fn a_value_is_found_as_it_is_escaped_and_in_base64() {
        let handed = secrets(&[("password", "hun\"ter\n2"), ("pin", "123")]);
        let basic = |text: &str| STANDARD.encode(text);
        for text in [
            "hun\"ter\n2".to_owned(),
            format!("{:?}", "hun\"ter\n2").trim_matches('"').to_owned(),
            basic("hun\"ter\n2"),
            URL_SAFE_NO_PAD.encode("hun\"ter\n2"),
        ] {
            let told = scrubbed(&handed, &format!("it is {text}, you see"));
            assert_eq!(told, "it is [secret password], you see", "{text:?}");
        }
        // Within a longer text, one character beside it may be left: it tells four bits at most.
        for user in ["", "a", "ab", "abc", "root"] {
            let told = scrubbed(&handed, &basic(&format!("{user}:hun\"ter\n2:x")));
            assert!(told.contains("[secret password]"), "{user}: {told}");
            assert!(!told.contains(&basic("ter")), "{user}: {told}");
        }
        assert_eq!(scrubbed(&handed, "123 is too short"), "123 is too short");
    }

    #[test]
    fn values_that_overlap_or_are_cut_leave_nothing_behind() {
        let handed = secrets(&[("a", "abcd"), ("b", "bcdefgh"), ("c", "abcdef")]);
        assert_eq!(scrubbed(&handed, "<abcdefgh>"), "<[secret c]>");
        assert_eq!(scrubbed(&handed, "<abcdabcd>"), "<[secret a][secret a]>");
        let handed = secrets(&[("long", &"0123456789".repeat(100))]);
        let told = handed.scrubbed("0123456789".repeat(100).as_bytes(), 8, false);
        assert_eq!(told, "[secret ");
        // The text ends far behind all that is told, and only marks come before.
        let text = "0123456789".repeat(100_000);
        assert!(!handed.scrubbed(text.as_bytes(), 64, false).contains("0123"));
        // The first output is gone, and with it the beginning of the value.
        let end = format!("{} and more", &"0123456789".repeat(100)[300..]);
        assert_eq!(handed.scrubbed(end.as_bytes(), 64, true), "[secret long] and more");
        assert_eq!(handed.scrubbed("ä".repeat(9).as_bytes(), 5, false), "ää");
    }

    proptest! {
        /// Negative control: a text without the value stays as it is, up to its length.
        #[test]
        fn a_value_is_gone_and_all_else_stays(
            value in "[a-z0-9]{6,40}", before in "[A-Z ]{0,80}", after in "[A-Z ]{0,80}",
            most in 40_usize..400,
        ) {
            let handed = secrets(&[("s", &value)]);
            let told = handed.scrubbed(format!("{before}{value}{after}").as_bytes(), most, false);
            let expected = crate::text::cut(&format!("{before}[secret s]{after}"), most);
            prop_assert_eq!(told, expected);
            let plain = format!("{before}{after}");
            prop_assert_eq!(
                handed.scrubbed(plain.as_bytes(), most, false), crate::text::cut(&plain, most)
            );
        }
    }
}
