//! Saved memory against libvirt's own test driver, which lives in this process and keeps a state of
//! its own for each connection.

use super::*;
use crate::stamp::Stamp;
use ostler_model::{EffectKey, Generation, Item, OperationId, StepNo, VmUuid};
use std::path::PathBuf;

/// A host with one running domain, stamped with generation 1.
struct Rig {
    dir: PathBuf,
    live: Live,
    spec: DomainSpec,
}

impl Rig {
    fn up(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("ostler-memory-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a folder");
        let mut spec = crate::xml::tests::spec();
        (spec.disks, spec.nics) = (Vec::new(), Vec::new());
        spec.identity.generation = Generation(1);
        let xml = format!(
            "<node><domain type='test'><name>{}</name><uuid>{}</uuid><memory>8192</memory><os><type>hvm</type></os></domain></node>",
            spec.name, spec.identity.vm
        );
        let host = dir.join("host.xml");
        std::fs::write(&host, xml).expect("written");
        let live = Live::open(&format!("test://{}", host.display()), None).expect("opens");
        let rig = Self { dir, live, spec };
        rig.stamp(1);
        rig
    }

    fn domain(&self) -> Domain {
        Domain::lookup_by_uuid(self.live.connect(), self.spec.identity.vm.0).expect("there")
    }

    fn stamp(&self, generation: u64) {
        let identity =
            ostler_model::Identity { generation: Generation(generation), ..self.spec.identity };
        write_stamp(&self.live, &self.domain(), &Stamp::new(identity)).expect("stamped");
    }

    fn order(&self, step: u64, generation: u64) -> Order {
        let key = EffectKey {
            vm: self.vm(),
            operation: OperationId(1),
            step: StepNo(step),
            item: Item::Domain,
        };
        Order {
            store: self.spec.identity.store,
            key,
            generation: Generation(generation),
            spares: None,
        }
    }

    const fn vm(&self) -> VmUuid {
        self.spec.identity.vm
    }

    fn file(&self) -> FileRef {
        let mut file = self.spec.console_log.clone();
        file.absolute = self.dir.join("memory").display().to_string();
        file
    }

    fn restore(&self, generation: u64) -> CallResult {
        let mut spec = self.spec.clone();
        spec.identity.generation = Generation(generation);
        restore(&self.live, &self.order(9, generation), &spec, &self.file())
    }

    /// Somebody starts the domain and has libvirt save it.
    fn runs_and_is_kept(&self) {
        self.domain().create().expect("starts");
        self.domain().managed_save(0).expect("saved");
    }

    fn is_kept(&self) -> bool {
        self.domain().has_managed_save(0).expect("told")
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // Files that stay in the folder for temporary files fail no test.
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

#[test]
fn memory_that_libvirt_keeps_ends_no_save_of_ours() {
    let rig = Rig::up("ends");
    let order = rig.order(2, 1);
    let seen = save(&rig.live, &order, &rig.file()).expect("saved").seen;
    assert!(
        matches!(&seen, Some(Observation::Present(seen)) if seen.reason == PowerReason::Saved),
        "{seen:?}"
    );
    save(&rig.live, &order, &rig.file()).expect("the same save again");
    rig.runs_and_is_kept();
    let error = save(&rig.live, &order, &rig.file()).expect_err("the guest has run since");
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Gone, "not-running"));
    let seen = look(&rig.live, rig.vm()).expect("looked").expect("there");
    let Observation::Present(seen) = crate::look::observation(&rig.live, &seen).expect("seen")
    else {
        panic!("it is there")
    };
    assert_eq!((seen.power, seen.reason), (Power::Off, PowerReason::Kept));
}

#[test]
fn newer_memory_that_libvirt_keeps_outlives_a_restore_of_an_older_file() {
    let rig = Rig::up("outlives");
    save(&rig.live, &rig.order(2, 1), &rig.file()).expect("saved");
    rig.runs_and_is_kept();
    let error = rig.restore(2).expect_err("it would go back in time");
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Refused, "newer-memory"));
    assert!(rig.is_kept());
    std::fs::remove_file(rig.dir.join("memory")).expect("removed");
    assert_eq!(rig.restore(2).expect_err("no file").kind, ErrorKind::Gone);
    assert!(rig.is_kept(), "the only memory that is left");
}

#[test]
fn older_memory_that_libvirt_keeps_goes_before_a_restore() {
    let rig = Rig::up("older");
    rig.stamp(2);
    save(&rig.live, &rig.order(2, 2), &rig.file()).expect("saved");
    rig.stamp(1);
    rig.runs_and_is_kept();
    // The test driver accepts no machine of ours, so the error that follows is libvirt's refusal.
    drop(rig.restore(3));
    assert!(!rig.is_kept());
}

#[test]
fn a_file_that_could_not_be_read_is_not_said_to_be_gone() {
    let rig = Rig::up("unread");
    let read = |path: &std::path::Path| {
        image::read(&rig.live, &path.display().to_string()).map(drop).expect_err("no memory")
    };
    let kinds = |error: DriverError| (error.kind, error.code);
    assert_eq!(
        kinds(read(&rig.dir.join("nothing"))),
        (ErrorKind::Gone, "no-recovery-file".to_owned())
    );
    assert_eq!(
        kinds(read(&rig.dir.join("host.xml/below"))),
        (ErrorKind::Gone, "no-recovery-file".to_owned())
    );
    let looped = rig.dir.join("loop");
    std::os::unix::fs::symlink(&looped, &looped).expect("linked");
    assert_eq!(kinds(read(&looped)), (ErrorKind::Retry, "no-answer".to_owned()));
}
