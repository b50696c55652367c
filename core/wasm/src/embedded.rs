//! A signature inside of the component that it covers, so that one file can be shipped.
//!
//! It is the content of the custom section `ostler:signature` of the component itself (not of a
//! module or component inside), which is its last section and ends with the file. It covers all
//! bytes before this section, from the first byte of the file to the last byte of the section
//! before. Each signature has exactly one encoding as a section.

use wasm_encoder::{CustomSection, Section};
use wasmparser::{Parser, Payload};

/// The name of the custom section.
const SECTION: &str = "ostler:signature";

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
            (Payload::CustomSection(section), None) if at_top && section.name() == SECTION => {
                found = Some(section.data());
            }
            (Payload::CustomSection(section), Some(_)) if section.name() == SECTION => {
                return Err(SplitProblem::Two);
            }
            (Payload::End(_), Some(_)) | (_, None) => {}
            (_, Some(_)) => return Err(SplitProblem::After),
        }
    }
    let Some(signature) = found else { return Ok(Split { component: file, signature: None }) };
    let component = file.strip_suffix(section(signature).as_slice());
    let component = component.ok_or(SplitProblem::Encoding)?;
    Ok(Split { component, signature: Some(signature) })
}

/// The file of a component with a signature in it. The component must have none.
#[must_use]
pub fn embed(component: &[u8], signature: &str) -> Vec<u8> {
    [component, &section(signature.as_bytes())].concat()
}

fn section(signature: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    CustomSection { name: SECTION.into(), data: signature.into() }.append_to(&mut bytes);
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
        let canonical = section(b"a");
        // The same length, written with one byte more than it needs.
        let mut padded = vec![canonical[0], canonical[1] | 0x80, 0];
        padded.extend(&canonical[2..]);
        let file = [component.as_slice(), &padded].concat();
        assert_eq!(split(&file), Err(SplitProblem::Encoding));
    }
}
