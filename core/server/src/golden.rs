//! The OpenAPI document is a golden file: what clients see does not change by accident.

use crate::routes::flowing;
use std::path::PathBuf;

#[test]
fn the_document_is_as_it_was_agreed() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let now = serde_json::to_string_pretty(&crate::openapi()).expect("the document is JSON");
    let now = flowing(&now) + "\n";
    if std::env::var_os("UPDATE_EXPECT").is_some_and(|yes| yes == "1") {
        std::fs::write(&path, &now).expect("docs/openapi.json can be written");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let line =
        now.lines().zip(kept.lines()).position(|(now, kept)| now != kept).map_or(0, |at| at + 1);
    assert!(
        now == kept,
        "docs/openapi.json differs from line {line} on; if that is meant: UPDATE_EXPECT=1 cargo \
         test -p ostler-server"
    );
}

#[test]
fn a_paragraph_of_a_docstring_is_one_line() {
    let of = |text: &str| {
        let json = serde_json::to_string(text).expect("a string");
        serde_json::from_str::<String>(&flowing(&json)).expect("still a string")
    };
    assert_eq!(of("one\ntwo \"three\"\nfour"), "one two \"three\" four");
    assert_eq!(of("one\n\ntwo\nthree"), "one\n\ntwo three");
    assert_eq!(of("a list:\n- one\n- two\n  goes on"), "a list:\n- one\n- two   goes on");
    assert_eq!(of("C:\\new \\\n end\\"), "C:\\new \\  end\\");
}
