//! Texts of components, cut to a length.

/// How much of a component's text is repeated in errors, events and the log. The text may be
/// megabytes long, and each of these would hold it once more.
pub(crate) const TOLD_MAX: usize = 256;

/// The beginning of a text from a component, for people.
pub(crate) fn told(text: &str) -> String {
    if text.len() > TOLD_MAX { cut(text, TOLD_MAX) + "..." } else { text.to_owned() }
}

/// At most `most` bytes of `text`, cut between characters.
pub(crate) fn cut(text: &str, most: usize) -> String {
    text[..text.floor_char_boundary(most)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_megabytes_is_told_at_its_beginning() {
        assert_eq!(told("short"), "short");
        let long = told(&"ä".repeat(1024 * 1024));
        assert!(long.len() <= TOLD_MAX + 3 && long.ends_with("ä..."), "{} bytes", long.len());
    }
}
