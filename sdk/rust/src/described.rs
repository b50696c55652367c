//! The texts of a manifest that a driver tells of itself.

/// The manifest of a driver. `export!` implements this trait.
pub trait Described {
    /// The manifest's text.
    const MANIFEST: &'static str;
}

#[cfg(target_family = "wasm")]
pub(crate) fn describe<D: Described>()
-> crate::bindings::imports::ostler::driver::types::Description {
    use crate::bindings::imports::ostler::driver::types::Description;
    let text = |key| top_level(D::MANIFEST, key).to_owned();
    Description { name: text("name"), version: text("version"), summary: text("summary") }
}

/// A text at the top of the manifest, before its first table. The host has already checked the
/// manifest. So a driver does not need a TOML parser to read three values.
#[cfg(any(target_family = "wasm", test))]
fn top_level<'a>(manifest: &'a str, key: &str) -> &'a str {
    let lines = manifest.lines().take_while(|line| !line.trim_start().starts_with('['));
    let value = lines
        .filter_map(|line| line.split_once('='))
        .find(|(name, _)| name.trim() == key)
        .map(|(_, value)| value);
    value.and_then(|value| value.split('"').nth(1)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::top_level;

    #[test]
    fn the_manifest_answers_for_the_driver() {
        let text = "name = \"a\"  # why\nsummary=\"b = c\"\n[config.name]\nabout = \"x\"\nversion = \"9\"\n";
        assert_eq!(top_level(text, "name"), "a");
        assert_eq!(top_level(text, "summary"), "b = c");
        assert_eq!(top_level(text, "version"), "");
    }
}
