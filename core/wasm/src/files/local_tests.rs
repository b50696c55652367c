//! The file capability on this machine, against real folders, and against links that try to lead
//! out of them.

use super::super::part::copy;
use super::*;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

fn rel(path: &str) -> Way {
    Way::Free(path.parse().expect("valid path"))
}

struct Tree {
    dir: tempfile::TempDir,
    root: String,
}

impl Tree {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("dir");
        let root = dir.path().join("root");
        std::fs::create_dir(&root).expect("root");
        std::fs::write(dir.path().join("secret"), "secret").expect("secret");
        let root = root.to_str().expect("text").to_owned();
        Self { dir, root }
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        Path::new(&self.root).join(path)
    }

    fn link(&self, to: &str, name: &str) {
        symlink(to, self.path(name)).expect("link");
    }
}

fn go() -> CancellationToken {
    CancellationToken::new()
}

fn copied(tree: &Tree, from: &str, to: &str) -> Result<u64, FileError> {
    let progress: super::super::Progress = Arc::new(|_, _| {});
    copy(&tree.root, &rel(from), &tree.root, &rel(to), &progress, &go())
}

#[test]
fn links_cannot_lead_out() {
    let tree = Tree::new();
    tree.link("../secret", "up");
    tree.link(tree.dir.path().join("secret").to_str().expect("text"), "absolute");
    tree.link("..", "outside");
    tree.link("/proc/self/root", "magic");
    tree.link("loop", "loop");
    let outside = |answer: Result<(), FileError>| {
        assert!(matches!(answer, Err(FileError::Outside(_))), "{answer:?}")
    };
    for path in ["up", "absolute", "outside/secret", "magic/etc/passwd", "loop"] {
        outside(read(&tree.root, &rel(path)).map(drop));
        outside(stat(&tree.root, &rel(path)).map(drop));
        outside(check(&tree.root, &rel(path)));
        outside(checksum(&tree.root, &rel(path), &go()).map(drop));
        outside(copied(&tree, path, "stolen").map(drop));
    }
    outside(write(&tree.root, &rel("outside/new"), b"x"));
    outside(make_folder(&tree.root, &rel("outside/new")));
    outside(remove(&tree.root, &rel("outside/secret"), &go()));
    outside(rename(&tree.root, &rel("outside/secret"), &rel("mine")));
    outside(list(&tree.root, &rel("outside")).map(drop));
    // A write replaces a link and never goes through it. A removal removes the link.
    write(&tree.root, &rel("up"), b"mine").expect("written");
    remove(&tree.root, &rel("absolute"), &go()).expect("removed");
    remove(&tree.root, &rel("outside"), &go()).expect("removed");
    assert_eq!(std::fs::read_to_string(tree.dir.path().join("secret")).expect("there"), "secret");
    assert!(!tree.dir.path().join("new").exists() && !tree.path("stolen").exists());
}

#[test]
fn links_within_are_followed() {
    let tree = Tree::new();
    make_folder(&tree.root, &rel("a/b")).expect("made");
    make_folder(&tree.root, &rel("a/b")).expect("again");
    tree.link("a/b", "short");
    write(&tree.root, &rel("short/file"), b"data").expect("written");
    assert_eq!(read(&tree.root, &rel("a/b/file")).expect("read").as_deref(), Some(&b"data"[..]));
    check(&tree.root, &rel("short/new")).expect("may be made");
    assert!(matches!(check(&tree.root, &rel("nowhere/new")), Err(FileError::Absent(_))));
}

#[test]
fn a_tree_is_removed_without_following_links() {
    let tree = Tree::new();
    write(&tree.root, &rel("kept/file"), b"x").expect("written");
    write(&tree.root, &rel("vm/disks/a"), b"x").expect("written");
    tree.link("../../kept", "vm/disks/link");
    remove(&tree.root, &rel("vm"), &go()).expect("removed");
    remove(&tree.root, &rel("vm"), &go()).expect("absent is success");
    remove(&tree.root, &rel("no/such/thing"), &go()).expect("absent is success");
    assert_eq!(list(&tree.root, &rel("kept")).expect("listed"), ["file"]);
    assert_eq!(stat(&tree.root, &rel("vm")).expect("asked"), None);
}

#[test]
fn small_files_have_bounds() {
    let tree = Tree::new();
    std::fs::write(tree.path("big"), vec![0; SMALL_MAX + 1]).expect("big");
    assert!(matches!(read(&tree.root, &rel("big")), Err(FileError::TooMuch(_))));
    assert_eq!(read(&tree.root, &rel("none")).expect("asked"), None);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        tree.path("pipe"),
        FileType::Fifo,
        Mode::from_raw_mode(0o600),
        0,
    )
    .expect("pipe");
    assert!(matches!(read(&tree.root, &rel("pipe")), Err(FileError::WrongKind(_))));
    make_folder(&tree.root, &rel("dir")).expect("made");
    assert!(matches!(read(&tree.root, &rel("dir")), Err(FileError::WrongKind(_))));
    assert!(matches!(write(&tree.root, &rel("dir"), b"x"), Err(FileError::WrongKind(_))));
    assert!(matches!(list(&tree.root, &rel("gone")), Err(FileError::Absent(_))));
    assert_eq!(
        std::fs::read_dir(tree.path("dir")).expect("listed").count(),
        0,
        "no draft is left over"
    );
    std::fs::write(tree.path("dir/.a.ostler-part"), "").expect("a draft");
    assert_eq!(list(&tree.root, &rel("dir")).expect("drafts are not shown"), Vec::<String>::new());
    assert!(matches!(read("/no/such/root", &rel("x")), Err(FileError::NoDatastore(_))));
}

#[test]
fn a_copy_keeps_content_and_holes() {
    use std::os::unix::fs::{FileExt, MetadataExt};
    let tree = Tree::new();
    let file = File::create(tree.path("disk")).expect("made");
    file.set_len(64 << 20).expect("sized");
    file.write_all_at(b"here", 32 << 20).expect("written");
    assert_eq!(copied(&tree, "disk", "to/disk").expect("copied"), 64 << 20);
    assert_eq!(
        checksum(&tree.root, &rel("disk"), &go()),
        checksum(&tree.root, &rel("to/disk"), &go())
    );
    assert!(std::fs::metadata(tree.path("to/disk")).expect("there").blocks() * 512 < 1 << 20);
    assert_eq!(list(&tree.root, &rel("to")).expect("listed"), ["disk"]);
    // A file that a crash left behind is replaced; a file that another call is writing is not.
    std::fs::write(tree.path("to/.disk.ostler-part"), vec![1; 100]).expect("left over");
    copied(&tree, "disk", "to/disk").expect("copied");
    let held = super::super::part::Part::open(&tree.root, &rel("to/disk"))
        .map_err(|problem| problem.to_string())
        .expect("open");
    assert!(matches!(copied(&tree, "disk", "to/disk"), Err(FileError::Busy(_))));
    held.discard();
    let stopped = go();
    stopped.cancel();
    let progress: super::super::Progress = Arc::new(|_, _| {});
    let cancelled =
        copy(&tree.root, &rel("disk"), &tree.root, &rel("to/other"), &progress, &stopped);
    assert!(matches!(cancelled, Err(FileError::Cancelled) | Ok(_)));
}

#[test]
fn a_rename_replaces() {
    let tree = Tree::new();
    write(&tree.root, &rel("a"), b"new").expect("written");
    write(&tree.root, &rel("b/c"), b"old").expect("written");
    rename(&tree.root, &rel("a"), &rel("b/c")).expect("renamed");
    assert_eq!(read(&tree.root, &rel("b/c")).expect("read").as_deref(), Some(&b"new"[..]));
    assert!(matches!(rename(&tree.root, &rel("a"), &rel("d")), Err(FileError::Absent(_))));
    // Folders are renamed too, and so are links, even those that lead nowhere.
    rename(&tree.root, &rel("b"), &rel("e/f")).expect("renamed");
    tree.link("nowhere", "link");
    rename(&tree.root, &rel("link"), &rel("e/link")).expect("renamed");
    assert_eq!(list(&tree.root, &rel("e")).expect("listed"), ["f", "link"]);
}
