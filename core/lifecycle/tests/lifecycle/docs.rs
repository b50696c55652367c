//! `docs/lifecycle.md` is what the code says.

use expect_test::expect_file;

const INTRO: &str = "# The life of a VM

Written by `core/lifecycle` and compared by a test, so that a change of policy is a diff here. Rewrite it with
`UPDATE_EXPECT=1 cargo test -p ostler-lifecycle docs`.

A VM has one state. Those of *rest* last until somebody asks for something, the others until a step ends: then a row of the
outbox or a timer says what is waited for, and `ostler vm why` says it in words. An operation is a list of steps, fixed when
it begins. Where a table says `settle`, the state is the one that a fresh look finds; if the host cannot be asked, unknown.

";

#[test]
fn the_tables_and_the_diagram_are_those_of_the_code() {
    let text = format!(
        "{INTRO}{}\n## The states of rest and the ways between them\n\n{}",
        ostler_lifecycle::table(),
        ostler_lifecycle::diagram()
    );
    expect_file![concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/lifecycle.md")].assert_eq(&text);
}
