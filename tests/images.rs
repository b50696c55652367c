//! Images and datastores are checked before they are used: with a real daemon, the real transfer
//! component, and real files of `qemu-img`.

use ostler_api::{
    ActionBody, ActionReply, ClientError, CreateVm, DiskSnapshotBody, NewDatastore, NewImage,
    Problem, Sent,
};
use ostler_tests::daemon::{Daemon, datastores, datastores_as, is_built, poll, sim_host};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The content of a host's file that no guest may read.
const SECRET: &[u8] = b"OSTLER-MARK of the host";

fn tool(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().expect(program);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn qemu_img(arguments: &[&str]) {
    tool("qemu-img", arguments);
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

/// Makes images that name a file outside of their datastore: as backing file, through `json:`,
/// through a chain, and as data file.
fn leading_out(dir: &Path) -> Vec<&'static str> {
    let (images, secret) = (dir.join("images"), dir.join("secret.raw"));
    std::fs::write(&secret, SECRET).expect("written");
    std::fs::OpenOptions::new()
        .write(true)
        .open(&secret)
        .and_then(|file| file.set_len(1 << 20))
        .expect("longer");
    let at = |name: &str| text(&images.join(name)).to_owned();
    qemu_img(&["create", "-q", "-f", "qcow2", "-b", text(&secret), "-F", "raw", &at("back.qcow2")]);
    let json = format!(
        r#"json:{{"driver":"raw","file":{{"driver":"file","filename":{:?}}}}}"#,
        text(&secret)
    );
    qemu_img(&["create", "-q", "-f", "qcow2", "-b", &json, "-F", "raw", &at("json.qcow2")]);
    qemu_img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-b",
        &at("back.qcow2"),
        "-F",
        "qcow2",
        &at("chain.qcow2"),
    ]);
    let option = format!("data_file={},data_file_raw=on", text(&dir.join("data.raw")));
    qemu_img(&["create", "-q", "-f", "qcow2", "-o", &option, &at("data.qcow2"), "1M"]);
    vec!["back.qcow2", "json.qcow2", "chain.qcow2", "data.qcow2"]
}

async fn refused(daemon: &Daemon, name: &str, path: &str, format: Option<&str>) -> Problem {
    let new = NewImage {
        name: name.to_owned(),
        path: format!("images:{path}"),
        format: format.map(str::to_owned),
    };
    match daemon.client().add_image(&new).await {
        Err(ClientError::Problem(problem)) => *problem,
        other => panic!("{path} was to be refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_names_another_file_is_refused_and_nothing_of_it_is_read() {
    if !is_built() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let daemon = Daemon::start(dir.path(), &[]);
    datastores(daemon.client(), dir.path()).await;
    sim_host(daemon.client(), "h1", &[]).await;
    for file in leading_out(dir.path()) {
        let problem = refused(&daemon, "leak", file, None).await;
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (422, "names-other-file"),
            "{problem:?}"
        );
        assert!(problem.detail.contains(file) && problem.hint.is_some(), "{problem:?}");
    }
    assert!(daemon.client().images().await.expect("a list").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_changed_after_it_was_registered_is_refused_before_it_is_used() {
    if !is_built() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let daemon = Daemon::start(dir.path(), &[]);
    datastores_as(daemon.client(), dir.path(), true).await;
    sim_host(daemon.client(), "h1", &[]).await;
    let image = dir.path().join("images/good.qcow2");
    for (at, file) in leading_out(dir.path()).into_iter().enumerate() {
        qemu_img(&["create", "-q", "-f", "qcow2", text(&image), "1M"]);
        let name = format!("image{at}");
        ostler_tests::daemon::image(daemon.client(), &name, "images:good.qcow2").await;
        std::fs::copy(dir.path().join("images").join(file), &image).expect("replaced");
        for format in ["qcow2", "raw"] {
            let spec = format!(
                "name = \"v{at}\"\nmemory = 64\n[[disks]]\nname = \"vda\"\nimage = \"{name}\"\nformat = \"{format}\"\n[patience]\ntransfer = \"20s\""
            );
            let vm = ostler_tests::daemon::create(daemon.client(), &spec, false).await;
            let why = poll("the VM to fail", Duration::from_secs(60), async || {
                let seen = daemon.client().vm(&vm).await.map_err(|error| error.to_string())?;
                if seen.state == "failed" {
                    Ok(format!("{seen:?}"))
                } else {
                    Err(seen.state.to_string())
                }
            })
            .await;
            assert!(
                why.contains("names-other-file") || why.contains("stands on another file"),
                "{file} as {format}: {why}"
            );
        }
    }
    let found = tool_output("grep", &["-rl", "OSTLER-MARK", text(&dir.path().join("system"))]);
    assert_eq!(found, "", "the host's file was read into a disk");
}

/// The only file below a folder whose name begins with `name`.
fn found_below(folder: &Path, name: &str) -> std::path::PathBuf {
    let found = tool_output("find", &[text(folder), "-type", "f", "-name", &format!("{name}*")]);
    assert_eq!(found.lines().count(), 1, "{found}");
    found.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_made_of_a_disk_on_its_base_and_of_none_that_names_another_file() {
    if !is_built() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let daemon = Daemon::start(dir.path(), &[]);
    let client = daemon.client();
    datastores_as(client, dir.path(), true).await;
    sim_host(client, "h1", &[]).await;
    qemu_img(&["create", "-q", "-f", "qcow2", text(&dir.path().join("images/good.qcow2")), "1M"]);
    ostler_tests::daemon::image(client, "good", "images:good.qcow2").await;
    let sent = || Sent { wait: Some(Duration::from_secs(120)), ..Sent::default() };
    let outcome = |reply: ActionReply| format!("{:?}", reply.operation);
    for (at, other) in
        std::iter::once(None).chain(leading_out(dir.path()).into_iter().map(Some)).enumerate()
    {
        let name = format!("vd{}", (b'a' + u8::try_from(at).expect("few")) as char);
        let spec = format!(
            "name = \"v{at}\"\nmemory = 64\n[[disks]]\nname = \"{name}\"\nimage = \"good\"\nformat = \"qcow2\"\n[patience]\ntransfer = \"20s\""
        );
        let vm = ostler_tests::daemon::create(client, &spec, false).await;
        ostler_tests::daemon::in_state(client, &vm, "running", Duration::from_secs(60)).await;
        if let Some(other) = other {
            let disk = found_below(&dir.path().join("system"), &name);
            std::fs::copy(dir.path().join("images").join(other), disk).expect("replaced");
        }
        let body = |image: &str| DiskSnapshotBody {
            disk: name.clone(),
            image: format!("{image}{at}"),
            datastore: None,
        };
        let live =
            client.act(&vm, "disk-snapshot-live", &body("live"), &sent()).await.expect("asked");
        client.act(&vm, "disk-snapshot", &body("later"), &sent()).await.expect("asked");
        let later =
            client.act(&vm, "shutdown-hard", &ActionBody::default(), &sent()).await.expect("asked");
        for (how, ended) in [("live", outcome(live)), ("later", outcome(later))] {
            match other {
                None => assert!(ended.contains("succeeded"), "{how}: {ended}"),
                Some(other) => {
                    assert!(
                        ended.contains("names-other-file")
                            || ended.contains("names another file")
                            // The host refuses the other file before the driver has read it.
                            || ended.contains("not-of-this-call"),
                        "{how} of {other}: {ended}"
                    );
                }
            }
        }
    }
    let found = tool_output("grep", &["-rl", "OSTLER-MARK", text(&dir.path().join("images"))]);
    assert_eq!(found, "", "the host's file was read into an image");
}

fn tool_output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect(program);
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Makes an encrypted image. `qemu-img` measures first how fast the key can be derived, and gives up
/// ("Unable to get accurate CPU usage") if its clock has not moved meanwhile, which happens by
/// chance.
fn encrypted(arguments: &[&str]) {
    let made = || Command::new("qemu-img").args(arguments).output().expect("qemu-img");
    let by_chance = |output: &std::process::Output| {
        String::from_utf8_lossy(&output.stderr).contains("accurate CPU usage")
    };
    let output = (0..20).map(|_| made()).find(|output| !by_chance(output));
    assert!(output.is_some_and(|output| output.status.success()), "qemu-img {arguments:?}");
}

/// Writes files that are no images, or others than their names say.
fn make_odd_files(images: &Path) {
    let at = |name: &str| text(&images.join(name)).to_owned();
    qemu_img(&["create", "-q", "-f", "qcow2", &at("is-qcow2.img"), "5M"]);
    std::fs::copy(at("is-qcow2.img"), at("fine.qcow2")).expect("copied");
    std::fs::write(at("is-raw.qcow2"), vec![7; 4096]).expect("written");
    std::fs::write(at("empty.img"), "").expect("written");
    std::fs::create_dir(at("folder.img")).expect("made");
    tool("mkfifo", &[&at("pipe.img")]);
    std::os::unix::fs::symlink("/etc/passwd", at("link.img")).expect("linked");
    let secret = [
        "--object",
        "secret,id=s,data=abc",
        "-o",
        "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10",
    ];
    encrypted(
        &[&["create", "-q", "-f", "qcow2"][..], &secret[..], &[&at("locked.qcow2"), "4M"][..]]
            .concat(),
    );
    let whole = std::fs::read(at("fine.qcow2")).expect("read");
    std::fs::write(at("cut.qcow2"), &whole[..30_000]).expect("written");
    qemu_img(&["create", "-q", "-f", "vmdk", &at("other.img"), "4M"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_files_are_told_apart_when_they_are_registered() {
    if !is_built() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let daemon = Daemon::start(dir.path(), &[]);
    datastores(daemon.client(), dir.path()).await;
    sim_host(daemon.client(), "h1", &[]).await;
    let images = dir.path().join("images");
    let at = |name: &str| text(&images.join(name)).to_owned();
    make_odd_files(&images);
    for (path, format, code) in [
        ("is-qcow2.img", None, "format-mismatch"),
        ("is-raw.qcow2", None, "format-mismatch"),
        ("other.img", None, "format-mismatch"),
        ("empty.img", None, "empty-file"),
        ("folder.img", None, "not-a-file"),
        ("pipe.img", None, "not-a-file"),
        ("pipe.img", Some("qcow2"), "not-a-file"),
        ("link.img", None, "unusable"),
        ("locked.qcow2", None, "encrypted"),
        ("cut.qcow2", None, "damaged"),
        ("nope.qcow2", None, "no-such-file"),
        ("no/such/folder.qcow2", None, "no-such-file"),
    ] {
        let problem = refused(&daemon, "odd", path, format).await;
        assert_eq!((problem.status, problem.code.as_str()), (422, code), "{path}: {problem:?}");
    }
    let mismatch = refused(&daemon, "odd", "is-qcow2.img", None).await;
    assert_eq!(mismatch.hint.as_deref(), Some("add --format qcow2"));
    assert!(
        mismatch.detail.contains("images:is-qcow2.img")
            && mismatch.detail.contains("is qcow2, not raw"),
        "{mismatch:?}"
    );

    let add = async |name: &str, path: &str, format: &str| {
        let new = NewImage {
            name: name.to_owned(),
            path: format!("images:{path}"),
            format: Some(format.to_owned()),
        };
        daemon.client().add_image(&new).await.expect("an image is added")
    };
    let added = add("cloud", "is-qcow2.img", "qcow2").await;
    assert_eq!(
        (added.size.map(|size| size.to_string()).as_deref(), added.notes.len()),
        (Some("5MiB"), 0)
    );
    for odd in ["com,ma.img", "co:lon%s.img", "spa ce ü \"q\" <x>&.img"] {
        std::fs::write(at(odd), vec![7; 4096]).expect("written");
        add(&format!("odd{}", odd.len()), odd, "raw").await;
    }
    // The same file may be one image or several, but only with one format.
    add("cloud-again", "is-qcow2.img", "qcow2").await;
    std::fs::write(at("is-qcow2.img"), vec![7; 4096]).expect("overwritten");
    let problem = refused(&daemon, "as-raw", "is-qcow2.img", Some("raw")).await;
    assert_eq!((problem.status, problem.code.as_str()), (409, "file-taken"), "{problem:?}");
    assert!(problem.detail.contains("cloud"), "{problem:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_is_not_made_from_files_that_are_not_there() {
    if !is_built() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let daemon = Daemon::start(dir.path(), &[]);
    datastores(daemon.client(), dir.path()).await;
    let create = async |spec: &str| {
        let spec = toml::from_str(spec).expect("a specification");
        daemon.client().create_vm(&CreateVm { spec, hold: true }, None).await
    };
    let kernel = "name = \"a\"\nmemory = 64\n[boot]\nkernel = \"images:vmlinuz\"";
    let Err(ClientError::Problem(problem)) = create(kernel).await else {
        panic!("a kernel that is not there")
    };
    assert_eq!(
        (problem.code.as_str(), problem.field.as_deref()),
        ("no-such-file", Some("spec.boot.kernel")),
        "{problem:?}"
    );
    std::fs::write(dir.path().join("images/vmlinuz"), "kernel").expect("written");
    create(kernel).await.expect("now it is there");
    let file = dir.path().join("images/base.qcow2");
    qemu_img(&["create", "-q", "-f", "qcow2", text(&file), "1M"]);
    ostler_tests::daemon::image(daemon.client(), "base", "images:base.qcow2").await;
    std::fs::remove_file(&file).expect("removed");
    let disk = "name = \"b\"\nmemory = 64\n[[disks]]\nname = \"vda\"\nimage = \"base\"";
    let Err(ClientError::Problem(problem)) = create(disk).await else {
        panic!("an image that is not there")
    };
    assert_eq!(
        (problem.code.as_str(), problem.field.as_deref()),
        ("no-such-file", Some("spec.disks[0].image")),
        "{problem:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datastore_has_a_directory_of_its_own() {
    if !is_built() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let daemon = Daemon::start(dir.path(), &[]);
    let add = async |name: &str, root: &str| {
        let (name, kind, driver) =
            (name.to_owned(), "image".to_owned(), "transfer-qcow2".to_owned());
        daemon
            .client()
            .add_datastore(&NewDatastore {
                name,
                kind,
                driver,
                root: root.to_owned(),
                shared: false,
            })
            .await
    };
    std::fs::write(dir.path().join("file"), "").expect("written");
    for (root, code) in [
        ("/", "invalid"),
        ("//./", "invalid"),
        ("/proc", "invalid"),
        ("/proc/self", "invalid"),
        ("/sys/kernel", "invalid"),
        ("/dev", "invalid"),
        ("/etc/", "invalid"),
        (text(&dir.path().join("nothing")), "no-such-directory"),
        (text(&dir.path().join("file")), "no-such-directory"),
    ] {
        let Err(ClientError::Problem(problem)) = add("d", root).await else {
            panic!("{root} was to be refused")
        };
        assert_eq!(
            (problem.status, problem.code.as_str(), problem.field.as_deref()),
            (422, code, Some("root")),
            "{root}: {problem:?}"
        );
    }
    let root = dir.path().join("there");
    std::fs::create_dir(&root).expect("made");
    let added = add("d", text(&root)).await.expect("a directory that is there");
    assert!(added.notes.is_empty(), "{added:?}");
    std::fs::remove_dir(&root).expect("removed");
    let seen = daemon.client().datastore("d").await.expect("shown");
    assert!(seen.notes.iter().any(|note| note.contains("front-end does not see it")), "{seen:?}");
}
