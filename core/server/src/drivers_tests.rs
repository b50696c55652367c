//! Which component may take the name of another, and which sockets are granted.

use super::*;
use ostler_wasm::Manifest;

fn file(kinds: &[&'static str]) -> Inspection {
    let manifest =
        "name = \"x\"\nversion = \"1.0.0\"\nsummary = \"s\"\nlicence = \"l\"\nauthors = [\"a\"]\n";
    Inspection {
        manifest: Manifest::parse(manifest.as_bytes()).expect("a manifest"),
        digest: "d".to_owned(),
        size: 1,
        contract: "0.1.0".to_owned(),
        kinds: kinds.to_vec(),
        abilities: Vec::new(),
        imports: Vec::new(),
        exports: Vec::new(),
    }
}

fn row(digest: &str, added: u64) -> DriverRow {
    DriverRow {
        name: "x".parse().expect("a name"),
        file: format!("/x-{digest}.wasm"),
        digest: digest.to_owned(),
        grants: BTreeMap::new(),
        config: BTreeMap::new(),
        enabled: true,
        added: ostler_model::Timestamp(added),
        on_trial: false,
        earlier: Vec::new(),
    }
}

fn loaded(kinds: &[&'static str]) -> Option<(DriverInfo, Vec<&'static str>)> {
    let info = DriverInfo {
        name: "x".parse().expect("a name"),
        version: String::new(),
        description: String::new(),
        origin: DriverOrigin::BuiltIn,
        abilities: Vec::new(),
        settings: None,
    };
    Some((info, kinds.to_vec()))
}

#[test]
fn a_name_in_use_is_given_away_only_when_told_so_and_never_to_another_kind() {
    let (new, old, both) = (row("b", 2), row("a", 1), ["hypervisor", "transfer"]);
    assert!(may_enter(&new, &file(&both), None, None, false).is_ok(), "nobody has it");
    let again = DriverRow { added: ostler_model::Timestamp(9), ..old.clone() };
    assert!(
        may_enter(&again, &file(&both), Some(&old), loaded(&both), false).is_ok(),
        "the same again"
    );
    let other = |replace| may_enter(&new, &file(&both), Some(&old), loaded(&both), replace);
    assert!(matches!(other(false), Err(DriverProblem::Exists(_))));
    assert!(other(true).is_ok());
    // A driver of the plugin directory has no row.
    assert!(matches!(
        may_enter(&new, &file(&both), None, loaded(&both), false),
        Err(DriverProblem::Exists(_))
    ));
    // A driver whose file could not be loaded has a row and is not in the registry.
    assert!(matches!(
        may_enter(&new, &file(&both), Some(&old), None, false),
        Err(DriverProblem::Exists(_))
    ));
    for replace in [false, true] {
        let less = may_enter(&new, &file(&["transfer"]), Some(&old), loaded(&both), replace);
        assert!(matches!(less, Err(DriverProblem::OtherKind { .. })));
    }
    assert!(
        may_enter(&new, &file(&both), Some(&old), loaded(&["transfer"]), true).is_ok(),
        "it does more than the old one"
    );
}

#[test]
fn a_socket_is_granted_by_its_name_and_one_that_is_not_asked_for_is_refused() {
    let text = "name = \"x\"\nversion = \"1\"\nsummary = \"s\"\n\
        [[capability]]\nname = \"socket\"\nwhy = \"w\"\n\
        [[socket]]\nname = \"qmp\"\npath = \"{file:path}\"\n\
        [[socket]]\nname = \"libvirt\"\npath = \"/run/libvirt/sock\"\n";
    let manifest = Manifest::parse(text.as_bytes()).expect("a manifest");
    let words = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        grants::granted(&manifest, &words)
            .map(|granted| granted.get("socket").map(|all| all.join(" ")))
    };
    assert_eq!(words(&["socket:qmp"]).expect("asked for").as_deref(), Some("qmp"));
    for all in ["socket", "all"] {
        assert_eq!(words(&[all]).expect("asked for").as_deref(), Some("qmp libvirt"));
    }
    assert!(words(&["socket:docker"]).is_err() && words(&["exec:qmp"]).is_err());
}
