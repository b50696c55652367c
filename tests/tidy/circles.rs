//! Circles of imports between the modules of one crate: those that are there, against the table of
//! those that are allowed.

use super::{CIRCLES, sources};
use std::collections::{BTreeMap, BTreeSet};

/// The modules of the same crate that a source names after `crate::`. Comments and tests are left
/// out.
fn imports(text: &str) -> BTreeSet<String> {
    let code: String = text
        .lines()
        .take_while(|line| *line != "#[cfg(test)]")
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    let word = |text: &str| {
        text.chars()
            .take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_')
            .collect::<String>()
    };
    let mut found = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let Some(group) = rest.strip_prefix('{') else {
            found.insert(word(rest));
            continue;
        };
        let mut depth = 1;
        found.insert(word(group.trim_start()));
        for (at, letter) in group.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => drop(found.insert(word(group[at + 1..].trim_start()))),
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    found
}

/// For each crate, the modules at its top level, and which of them each one imports.
fn modules() -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let mut crates: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for (path, text) in sources() {
        let path = path.display().to_string();
        let Some((name, below)) = path.split_once("/src/").filter(|_| !path.ends_with("tests.rs"))
        else {
            continue;
        };
        let module = below.split('/').next().expect("not empty").trim_end_matches(".rs");
        if !["lib", "main"].contains(&module) {
            crates
                .entry(name.to_owned())
                .or_default()
                .entry(module.to_owned())
                .or_default()
                .extend(imports(&text));
        }
    }
    crates
}

/// The groups of modules that reach each other.
fn circles(of: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<BTreeSet<String>> {
    let reached = |from: &String| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(module) = next.pop() {
            for to in of
                .get(module)
                .into_iter()
                .flatten()
                .filter(|to| of.contains_key(*to) && *to != module)
            {
                if seen.insert(to.clone()) {
                    next.push(to);
                }
            }
        }
        seen
    };
    let all: BTreeMap<&String, BTreeSet<String>> =
        of.keys().map(|module| (module, reached(module))).collect();
    let circle = |module: &&String| -> BTreeSet<String> {
        all[module].iter().filter(|other| all[other].contains(*module)).cloned().collect()
    };
    all.keys().map(circle).filter(|circle| !circle.is_empty()).collect()
}

/// The circles that have no row in [`CIRCLES`].
fn unknown_circles(crates: &BTreeMap<String, BTreeMap<String, BTreeSet<String>>>) -> Vec<String> {
    let mut unknown = Vec::new();
    for (name, modules) in crates {
        for circle in circles(modules) {
            let named = |(of, members, _): &(&str, &[&str], &str)| {
                of == name && circle.iter().all(|module| members.contains(&module.as_str()))
            };
            if !CIRCLES.iter().any(named) {
                unknown.push(format!("{name}: {circle:?}"));
            }
        }
    }
    unknown
}

#[test]
fn modules_import_each_other_in_no_other_circle_than_those_that_are_named() {
    let crates = modules();
    assert!(crates.len() > 10, "the sources were not found: {:?}", crates.keys());
    let unknown = unknown_circles(&crates);
    assert!(unknown.is_empty(), "cut them, or name them in CIRCLES with a reason: {unknown:#?}");
    let gone: Vec<_> = CIRCLES
        .iter()
        .filter(|(name, members, _)| {
            let is = crates.get(*name).map(circles).unwrap_or_default();
            !is.iter().any(|circle| members.iter().all(|member| circle.contains(*member)))
        })
        .collect();
    assert!(gone.is_empty(), "these are no circles any more, or smaller: {gone:#?}");
}

#[test]
fn a_new_circle_is_found() {
    let mut crates = modules();
    assert!(crates["core/store"]["store"].contains("writer"), "an import that is there is seen");
    crates
        .get_mut("core/store")
        .expect("a crate")
        .get_mut("row")
        .expect("a module")
        .insert("store".to_owned());
    assert_eq!(unknown_circles(&crates).len(), 1, "a row that imports the store makes a circle");
    let names = imports(
        "use crate::{one::{deep, er}, two};\n// crate::not\nlet x = \
         crate::three::four();\n#[cfg(test)]\nuse crate::tests;",
    );
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["one", "three", "two"]);
}
