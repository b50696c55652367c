//! Requests of an operator: sizes of disks, settings of drivers.

#[allow(dead_code)]
mod support;
#[path = "support/world.rs"]
#[allow(dead_code)]
mod world;

use serde_json::Value;
use world::{World, names};

#[test]
fn a_setting_that_the_driver_never_reads_is_refused() {
    let Some(world) = World::start() else { return };
    let hosts = || world.daemon.run(&["host", "list", "-o", "json"]).expect(0).json();
    let before = names(&hosts(), "name");
    let add = ["host", "add", "h9", "--driver", "sim", "--set", "datastore=simhosts", "--set"];
    world
        .daemon
        .run(&[&add[..], &["foldr=h9"]].concat())
        .expect(2)
        .says("driver sim reads no setting foldr")
        .says("did you mean folder?");
    assert_eq!(names(&hosts(), "name"), before);
    let change = ["host", "change", "h1", "--set"];
    world.daemon.run(&[&change[..], &["knob=1"]].concat()).expect(2).says("did you mean knobs?");
    let shown = world.daemon.run(&["driver", "show", "sim"]).expect(0);
    assert!(shown.out.contains("SETTINGS") && shown.out.contains("must be set"), "{shown:#?}");
}

/// The size in bytes that a guest sees of the VM's disk, as `qemu-img` tells it.
#[track_caller]
fn guest_size(world: &World, disk: &str) -> u64 {
    let shown = world.shown();
    let found = shown["disks"].as_array().and_then(|disks| {
        disks.iter().find(|found| found["name"] == disk)?["file"].as_str().map(str::to_owned)
    });
    let file = world.daemon.folder.path().join("system").join(found.expect("it has the disk"));
    let told = std::process::Command::new("qemu-img")
        .args(["info", "--output=json", "-U"])
        .arg(&file)
        .output()
        .expect("qemu-img runs");
    let told: Value = serde_json::from_slice(&told.stdout).expect("qemu-img tells it as JSON");
    told["virtual-size"].as_u64().expect("a size")
}

#[test]
fn a_disk_is_larger_than_its_image() {
    let Some(mut world) = World::start() else { return };
    const MIB: u64 = 1024 * 1024;
    let image = world.daemon.folder.path().join("images/base.raw");
    std::fs::write(&image, vec![1; 4 * MIB as usize]).expect("written");
    let add = ["image", "add", "base", "--path", "images:base.raw"];
    world.daemon.run(&[&add[..], &["--format", "raw"]].concat()).expect(0);

    let spec = |name: &str, size: &str| {
        format!(
            "name = \"{name}\"\nmemory = \"96MiB\"\nhost = \"h1\"\n[[disks]]\nname = \"vda\"\n\
             image = \"base\"\nsize = \"{size}\"\n[[disks]]\nname = \"vdb\"\nimage = \"base\"\n\
             size = \"9MiB\"\nformat = \"raw\"\n[[disks]]\nname = \"vdc\"\nimage = \"base\"\n"
        )
    };
    let small = world.daemon.file("small.toml", &spec("small", "3MiB"));
    let told = world.daemon.run(&["vm", "create", "-f", &small]).expect(1);
    told.says("disk vda cannot be used").says("image base has 4MiB").says("at least 4MiB");
    let file = world.daemon.file("large.toml", &spec("large", "1GiB"));
    let made = world.daemon.run(&["vm", "create", "-f", &file, "--wait", "-o", "name"]).expect(0);
    world.vm = made.out.trim().to_owned();
    assert_eq!(guest_size(&world, "vda"), 1024 * MIB);
    assert_eq!(guest_size(&world, "vdb"), 9 * MIB);
    assert_eq!(guest_size(&world, "vdc"), 4 * MIB);

    let attach = ["disk-attach", "large", "--image", "base", "--size"];
    world.refused(&[&attach[..], &["3MiB"]].concat(), 1, "image base has 4MiB");
    world.refused(&["disk-attach", "large", "--swap", "8MiB", "--size", "9MiB"], 2, "--size");
    world.vm(&[&attach[..], &["5MiB"]].concat()).expect(0);
    assert_eq!(guest_size(&world, "vdd"), 5 * MIB);
}
