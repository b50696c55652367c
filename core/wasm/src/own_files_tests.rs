//! Which files a call is about.

use super::*;
use ostler_driver::Layer;
use ostler_model::{
    CallContext, DiskFormat, EffectKey, ExecTransport, Generation, Item, OperationId, StepNo,
    StoreId, Timestamp,
};
use std::collections::BTreeMap;
use std::time::Instant;

const VM: &str = "00000000-0000-0000-0000-000000000001";
const OTHER: &str = "00000000-0000-0000-0000-000000000002";

fn site() -> Site {
    let roots = [("system", "/srv/system"), ("images", "/srv/images")];
    let root = |(name, root): (&str, &str)| (name.parse().expect("a name"), root.to_owned());
    Site {
        id: HostId(1),
        name: "here".parse().expect("a name"),
        config: BTreeMap::new(),
        transport: ExecTransport::Local,
        roots: roots.map(root).into(),
    }
}

fn file(host: u32, text: &str) -> FileRef {
    let (datastore, path) = text.split_once(':').expect("a file");
    FileRef {
        host: HostId(host),
        datastore: datastore.parse().expect("a name"),
        path: path.parse().expect("a path"),
        absolute: format!("/srv/{datastore}/{path}"),
    }
}

fn control() -> CallControl {
    let key = EffectKey {
        vm: VmUuid(VM.parse().expect("a UUID")),
        operation: OperationId(1),
        step: StepNo(1),
        item: Item::Domain,
    };
    let context = CallContext {
        store: StoreId(uuid::Uuid::nil()),
        key,
        attempt: 1,
        generation: Generation(1),
        epoch: ostler_model::Epoch(1),
        spares: None,
        deadline: Timestamp(0),
    };
    CallControl::detached(context, Instant::now())
}

/// The own files of a call of a driver that keeps its records in `system:sim`.
fn own(control: Option<&CallControl>, about: &[About<'_>]) -> OwnFiles {
    let records = |site: &Site| -> Option<(String, RelPath)> {
        let folder = if site.id == HostId(1) { "sim" } else { "sim-there" };
        Some(("system".to_owned(), folder.parse().expect("a path")))
    };
    let host_name = |host: HostId| -> Option<HostName> {
        (host == HostId(2)).then(|| "there".parse().expect("a name"))
    };
    let known = Known { whole: Vec::new(), records: &records, host_name: &host_name };
    of_call(&known, Some(&site()), control, about)
}

fn way(own: &OwnFiles, text: &str, wanted: Wanted) -> Option<Way> {
    let file = file(1, text);
    own.here(file.datastore.as_str(), &file.path, wanted)
}

#[track_caller]
fn reaches(own: &OwnFiles, wanted: Wanted, files: &[&str]) {
    for file in files {
        assert!(way(own, file, wanted).is_some(), "{wanted:?} {file}");
    }
}

#[track_caller]
fn refuses(own: &OwnFiles, wanted: Wanted, files: &[&str]) {
    for file in files {
        assert_eq!(way(own, file, wanted), None, "{wanted:?} {file}");
    }
}

#[test]
fn a_call_reaches_its_vm_and_the_records_of_its_driver() {
    let control = control();
    let own = own(Some(&control), &[]);
    let (disk, home) = (format!("system:vms/{VM}/vda"), format!("images:home/{VM}"));
    let ours = ["system:sim", "system:sim/a/b", &disk, &home, &format!("system:{VM}/vda")];
    reaches(&own, Wanted::Write, &ours);
    let others = [
        "system:vms",
        &format!("system:vms/{OTHER}/vda"),
        &format!("system:vms/{VM}0/vda"),
        &format!("system:other/{VM}/vda"),
        "system:simple",
        "images:sim/a",
        "images:base",
        "system:sim.new-1-1",
    ];
    for wanted in [Wanted::Read, Wanted::Write, Wanted::Make, Wanted::Stat] {
        refuses(&own, wanted, &others);
    }
}

#[test]
fn a_question_only_reads() {
    let vm = VmUuid(VM.parse().expect("a UUID"));
    let own = own(None, &[About::Vm(vm)]);
    let files = ["system:sim/a", &format!("system:vms/{VM}/vda")];
    reaches(&own, Wanted::Read, &files);
    refuses(&own, Wanted::Write, &files);
    assert!(own.roots(&site()).iter().all(|root| !root.writes));
}

#[test]
fn a_driver_without_a_host_reaches_nothing() {
    let known = Known { whole: Vec::new(), records: &|_| None, host_name: &|_| None };
    let own = of_call(&known, None, None, &[]);
    refuses(&own, Wanted::Read, &["system:sim/a", "images:base"]);
}

#[test]
fn a_disk_names_what_is_below_it_for_reading() {
    let layer = Layer { file: file(1, "images:base"), format: DiskFormat::Raw };
    let mut disk = DomainDisk {
        name: "vda".parse().expect("a name"),
        file: file(1, "system:wild/disk"),
        format: DiskFormat::Qcow2,
        read_only: false,
        below: Some(vec![layer]),
    };
    let control = control();
    let known = own(Some(&control), &[About::Disk(&disk)]);
    reaches(&known, Wanted::Write, &["system:wild/disk"]);
    reaches(&known, Wanted::Read, &["images:base"]);
    refuses(&known, Wanted::Write, &["images:base"]);
    refuses(&known, Wanted::Read, &["system:wild/other", "images:base2"]);
    let whole =
        |own: &OwnFiles| own.roots(&site()).iter().filter(|root| root.path.is_none()).count();
    assert_eq!(whole(&known), 0);
    // Nobody knows the files below this one: programs may read, and nothing else.
    disk.below = None;
    let unknown = own(Some(&control), &[About::Disk(&disk)]);
    assert_eq!(whole(&unknown), 2);
    assert!(unknown.roots(&site()).iter().all(|root| root.path.is_some() || !root.writes));
    refuses(&unknown, Wanted::Read, &["images:base"]);
}

#[test]
fn a_job_reaches_its_source_its_target_and_its_drafts() {
    let job = TransferJob::Copy {
        from: file(2, "system:a/disk"),
        to: file(1, "system:b/disk"),
        format: None,
        base: Some(file(1, "images:base")),
    };
    let control = control();
    let own = own(Some(&control), &[About::Job(&job)]);
    let drafts = ["system:b/disk", "system:b/disk.new-1-2", "system:b/disk.new-1-2.raw"];
    reaches(&own, Wanted::Write, &drafts);
    reaches(&own, Wanted::Make, &["system:b"]);
    refuses(&own, Wanted::Write, &["system:b", "system:b/disk.qcow2", "system:b/disk.new-1/x"]);
    // The source is on the other host, and only there.
    refuses(&own, Wanted::Read, &["system:a/disk"]);
    let there = |host: &str, path: &str| {
        own.there(&host.parse().expect("a name"), "system", &path.parse().expect("a path"))
    };
    assert!(there("there", "a/disk").is_some());
    assert_eq!(there("there", "a/other"), None);
    assert_eq!(there("elsewhere", "a/disk"), None);
}

#[test]
fn the_outermost_folder_decides_how_links_are_resolved() {
    let control = control();
    let disk = file(1, &format!("system:vms/{VM}/vda"));
    let own = own(Some(&control), &[About::Read(&disk)]);
    let folder = format!("vms/{VM}").parse().expect("a path");
    let below = Way::Below { folder, rest: "vda".parse().expect("a path") };
    let text = format!("system:vms/{VM}/vda");
    assert_eq!(way(&own, &text, Wanted::Read), Some(below));
    let base = "images:base".parse::<ostler_model::FilePath>().expect("a file");
    let base_file = file(1, "images:base");
    let read = self::own(Some(&control), &[About::Read(&base_file)]);
    assert_eq!(way(&read, "images:base", Wanted::Read), Some(Way::Free(base.path)));
}

#[test]
fn a_migration_reaches_the_records_of_both_hosts() {
    let mut control = control();
    let there = Site { id: HostId(2), name: "there".parse().expect("a name"), ..site() };
    control.related.other = Some(std::sync::Arc::new(there));
    let own = own(Some(&control), &[]);
    reaches(&own, Wanted::Write, &["system:sim/a", "system:sim-there/a"]);
    let name = "there".parse().expect("a name");
    let fetched = |path: &str| own.there(&name, "system", &path.parse().expect("a path"));
    assert!(fetched("sim-there/a").is_some() && fetched("sim/a").is_none());
}

/// A driver finishes a long job in the call that asks for it: that call has no arguments.
#[test]
fn a_call_that_asks_for_a_job_reaches_the_file_that_the_job_makes() {
    let mut control = control();
    let image = "images:golden-7.qcow2";
    refuses(&own(Some(&control), &[]), Wanted::Write, &[image]);
    control.related.made.push(file(1, image));
    let own = own(Some(&control), &[]);
    reaches(&own, Wanted::Write, &[image, "images:golden-7.qcow2.new-1-1"]);
    refuses(&own, Wanted::Write, &["images:golden-8.qcow2"]);
}

/// An image that was registered before files were inspected may stand on another one.
#[test]
fn files_below_a_disk_that_nobody_knows_are_read_and_never_written() {
    let mut control = control();
    control.related.unknown_below = true;
    let own = own(Some(&control), &[]);
    reaches(&own, Wanted::Read, &["images:base", "system:adopted/below.qcow2"]);
    refuses(&own, Wanted::Write, &["images:base", "system:adopted/below.qcow2"]);
}
