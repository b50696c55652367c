//! Command templates: what they accept, and that no value of a hole can become another argument.

use super::*;
use proptest::prelude::*;

fn once(argument: &str) -> Argument {
    Argument::Once(argument.to_owned())
}

fn template(argv: &[&str]) -> Template {
    let argv: Vec<Argument> = argv.iter().map(|argument| once(argument)).collect();
    Template::parse("run", "/usr/bin/tool", &argv).expect("valid template")
}

/// One group that is always there, one optional, one repeated.
fn grouped() -> Template {
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    let argv = [
        once("-m"),
        once("{m:int(1..9)}"),
        Argument::Optional(texts(&["-kernel", "{kernel:path}", "-append", "{line:text}"])),
        Argument::Repeated(texts(&["-nic", "{bridge:id},mac={mac:word}"])),
        once("-end"),
    ];
    Template::parse("start", "/usr/bin/tool", &argv).expect("valid template")
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
        ("text", vec!["a b", "root=/dev/vda  ro", "ä"], vec!["", "-a", "a\nb", "a\0", "a\u{9b}b"]),
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
fn groups_come_as_often_as_they_are_given() {
    let render = |values: &[(&str, &str)]| {
        grouped().render(&given(values)).map(|rendered| joined(&rendered).join(" "))
    };
    assert_eq!(render(&[("m", "1")]).as_deref(), Ok("-m 1 -end"));
    assert_eq!(
        render(&[
            ("m", "1"),
            ("line", "quiet ro"),
            ("kernel", "ds:k"),
            ("bridge", "br0"),
            ("mac", "00:01"),
            ("bridge", "br1"),
            ("mac", "00:02"),
        ])
        .as_deref(),
        Ok("-m 1 -kernel /srv/k -append quiet ro -nic br0,mac=00:01 -nic br1,mac=00:02 -end")
    );
    for (values, says) in [
        (vec![("m", "1"), ("kernel", "ds:k")], "\"line\" of command \"start\" is not given"),
        (vec![("m", "1"), ("bridge", "br0")], "\"mac\" of command \"start\" is not given"),
        (
            vec![("m", "1"), ("bridge", "br0"), ("bridge", "br1"), ("mac", "00:01")],
            "is given 1 times, less often than others of its group (2)",
        ),
        (
            vec![("m", "1"), ("kernel", "ds:k"), ("line", "a"), ("kernel", "ds:l"), ("line", "b")],
            "is given twice",
        ),
    ] {
        let problem = render(&values).expect_err(says);
        assert!(problem.contains(says), "{problem}");
    }
    let most = |count: usize| {
        let mut values = vec![("m", "1")];
        values.extend([("bridge", "br0"), ("mac", "00:01")].repeat(count));
        render(&values)
    };
    assert!(most(REPEATS_MAX).is_ok());
    assert!(most(REPEATS_MAX + 1).expect_err("too many").contains("at most 64"));
}

#[test]
fn how_long_it_may_run_does_not_make_it_another_command() {
    let (short, long) = (Some(Duration::from_secs(1)), Some(Duration::from_secs(9)));
    assert!(grouped().ended_after(short).runs_the_same(&grouped().ended_after(long)));
    assert!(!grouped().runs_the_same(&template(&["-m", "{m:int(1..9)}"])));
    let reach = Reach { reads: vec!["/etc/xen".to_owned()], ..Reach::default() };
    let reaching = grouped().reaching(reach).expect("a good path");
    assert!(!grouped().runs_the_same(&reaching));
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
        assert!(Template::parse("run", "/bin/x", &[once(argument)]).is_err(), "{argument:?}");
    }
    for program in ["x", "/", "/bin/../x", "/bin/a=b", "/bin/{a:id}", "", "/a\n"] {
        assert!(Template::parse("run", program, &[]).is_err(), "{program:?}");
    }
    assert!(Template::parse("run", "/bin/x", &[once("{a:id}"), once("{a:word}")]).is_err());
    let many = vec!["{a:id}".to_owned(); ARGV_MAX + 1];
    assert!(Template::parse("run", "/bin/x", &[Argument::Repeated(many)]).is_err());
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
        let _ = Template::parse("run", "/bin/x", &[Argument::Once(text)]);
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
        ("/usr/bin/printf", vec!["{text:text}"], true),
        // The base name alone does not make a program harmless: its folder counts too.
        ("/srv/datastore/cp", vec!["{from:path}", "{to:path}"], true),
        ("/usr/local/bin/head", vec!["{disk:path}"], true),
        ("/bin/cp", vec!["{from:path}", "{to:path}"], false),
    ] {
        let argv: Vec<Argument> = argv.into_iter().map(once).collect();
        let template = Template::parse("run", program, &argv).expect("valid");
        assert_eq!(template.interprets_files(), expected, "{template}");
    }
}
