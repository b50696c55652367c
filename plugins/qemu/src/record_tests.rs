//! What a record says, without a QEMU.

use super::*;
use ostler_sdk::FileRef;

fn disk(name: &str) -> DomainDisk {
    let file = FileRef { datastore: "s".into(), path: name.into(), absolute: "/s/x".into() };
    let (format, extra) = (DiskFormat::Raw, Vec::new());
    DomainDisk { name: name.into(), file, format, read_only: false, extra }
}

fn spec(disks: &[&str]) -> DomainSpec {
    DomainSpec {
        identity: Identity { store: "s".into(), vm: "v".into(), generation: 1 },
        name: "n".into(),
        title: String::new(),
        vcpus: 1,
        cpu_milli: 1000,
        memory_mib: 64,
        firmware: Firmware::Bios,
        kernel: None,
        initrd: None,
        cmdline: String::new(),
        disks: disks.iter().map(|name| disk(name)).collect(),
        nics: Vec::new(),
        graphics: Graphics::None,
        console_log: disk("c").file,
        extra: Vec::new(),
    }
}

#[test]
fn a_disk_keeps_its_slot() {
    let old = Domain::new(&spec(&["vda", "vdb"]), "1".into(), None).expect("room");
    assert_eq!((old.hardware.slot_of("vda"), old.hardware.slot_of("vdb")), (Some(3), Some(4)));
    let new = Domain::new(&spec(&["vdc", "vdb"]), "2".into(), Some(&old)).expect("room");
    assert_eq!((new.hardware.slot_of("vdb"), new.hardware.slot_of("vdc")), (Some(4), Some(5)));
    // A host that has no record of the domain gives it the same one.
    let there = Domain::new(&spec(&["vdc", "vda"]), "2".into(), None).expect("room");
    assert_eq!((there.hardware.slot_of("vda"), there.hardware.slot_of("vdc")), (Some(3), Some(5)));
    let many: Vec<String> = (0..29).map(|n| format!("vd{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(Domain::new(&spec(&many), "3".into(), None).expect_err("full").code, "no-slot");
}

#[test]
fn the_reason_of_being_off_is_what_is_left() {
    let mut domain = Domain::new(&spec(&[]), "1".into(), None).expect("room");
    let told = |domain: &Domain, process, end: Option<&str>| {
        let end = end.map(|run| End { run: run.into(), reason: PowerReason::Destroyed });
        domain.seen(&process, end.as_ref()).reason
    };
    assert_eq!(told(&domain, Process::Ended, None), PowerReason::Starting);
    domain.let_go = true;
    assert_eq!(told(&domain, Process::Ended, None), PowerReason::Guest);
    assert_eq!(told(&domain, Process::Died, Some("0")), PowerReason::Crashed);
    assert_eq!(told(&domain, Process::Died, Some("1")), PowerReason::Destroyed);
    assert_eq!(told(&domain, Process::Lives("running".into()), Some("1")), PowerReason::None);
}

#[test]
fn what_cannot_be_given_is_refused() {
    let mut wanted = spec(&[]);
    assert_eq!(possible(&wanted), Ok(()));
    wanted.cmdline = "quiet\"\n[drive]".into();
    assert_eq!(possible(&wanted).expect_err("refused").code, "bad-boot");
    wanted.graphics = Graphics::Vnc;
    assert_eq!(possible(&wanted).expect_err("refused").code, "no-graphics");
    wanted.firmware = Firmware::Uefi;
    assert_eq!(possible(&wanted).expect_err("refused").code, "no-uefi");
}

#[test]
fn a_guest_grows_into_its_room_and_gives_back_no_cpu() {
    let mut wanted = spec(&[]);
    (wanted.vcpus, wanted.memory_mib) = (2, 128);
    let most = [("vcpus-most", "4"), ("memory-most-mib", "256")];
    wanted.extra = most.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let domain = Domain::new(&wanted, "1".into(), None).expect("room");
    let code = |vcpus, mib| domain.hardware.fits(vcpus, mib).map_err(|error| error.code);
    assert_eq!(code(2, 96), Ok(()));
    assert_eq!(code(4, 256), Ok(()));
    assert_eq!(code(5, 128), Err("beyond-most".to_owned()));
    assert_eq!(code(2, 257), Err("beyond-most".to_owned()));
    assert_eq!(code(1, 128), Err("fewer-cpus".to_owned()));
}

/// A domain that the first version of the driver has started and that still runs.
#[test]
fn a_record_of_the_first_version_has_no_room_and_no_balloon() {
    let kept = r#"{"uuid":"v","name":"n","store":"s","generation":1,"edge":null,"run":"1",
        "let-go":true,"kernel":null,"initrd":null,"cmdline":"","console":["s","c"],
        "hardware":{"vcpus":2,"memory-mib":96,"disks":[],"nics":[]},"snapshots":{},"saving":null}"#;
    let domain: Domain = serde_json::from_str(kept).expect("it can be read");
    assert_eq!((domain.hardware.vcpus_most(), domain.hardware.memory_most_mib()), (2, 96));
    let code = |vcpus, mib| domain.hardware.fits(vcpus, mib).map_err(|error| error.code);
    assert_eq!(code(2, 96), Ok(()));
    assert_eq!(code(2, 64), Err("no-balloon".to_owned()));
    assert_eq!(code(3, 96), Err("beyond-most".to_owned()));
}
