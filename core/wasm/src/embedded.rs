//! Custom sections that are put into a component after it was built: its manifest, if the tool that
//! built it has not put one in, and a signature of all that stands before.
//!
//! The signature is inside of the component that it covers, so that one file can be shipped. It is the content of the custom section `ostler:signature` of the component itself (not of a
//! module or component inside), which is its last section and ends with the file. It covers all
//! bytes before this section, from the first byte of the file to the last byte of the section
//! before. Each signature has exactly one encoding as a section.

use crate::manifest::SECTION as MANIFEST;
use wasm_encoder::{CustomSection, Section};
use wasmparser::{Parser, Payload};

/// The name of the custom section that holds the signature.
const SIGNATURE: &str = "ostler:signature";

/// A component's file, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split<'a> {
    /// The component: the whole file if there is no signature in it.
    pub component: &'a [u8],
    /// The content of the signature's section.
    pub signature: Option<&'a [u8]>,
}

/// Why a file cannot be taken apart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SplitProblem {
    /// Not WebAssembly, or a damaged file.
    #[error("{0}")]
    NotWasm(String),
    /// It has several signatures.
    #[error("there are two signatures in the file")]
    Two,
    /// Something that no signature covers follows the signature.
    #[error("something follows the signature that is in the file")]
    After,
    /// The section has another encoding than the one that [`embed`] makes.
    #[error("the section of the signature is not encoded as it must be")]
    Encoding,
}

/// Takes a component's file apart.
///
/// # Errors
/// The file is not WebAssembly, it has two signatures, or its signature is not at its end.
pub fn split(file: &[u8]) -> Result<Split<'_>, SplitProblem> {
    let (mut depth, mut found) = (0_usize, None);
    for payload in Parser::new(0).parse_all(file) {
        let payload = payload.map_err(|error| SplitProblem::NotWasm(error.to_string()))?;
        let at_top = depth == 0;
        match &payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
        match (&payload, &found) {
            (Payload::CustomSection(section), None) if at_top && section.name() == SIGNATURE => {
                found = Some(section.data());
            }
            (Payload::CustomSection(section), Some(_)) if section.name() == SIGNATURE => {
                return Err(SplitProblem::Two);
            }
            (Payload::End(_), Some(_)) | (_, None) => {}
            (_, Some(_)) => return Err(SplitProblem::After),
        }
    }
    let Some(signature) = found else { return Ok(Split { component: file, signature: None }) };
    let component = file.strip_suffix(section(SIGNATURE, signature).as_slice());
    let component = component.ok_or(SplitProblem::Encoding)?;
    Ok(Split { component, signature: Some(signature) })
}

/// The file of a component with a signature in it. The component must have none.
#[must_use]
pub fn embed(component: &[u8], signature: &str) -> Vec<u8> {
    [component, &section(SIGNATURE, signature.as_bytes())].concat()
}

/// The file of a component with a manifest in it. The component must have no signature in it: the
/// manifest would follow it. [`crate::inspect()`] tells whether the result is a driver.
#[must_use]
pub fn with_manifest(component: &[u8], manifest: &[u8]) -> Vec<u8> {
    [component, &section(MANIFEST, manifest)].concat()
}

fn section(name: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    CustomSection { name: name.into(), data: data.into() }.append_to(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component() -> Vec<u8> {
        wat::parse_str("(component (core module $m) (component (core module)))").expect("text")
    }

    #[test]
    fn what_is_put_in_is_found_and_the_component_is_as_before() {
        let component = component();
        assert_eq!(split(&component), Ok(Split { component: &component, signature: None }));
        let file = embed(&component, "a signature");
        let taken = Split { component: &component, signature: Some(b"a signature") };
        assert_eq!(split(&file), Ok(taken));
    }

    #[test]
    fn nothing_may_follow_it_and_there_is_one() {
        let twice = embed(&embed(&component(), "a"), "b");
        assert_eq!(split(&twice), Err(SplitProblem::Two));
        let mut file = embed(&component(), "a");
        CustomSection { name: "note".into(), data: b"x".as_slice().into() }.append_to(&mut file);
        assert_eq!(split(&file), Err(SplitProblem::After));
        let mut file = embed(&component(), "a");
        // An empty section of types.
        file.extend([7, 1, 0]);
        assert_eq!(split(&file), Err(SplitProblem::After));
        let mut file = embed(&component(), "a");
        file.push(0);
        assert!(matches!(split(&file), Err(SplitProblem::NotWasm(_))));
    }

    #[test]
    fn a_manifest_is_put_in_before_the_signature() {
        let component = component();
        let file = with_manifest(&component, b"name = \"x\"");
        assert!(file.starts_with(&component));
        let sections: Vec<_> = Parser::new(0)
            .parse_all(&file)
            .filter_map(|payload| match payload.expect("it is well formed") {
                Payload::CustomSection(section) => Some((section.name(), section.data())),
                _ => None,
            })
            .collect();
        assert_eq!(sections.last(), Some(&(MANIFEST, b"name = \"x\"".as_slice())));
        let signed = embed(&file, "a signature");
        assert_eq!(split(&signed).map(|split| split.component), Ok(file.as_slice()));
        assert_eq!(split(&with_manifest(&signed, b"x")), Err(SplitProblem::After));
    }

    #[test]
    fn one_that_is_further_inside_belongs_to_what_is_covered() {
        let inner = embed(&component(), "of the part");
        let mut outer = component();
        outer.push(4);
        outer.push(u8::try_from(inner.len()).expect("short"));
        outer.extend(&inner);
        assert_eq!(split(&outer), Ok(Split { component: &outer, signature: None }));
        let file = embed(&outer, "of the whole");
        assert_eq!(split(&file).map(|split| split.component), Ok(outer.as_slice()));
    }

    #[test]
    fn a_section_has_one_encoding() {
        let component = component();
        let canonical = section(SIGNATURE, b"a");
        // The same length, written with one byte more than it needs.
        let mut padded = vec![canonical[0], canonical[1] | 0x80, 0];
        padded.extend(&canonical[2..]);
        let file = [component.as_slice(), &padded].concat();
        assert_eq!(split(&file), Err(SplitProblem::Encoding));
    }
}
