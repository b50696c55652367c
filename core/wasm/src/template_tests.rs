//! Command templates: what they accept, and that no value of a hole can become another argument.

use super::*;
use proptest::prelude::*;

fn template(argv: &[&str]) -> Template {
    let argv: Vec<String> = argv.iter().map(|&argument| argument.to_owned()).collect();
    Template::parse("run", "/usr/bin/tool", &argv).expect("valid template")
}

fn given(values: &[(&str, &str)]) -> Vec<(String, String)> {
    values.iter().map(|&(hole, value)| (hole.to_owned(), value.to_owned())).collect()
}

fn joined(rendered: &Rendered) -> Vec<String> {
    let text = |part: &Part| match part {
        Part::Text(text) => text.clone(),
        Part::File(file) => format!("/srv/{}", file.path),
    };
    rendered.argv.iter().map(|parts| parts.iter().map(text).collect()).collect()
}

#[test]
fn holes_are_filled() {
    let template = template(&[
        "create",
        "-n",
        "{n:int(1..64)}",
        "--disk={disk:path}",
        "{{{vm:id}}}",
        "{mode:enum(a|b)}",
    ]);
    let rendered = template
        .render(&given(&[("n", "3"), ("disk", "ds:a/b.qcow2"), ("vm", "web-1"), ("mode", "b")]))
        .expect("rendered");
    assert_eq!(joined(&rendered), ["create", "-n", "3", "--disk=/srv/a/b.qcow2", "{web-1}", "b"]);
}

#[test]
fn values_are_checked() {
    for (kind, good, bad) in [
        ("id", vec!["a", "0", "a.b-c_d"], vec!["", "-a", ".a", "a b", "a/b", "a\n", "ä"]),
        ("word", vec!["a=b", "+x", "$(id)"], vec!["", "-a", "a b", "a\tb", "a\0", "ä"]),
        (
            "int(-5..64)",
            vec!["-5", "0", "64"],
            vec!["", "65", "-6", "007", "+1", " 1", "1 ", "0x1", "-0", "99999999999999999999"],
        ),
        ("enum(a|b)", vec!["a", "b"], vec!["", "c", "a|b"]),
        (
            "path",
            vec!["ds:a", "ds:a/b c"],
            vec!["", "a", "ds:/a", "ds:../a", "ds:a/../b", "/etc/passwd", "-x:a", "ds:a\nb"],
        ),
    ] {
        let template = template(&[&format!("{{x:{kind}}}")]);
        for value in good {
            assert!(template.render(&given(&[("x", value)])).is_ok(), "{kind} {value:?}");
        }
        for value in bad {
            assert!(template.render(&given(&[("x", value)])).is_err(), "{kind} {value:?}");
        }
    }
}

#[test]
fn each_hole_has_one_value() {
    let template = template(&["{a:id}", "{b:id}", "{a:id}"]);
    assert!(template.render(&given(&[("a", "1")])).expect_err("missing").contains("\"b\""));
    assert!(
        template
            .render(&given(&[("a", "1"), ("b", "2"), ("a", "3")]))
            .expect_err("twice")
            .contains("twice")
    );
    assert!(
        template
            .render(&given(&[("a", "1"), ("b", "2"), ("c", "3")]))
            .expect_err("unknown")
            .contains("\"c\"")
    );
}

#[test]
fn bad_templates_are_refused() {
    for argument in [
        "{a}",
        "{a:id",
        "a}",
        "{A:id}",
        "{a:int(5..1)}",
        "{a:int(1-2)}",
        "{a:enum()}",
        "{a:enum(-f)}",
        "{:id}",
        "a\nb",
    ] {
        assert!(Template::parse("run", "/bin/x", &[argument.to_owned()]).is_err(), "{argument:?}");
    }
    for program in ["x", "/", "/bin/../x", "/bin/a=b", "/bin/{a:id}", "", "/a\n"] {
        assert!(Template::parse("run", program, &[]).is_err(), "{program:?}");
    }
    assert!(
        Template::parse("run", "/bin/x", &["{a:id}".to_owned(), "{a:word}".to_owned()]).is_err()
    );
}

proptest! {
    #[test]
    fn no_value_adds_an_argument_or_an_option(a in any::<String>(), b in "[ -~]{0,20}", c in any::<i64>(), d in "\\PC{0,12}:\\PC{0,20}") {
        let template = template(&["{a:word}", "{b:id}", "x{c:int(0..9000)}", "{d:path}", "{a:word}{b:id}"]);
        if let Ok(rendered) = template.render(&given(&[("a", &a), ("b", &b), ("c", &c.to_string()), ("d", &d)])) {
            let argv = joined(&rendered);
            prop_assert_eq!(argv.len(), 5);
            for argument in &argv {
                prop_assert!(!argument.starts_with('-'));
                prop_assert!(!argument.chars().any(char::is_control));
                prop_assert!(!argument.split('/').any(|part| part == ".."));
            }
        }
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in any::<String>()) {
        let _ = Template::parse("run", "/bin/x", &[text]);
    }
}

#[test]
fn a_program_that_does_what_a_file_says_is_known() {
    for (program, argv, expected) in [
        ("/usr/bin/qemu-img", vec!["convert", "{source:path}", "{target:path}"], true),
        ("/usr/sbin/xl", vec!["create", "{config:path}"], true),
        ("/usr/sbin/xl", vec!["create", "{config:word}"], true),
        ("/opt/own-tool", vec!["{x:path}"], true),
        ("/usr/sbin/xl", vec!["destroy", "{domain:id}"], false),
        ("/usr/bin/qemu-img", vec!["--version"], false),
        ("/usr/bin/head", vec!["-c", "65536", "{disk:path}"], false),
        ("/sbin/mkswap", vec!["{target:path}"], false),
        // A word may be any absolute path.
        ("/usr/bin/cp", vec!["{from:path}", "{to:word}"], true),
        ("/bin/rm", vec!["{what:word}"], true),
        ("/usr/bin/printf", vec!["{text:word}"], true),
        // The base name alone does not make a program harmless: its folder counts too.
        ("/srv/datastore/cp", vec!["{from:path}", "{to:path}"], true),
        ("/usr/local/bin/head", vec!["{disk:path}"], true),
        ("/bin/cp", vec!["{from:path}", "{to:path}"], false),
    ] {
        let argv: Vec<String> = argv.into_iter().map(str::to_owned).collect();
        let template = Template::parse("run", program, &argv).expect("valid");
        assert_eq!(template.interprets_files(), expected, "{template}");
    }
}
