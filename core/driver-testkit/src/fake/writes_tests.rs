//! Tests that the fake tells which starts lose something.

use super::tests::{call, domain, file, host, vm};
use super::{Fake, FakeFile};
use ostler_driver::{Hypervisor, JobStatus, Suspend, Transfer, TransferJob};
use ostler_model::HostId;

/// A guest that has run on host 1, with its two disks there.
async fn has_run() -> Fake {
    let fake = Fake::new();
    for disk in ["vda", "vdb"] {
        let at = file(1, disk);
        let content = FakeFile { content: disk.to_owned(), complete: true };
        fake.put_file(HostId(1), at.datastore, at.path, content);
    }
    fake.deploy(&host(1), &call(1), &domain(1, 1)).await.expect("deployed");
    fake
}

async fn copy(fake: &Fake, step: u64, disk: &str) {
    let (from, to) = (file(1, disk), file(2, disk));
    let job = TransferJob::Copy { from, to, format: None, base: None };
    let copied = Transfer::begin(fake, &host(2), &call(step), &job).await;
    assert!(matches!(copied, Ok(JobStatus::Done(_))), "{copied:?}");
}

#[tokio::test]
async fn a_guest_that_starts_on_fresh_copies_loses_nothing() {
    let fake = has_run().await;
    fake.destroy(&host(1), &call(2)).await.expect("off");
    copy(&fake, 3, "vda").await;
    copy(&fake, 4, "vdb").await;
    fake.deploy(&host(2), &call(5), &domain(2, 2)).await.expect("deployed");
    assert_eq!(fake.lost_writes(), [] as [&str; 0]);
    let disk = file(2, "vda");
    assert!(fake.has_newest(vm(), (HostId(2), &disk.datastore, &disk.path)));
    let old = file(1, "vda");
    assert!(!fake.has_newest(vm(), (HostId(1), &old.datastore, &old.path)), "written to since");
}

#[tokio::test]
async fn a_guest_that_starts_on_an_old_or_a_torn_copy_is_told() {
    let fake = has_run().await;
    // The guest writes to the first disk while it is copied.
    copy(&fake, 2, "vda").await;
    fake.destroy(&host(1), &call(3)).await.expect("off");
    copy(&fake, 4, "vdb").await;
    fake.deploy(&host(2), &call(5), &domain(2, 2)).await.expect("deployed");
    let lost = fake.lost_writes();
    assert!(lost.len() == 1 && lost[0].contains("of vda"), "{lost:?}");
}

#[tokio::test]
async fn memory_that_is_older_than_the_disks_is_told() {
    let fake = has_run().await;
    let memory = file(1, "memory");
    fake.save(&host(1), &call(2), &memory).await.expect("saved");
    fake.restore(&host(1), &call(3), &domain(1, 1), &memory).await.expect("restored");
    assert_eq!(fake.lost_writes(), [] as [&str; 0], "nobody has written since it was saved");
    fake.unpause(&host(1), &call(4)).await.expect("runs");
    fake.destroy(&host(1), &call(5)).await.expect("off");
    fake.restore(&host(1), &call(6), &domain(1, 1), &memory).await.expect("restored");
    let lost = fake.lost_writes();
    assert!(lost.len() == 2 && lost[0].contains("old memory"), "{lost:?}");
}
