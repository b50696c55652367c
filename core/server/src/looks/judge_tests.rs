//! Every way in which a file or a root can be wrong, and the answer for it.

use super::*;

fn file() -> FilePath {
    "images:x.img".parse().expect("a path")
}

fn whole() -> FileLook {
    FileLook {
        kind: FileKind::File,
        size: 9,
        format: "raw".to_owned(),
        virtual_size: 512,
        names: Vec::new(),
        encrypted: false,
        damage: None,
    }
}

fn seen(at: &str, found: Result<FileLook, Missed>) -> Seen {
    Seen { at: at.to_owned(), found }
}

fn blind(late: bool) -> Result<FileLook, Missed> {
    Err(Missed::Blind { why: "no answer".to_owned(), late })
}

fn judged(found: Result<FileLook, Missed>) -> Result<Fit, (String, String)> {
    told(image(&file(), DiskFormat::Raw, true, &[seen("front-end", found)]))
}

fn told<T>(answer: Handled<T>) -> Result<T, (String, String)> {
    answer.map_err(|error| (error.0.code, error.0.hint.unwrap_or_default()))
}

#[test]
fn a_sound_file_is_fit_and_its_size_is_learned() {
    assert_eq!(
        judged(Ok(whole())),
        Ok(Fit { virtual_size: Some(512), stands_alone: true, notes: Vec::new() })
    );
}

#[test]
fn what_is_wrong_with_a_file_has_a_code_of_its_own() {
    let with = |change: fn(&mut FileLook)| {
        let mut found = whole();
        change(&mut found);
        judged(Ok(found)).expect_err("refused")
    };
    assert_eq!(
        with(|found| found.format = "qcow2".to_owned()),
        ("format-mismatch".to_owned(), "add --format qcow2".to_owned())
    );
    assert_eq!(
        with(|found| found.format = "xz".to_owned()),
        ("format-mismatch".to_owned(), "unpack it first".to_owned())
    );
    assert!(with(|found| found.format = "vmdk".to_owned()).1.contains("qemu-img convert"));
    for (change, code) in [
        ((|found| found.kind = FileKind::Directory) as fn(&mut FileLook), "not-a-file"),
        (|found| found.kind = FileKind::Other, "not-a-file"),
        (|found| found.size = 0, "empty-file"),
        (|found| found.names = vec!["/etc/shadow".to_owned()], "names-other-file"),
        (|found| found.encrypted = true, "encrypted"),
        (|found| found.damage = Some("it is cut off".to_owned()), "damaged"),
    ] {
        assert_eq!(with(change).0, code);
    }
    assert_eq!(judged(Err(Missed::Gone)).expect_err("refused").0, "no-such-file");
    assert_eq!(judged(Err(Missed::NoRoot)).expect_err("refused").0, "no-such-directory");
    assert_eq!(
        judged(Err(Missed::Refused("it leads out".to_owned()))).expect_err("refused").0,
        "unusable"
    );
    assert_eq!(judged(blind(true)).expect_err("refused").0, "timeout");
}

#[test]
fn what_cannot_be_known_is_told_and_not_refused() {
    let notes = |shared, seen: &[Seen]| {
        told(image(&file(), DiskFormat::Raw, shared, seen)).map(|fit| fit.notes)
    };
    let down = "not looked at on h1: no answer".to_owned();
    assert_eq!(notes(false, &[seen("front-end", blind(false))]).map(|notes| notes.len()), Ok(1));
    // A host that is down may have a file that the front end lacks, unless the datastore is shared.
    let lacks = [seen("front-end", Err(Missed::Gone)), seen("h1", blind(false))];
    assert_eq!(notes(false, &lacks), Ok(vec![down.clone()]));
    assert_eq!(notes(true, &lacks).expect_err("refused").0, "no-such-file");
    assert_eq!(
        notes(true, &[seen("front-end", Ok(whole())), seen("h1", blind(true))]),
        Ok(vec![down])
    );
    let one_lacks = [
        seen("front-end", Ok(whole())),
        seen("h1", Err(Missed::Gone)),
        seen("h2", Err(Missed::NoRoot)),
    ];
    let notes = notes(false, &one_lacks).expect("fit");
    assert!(
        notes[0].contains("not there on h1") && notes[1].contains("h2 does not see"),
        "{notes:?}"
    );
}

#[test]
fn one_host_with_another_file_spoils_it() {
    let other = FileLook { names: vec!["/etc/shadow".to_owned()], ..whole() };
    let both = [seen("front-end", Ok(whole())), seen("h1", Ok(other))];
    assert_eq!(
        told(image(&file(), DiskFormat::Raw, false, &both)).expect_err("refused").0,
        "names-other-file"
    );
}

#[test]
fn a_driver_that_cannot_look_is_told_of() {
    let fit =
        judged(Ok(FileLook { format: String::new(), virtual_size: 0, ..whole() })).expect("fit");
    assert_eq!((fit.virtual_size, fit.notes.len()), (None, 1));
}

#[test]
fn a_file_stands_alone_only_where_somebody_looked_into_it() {
    let alone = |shared, seen: &[Seen]| {
        told(image(&file(), DiskFormat::Raw, shared, seen)).expect("fit").stands_alone
    };
    let outside = || Ok(FileLook { format: String::new(), virtual_size: 0, ..whole() });
    let front = |found| seen("front-end", found);
    assert!(alone(false, &[front(Ok(whole()))]));
    assert!(!alone(false, &[front(outside())]), "only its outside was seen");
    assert!(!alone(false, &[front(Ok(whole())), seen("h1", outside())]));
    assert!(
        !alone(false, &[front(Ok(whole())), seen("h1", blind(false))]),
        "it may be another file there"
    );
    assert!(alone(true, &[front(Ok(whole())), seen("h1", blind(false))]));
    assert!(alone(
        false,
        &[front(Ok(whole())), seen("h1", Err(Missed::Gone)), seen("h2", Err(Missed::NoRoot))]
    ));
    assert!(!alone(false, &[front(blind(false))]), "nobody looked");
}

#[test]
fn a_root_that_nobody_sees_is_refused() {
    let all = |seen: &[Seen]| told(root("/srv/x", seen));
    assert_eq!(
        all(&[seen("front-end", Err(Missed::NoRoot))]).expect_err("refused").0,
        "no-such-directory"
    );
    assert_eq!(all(&[seen("front-end", Err(Missed::Gone))]), Ok(Vec::new()));
    let notes = all(&[seen("front-end", Err(Missed::NoRoot)), seen("h1", blind(false))])
        .expect("not known");
    assert_eq!(notes.len(), 2);
    let notes = all(&[seen("front-end", Err(Missed::Gone)), seen("h1", Err(Missed::NoRoot))])
        .expect("one sees it");
    assert_eq!(notes, ["h1 does not see it: there is no directory /srv/x"]);
}
