//! The life of a VM as it is typed, on two hosts of `sim`. Each request is carried out, and each
//! wrong one changes nothing.

#[allow(dead_code)]
mod support;
#[path = "support/world.rs"]
#[allow(dead_code)]
mod world;

use serde_json::Value;
use world::{World, names};

#[test]
fn a_vm_moves() {
    let Some(world) = World::start() else { return };
    let plan = world.vm(&["migrate", "web", "h2", "--live", "--dry-run"]).expect(0).out;
    assert!(plan.contains("migrate-live would be accepted") && plan.contains("migrate"), "{plan}");
    for (flag, place) in
        [("--live", "h2"), ("", "h1"), ("--poweroff", "h2"), ("--poweroff-hard", "h1")]
    {
        let flags: Vec<&str> = [flag].into_iter().filter(|flag| !flag.is_empty()).collect();
        let ran = world.vm(&[&["migrate", "web", place][..], &flags].concat()).expect(0);
        assert!(ran.out.starts_with(&format!("vm web: running, on {place} (migrate")), "{ran:#?}");
        let shown = world.shown();
        assert_eq!((&shown["placement"]["host"], &shown["moving"]), (&place.into(), &Value::Null));
    }
    let history = world.shown()["history"].clone();
    assert_eq!(names(&history, "host"), ["h1", "h2", "h1", "h2", "h1"]);
    assert_eq!(
        names(&history, "begun_by"),
        ["deploy", "migrate-live", "migrate", "migrate-poweroff", "migrate-poweroff-hard"]
    );
    world.refused(&["migrate", "web", "nowhere"], 3, "there is no host nowhere");
    world.refused(&["migrate", "web", "h1"], 1, "on host h1 already");
    world.refused(&["migrate", "web", "h1", "--dry-run"], 1, "on host h1 already");
    world.refused(&["migrate", "web", "h2", "--live", "--poweroff"], 2, "cannot be used with");
    world.refused(&["migrate", "web", "h2", "--live", "--fenced"], 2, "cannot be used with");
    world.vm(&["resched", "web"]).expect(0);
    world.vm(&["unresched", "web"]).expect(0);
    world.eventually("rest", |shown| shown["operation"].is_null() && shown["resched"] == false);
}

#[test]
fn an_operation_shows_the_calls_of_its_drivers() {
    let Some(world) = World::start() else { return };
    let operations = world.daemon.run(&["operation", "list", "web", "-o", "name"]).expect(0).out;
    let first = operations.lines().last().expect("the creation");
    let shown = world.daemon.run(&["operation", "calls", first, "-o", "json"]).expect(0).json();
    let calls = shown["calls"].as_array().expect("calls");
    let has = |driver: &str, call: &str, function: Value, what: &str| {
        calls.iter().any(|one| {
            one["driver"] == driver
                && one["call"] == call
                && one["function"] == function
                && one["what"].as_str().is_some_and(|told| told.contains(what))
                && one["failed"] == false
                && one["took_us"].as_u64().is_some_and(|took| took > 0)
        })
    };
    assert!(
        has("transfer-qcow2", "begin", "exec.run".into(), "/usr/bin/qemu-img create"),
        "{shown:#}"
    );
    assert!(has("transfer-qcow2", "begin", Value::Null, "disk:vda"), "{shown:#}");
    assert!(has("sim", "deploy", "files.write".into(), "simhosts:"), "{shown:#}");
    assert!(has("sim", "deploy", Value::Null, "domain"), "{shown:#}");
    assert_eq!(shown["left_out"], 0);
    let table = world.daemon.run(&["operation", "calls", first]).expect(0).out;
    assert!(table.contains("  exec.run") && table.contains("qemu-img create"), "{table}");
    world.daemon.run(&["operation", "calls", "999999"]).expect(3);
}

#[test]
fn a_host_that_cannot_be_asked_says_so_when_it_is_added() {
    let Some(world) = World::start() else { return };
    let ran = world.daemon.run(&[
        "host",
        "add",
        "h3",
        "--driver",
        "sim",
        "--set",
        "datastore=simhosts",
        "--set",
        "folder=h3",
    ]);
    assert!(
        ran.expect(0).out.contains(": added, on, it answers: "),
        "the first look is waited for"
    );
    let ran = world
        .daemon
        .run(&["host", "add", "h4", "--driver", "sim", "--set", "datastore=nowhere"])
        .expect(0);
    assert!(ran.out.contains(": added, on, it does not answer"), "{ran:#?}");
    ran.says("warning: ").says("ostler host change h4 --set");
}

#[test]
fn disks_and_cards_come_and_go() {
    let Some(world) = World::start() else { return };
    let told = world.vm(&["disk-attach", "web", "--blank", "8MiB"]).expect(0).out;
    assert!(told.starts_with("vm web: running, with disk vdb ("), "{told}");
    world.vm(&["disk-attach", "web", "--swap", "8MiB", "--name", "vdx"]).expect(0);
    assert_eq!(names(&world.shown()["disks"], "name"), ["vda", "vdb", "vdx"]);
    world.refused(&["disk-attach", "web", "--blank", "8MiB", "--name", "vdb"], 1, "twice");
    world.refused(&["disk-attach", "web", "--image", "nothing"], 1, "no image nothing");
    world.refused(&["disk-attach", "web"], 2, "required");
    world.refused(&["disk-attach", "web", "--blank", "8MB"], 2, "MiB");
    world.refused(&["disk-attach", "web", "--blank", "8MiB", "--format", "vmdk"], 2, "not one of");
    world.refused(&["disk-detach", "web", "vdq"], 1, "no disk vdq");
    world.vm(&["disk-detach", "web", "vdx"]).expect(0);
    world.vm(&["disk-detach", "web", "vdb"]).expect(0);
    assert_eq!(names(&world.shown()["disks"], "name"), ["vda"]);

    let told = world.vm(&["nic-attach", "web", "--bridge", "br1"]).expect(0).out;
    assert!(told.contains(", with network card b2:") && told.contains(" on br1 ("), "{told}");
    world.vm(&["nic-attach", "web", "--bridge", "br1", "--mac", "52:54:00:AA:BB:CC"]).expect(0);
    let macs = names(&world.shown()["nics"], "mac");
    assert_eq!((macs.len(), macs[2].as_str()), (3, "52:54:00:aa:bb:cc"));
    world.refused(
        &["nic-attach", "web", "--bridge", "br1", "--mac", "52:54:00:aa:bb:cc"],
        1,
        "twice",
    );
    world.refused(&["nic-attach", "web", "--bridge", "br1", "--mac", "nonsense"], 2, "mac");
    world.refused(&["nic-detach", "web", "52:54:00:00:00:00"], 1, "no network card");
    world.vm(&["nic-detach", "web", &macs[1]]).expect(0);
    assert_eq!(names(&world.shown()["nics"], "mac"), [macs[0].clone(), macs[2].clone()]);
}

#[test]
fn snapshots_are_made_gone_back_to_and_lost() {
    let Some(world) = World::start() else { return };
    let told = world.vm(&["snapshot-create", "web", "before"]).expect(0).out;
    assert!(told.contains(", with snapshot snap-") && told.contains(" (before) ("), "{told}");
    world.vm(&["snapshot-create", "web"]).expect(0);
    let shown = world.shown();
    assert_eq!(names(&shown["snapshots"], "label"), ["before"]);
    let second = shown["snapshots"][1]["name"].as_str().expect("a name").to_owned();
    world.refused(&["snapshot-create", "web", "before"], 1, "already");
    world.refused(
        &["snapshot-revert", "web", "nonsense"],
        1,
        "has no snapshot \"nonsense\" that is offered",
    );
    world.refused(&["snapshot-revert", "web", "befroe"], 1, "did you mean before?");
    world.vm(&["snapshot-revert", "web", "before"]).expect(0);
    world.vm(&["snapshot-delete", "web", &second]).expect(0);
    let first = world.shown()["snapshots"][0]["name"].as_str().expect("a name").to_owned();
    let plan = world.vm(&["poweroff", "web", "--hard", "--dry-run"]).expect(0).out;
    assert!(plan.contains(&format!("deleted for good: snapshot {first} (before)")), "{plan}");
    let table = world.vm(&["show", "web"]).expect(0).out;
    assert!(table.contains("LABEL") && table.contains("before"), "{table}");
    world.vm(&["poweroff", "web", "--hard"]).expect(0);
    assert_eq!(world.shown()["snapshots"], serde_json::json!([]));

    // Other rules apply at once.
    world.vm(&["resume", "web"]).expect(0);
    world.daemon.run(&["driver", "bind-rules", "sim", "snapshots-xen"]).expect(0);
    world.refused(&["snapshot-create", "web"], 1, "snapshots-xen");
    let list = world.daemon.run(&["driver", "list"]).expect(0).out;
    assert!(list.contains("snapshots-xen"), "{list}");
    world.daemon.run(&["driver", "unbind-rules", "sim"]).expect(0);
    world.daemon.run(&["driver", "unbind-rules", "sim"]).expect(3);
    world.refused(&["snapshot-create", "web"], 1, "bind-rules");
    // The rules of a host come before those of its driver.
    world.daemon.run(&["host", "bind-rules", "h1", "snapshots-kvm"]).expect(0);
    world.vm(&["snapshot-create", "web"]).expect(0);
    assert!(
        world
            .daemon
            .run(&["host", "show", "h1"])
            .expect(0)
            .out
            .contains("Snapshot rules  snapshots-kvm")
    );
    world.daemon.run(&["host", "unbind-rules", "h1"]).expect(0);
    world.refused(&["snapshot-create", "web"], 1, "bind-rules");
    world.daemon.run(&["host", "unbind-rules", "h1"]).expect(3);
    world.daemon.run(&["host", "bind-rules", "nowhere", "snapshots-kvm"]).expect(3);
    world.daemon.run(&["driver", "bind-rules", "sim", "nothing"]).expect(1);
    world.daemon.run(&["driver", "bind-rules", "sim", "transfer-qcow2"]).expect(1);
    world.daemon.run(&["driver", "bind-rules", "snapshots-kvm", "snapshots-kvm"]).expect(1);
    world.daemon.run(&["driver", "bind-rules", "nothing", "snapshots-kvm"]).expect(3);
}

#[test]
fn disks_become_images() {
    let Some(world) = World::start() else { return };
    world.vm(&["disk-snapshot", "web", "vda", "now", "--live", "--datastore", "images"]).expect(0);
    let told =
        world.vm(&["disk-snapshot", "web", "vda", "later", "--datastore", "images"]).expect(0).out;
    assert!(told.contains(", disk vda becomes image later when it is shut down ("), "{told}");
    assert_eq!(world.shown()["disks"][0]["becomes"], "later");
    world.refused(&["disk-snapshot", "web", "vda", "again", "--datastore", "images"], 1, "already");
    world.refused(
        &["disk-snapshot", "web", "vdq", "again", "--datastore", "images"],
        1,
        "no disk vdq",
    );
    world.refused(
        &["disk-snapshot", "web", "vda", "again", "--datastore", "nowhere"],
        3,
        "nowhere",
    );
    world.refused(
        &["disk-snapshot", "web", "vda", "again", "--datastore", "system"],
        1,
        "image datastores",
    );
    world.vm(&["disk-snapshot-cancel", "web", "vda"]).expect(0);
    world.refused(&["disk-snapshot-cancel", "web", "vda"], 1, "no disk vda that is to become");
    world.vm(&["disk-snapshot", "web", "vda", "at-the-end", "--datastore", "images"]).expect(0);
    world.vm(&["shutdown", "web", "--hard"]).expect(0);
    let images = world.daemon.run(&["image", "list", "-o", "json"]).expect(0).json();
    assert_eq!(names(&images, "name"), ["now", "at-the-end"]);
    assert_eq!(names(&images, "state"), ["ready", "ready"]);
}

#[test]
fn size_name_and_data_change() {
    let Some(world) = World::start() else { return };
    world.vm(&["resize", "web", "--vcpus", "2", "--memory", "128MiB"]).expect(0);
    let told = world.vm(&["resize", "web", "--cpu", "0.25", "--enforce"]).expect(0).out;
    assert!(told.contains(", with 0.25 CPUs, 2 virtual, 128MiB ("), "{told}");
    let spec = world.shown()["spec"].clone();
    assert_eq!(
        (&spec["cpu"], &spec["vcpus"], &spec["memory"]),
        (&0.25.into(), &2.into(), &"128MiB".into())
    );
    assert_eq!(spec["headroom"], serde_json::json!({"vcpus": 4, "memory": "1GiB"}));
    world.refused(&["resize", "web", "--memory", "2GiB"], 1, "1024 MiB");
    world.refused(&["resize", "web", "--cpu", "200", "--enforce"], 1, "h1");
    world.refused(&["resize", "web"], 2, "required");
    world.refused(&["resize", "web", "--vcpus", "0"], 1, "vcpus");
    let file = world.daemon.file("user-data", "#cloud-config\n");
    world.vm(&["update", "web", "--user-data", &file]).expect(0);
    assert_eq!(world.shown()["spec"]["user_data"], "#cloud-config\n");
    world.refused(&["update", "web", "--user-data", "/nonexistent"], 2, "No such file");
    world.refused(&["rename", "web", "a b"], 2, "name");
    world.refused(&["rename", "web", "12"], 2, "digits are an id");
    let told = world.vm(&["rename", "web", "shop"]).expect(0).out;
    assert!(told.contains(", now called shop ("), "{told}");
    assert_eq!(world.shown()["name"], "shop");
    world.vm(&["show", "web"]).expect(3);
}

#[test]
fn what_is_planned_is_done_later() {
    let Some(world) = World::start() else { return };
    world.vm(&["schedule", "web", "suspend", "--at", "2020-01-01T00:00"]).expect(1).says("future");
    world.refused(&["schedule", "web", "suspend"], 2, "--at");
    world.refused(&["schedule", "web", "suspend", "--at", "tomorrow"], 2, "daily 02:00");
    world.refused(
        &["schedule", "web", "suspend", "--at", "daily 02:00", "--zone", "Mars/Base"],
        2,
        "Europe/Berlin",
    );
    world.refused(&["schedule", "web", "migrate", "nowhere", "--at", "daily 02:00"], 3, "nowhere");
    world.refused(&["schedule", "web", "dance", "--at", "daily 02:00"], 2, "unexpected argument");
    world.refused(&["unschedule", "web", "7"], 1, "no scheduled action 7");
    world.refused(&["reschedule", "web", "7", "--at", "daily 03:00"], 1, "no scheduled action 7");
    let berlin = ["--at", "daily 02:00", "--zone", "Europe/Berlin"];
    let told = world
        .vm(&[&["schedule", "web", "migrate", "h2", "--live"][..], &berlin].concat())
        .expect(0)
        .out;
    assert!(told.contains(", schedule 0 is due ") && told.contains("T02:00:00+0"), "{told}");
    let list = world.vm(&["schedules", "web"]).expect(0).out;
    for word in ["migrate-live", "host=h2", "daily 02:00", "Europe/Berlin", "waiting"] {
        assert!(list.contains(word), "no {word} in\n{list}");
    }
    world.vm(&["reschedule", "web", "0", "--at", "weekly sun 03:00", "--times", "2"]).expect(0);
    let entry = world.shown()["schedules"][0].clone();
    assert_eq!(
        (&entry["when"], &entry["zone"], &entry["times"]),
        (&"weekly sun 03:00".into(), &"Europe/Berlin".into(), &2.into())
    );
    world.vm(&["reschedule", "web", "0", "--without-end"]).expect(0);
    assert!(world.shown()["schedules"][0]["times"].is_null());

    // An action that is due soon is done, and the list says so. One that fails says why.
    let soon = soon();
    world.vm(&["schedule", "web", "suspend", "--at", &soon]).expect(0);
    let shown = world.eventually("it to be done", |shown| shown["schedules"][1]["last"] == "done");
    assert_eq!(
        (&shown["state"], &shown["schedules"][1]["fired"]),
        (&"suspended".into(), &1.into())
    );
    world.vm(&["schedule", "web", "reboot", "--hard", "--at", &self::soon()]).expect(0);
    world.eventually("it to fail", |shown| shown["schedules"][2]["last"] == "failed");
    let list = world.vm(&["schedules", "web"]).expect(0).out;
    assert!(list.contains("wrong-state") && list.contains("over"), "{list}");
    for id in ["0", "1", "2"] {
        world.vm(&["unschedule", "web", id]).expect(0);
    }
    assert_eq!(world.shown()["schedules"], serde_json::json!([]));
}

/// Two seconds from now, as `--at` takes it.
fn soon() -> String {
    let out = std::process::Command::new("date")
        .args(["-u", "-d", "+2 seconds", "+%Y-%m-%dT%H:%M:%SZ"])
        .output()
        .expect("date runs");
    String::from_utf8(out.stdout).expect("text").trim().to_owned()
}

#[test]
fn a_domain_of_somebody_else_is_adopted() {
    let Some(world) = World::start() else { return };
    let disk = world.daemon.folder.path().join("system/theirs.qcow2");
    std::fs::write(&disk, "a disk").expect("written");
    let uuid = "3f2b8c1e-5a4d-4c3b-9e2f-1a2b3c4d5e6f";
    let domain = serde_json::json!({
        "uuid": uuid, "name": "theirs", "power": "running", "vcpus": 1, "memory-mib": 64,
        "disks": [{"name": "vda", "file": disk.display().to_string(), "format": "qcow2", "read-only": false}], "nics": [],
    });
    let file = world.daemon.folder.path().join(format!("simhosts/h2/{uuid}.json"));
    std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
    std::fs::write(&file, domain.to_string()).expect("written");
    world.daemon.run(&["host", "adopt", "h2", "nobody"]).expect(1).says("no");
    world.daemon.run(&["host", "adopt", "nowhere", "theirs"]).expect(3);
    world.daemon.run(&["host", "adopt", "h2", "theirs", "--name", "a b"]).expect(2);
    let ran = world.daemon.run(&["host", "adopt", "h2", "theirs", "--name", "ours"]).expect(0);
    assert!(ran.out.contains("adopted from h2"), "{ran:#?}");
    let shown = world.vm(&["show", "ours", "-o", "json"]).expect(0).json();
    assert_eq!((&shown["state"], &shown["placement"]["host"]), (&"running".into(), &"h2".into()));
    assert_eq!(
        (&shown["disks"][0]["adopted"], &shown["disks"][0]["file"]),
        (&true.into(), &"theirs.qcow2".into())
    );
    assert_eq!(shown["history"][0]["begun_by"], "adopt");
    world.daemon.run(&["host", "adopt", "h2", "theirs"]).expect(1);
    world.vm(&["delete", "ours"]).expect(0);
    assert!(disk.exists(), "it was somebody else's, and still is");
}

#[test]
fn a_vm_whose_host_is_lost_is_forgotten() {
    let Some(world) = World::start() else { return };
    world.refused(&["forget", "web"], 1, "answers");
    world.refused(
        &["migrate", "web", "h2", "--fenced", "--dry-run", "--if-version", "1"],
        2,
        "cannot be used with",
    );
    world.vm(&["forget", "web", "--force"]).expect(0);
    let shown = world.eventually("it to be done", |shown| shown["state"] == "done");
    assert!(shown["placement"].is_null());
}

#[test]
fn the_page_of_a_driver_tells_how_fast_its_functions_are_on_each_host() {
    let Some(world) = World::start() else { return };
    let page = world.daemon.run(&["driver", "show", "sim"]).expect(0).out;
    let row = |begin: &str| page.lines().any(|line| line.trim_start().starts_with(begin));
    assert!(page.contains("RECENT and the times are of the last 5m") && row("deploy "), "{page}");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let deploy =
        page.lines().map(words).find(|row| row.starts_with(&["h1".into(), "deploy".into()]));
    let deploy = deploy.unwrap_or_else(|| panic!("no deploy on h1 in {page}"));
    assert_eq!(deploy[2..5], ["1", "-", "1"], "one call, no error: {page}");
    let shown = world.daemon.run(&["driver", "show", "sim", "-o", "json"]).expect(0).json();
    assert_eq!(shown["figures"]["window_s"], 300);
}
