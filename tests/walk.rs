//! Runs `tests/walk.sh`: an operator's walk through the life of VMs, with the command line only, on
//! real guests and two hosts.

use ostler_tests::daemon;
use ostler_tests::kvm::{Kvm, Storage};
use std::path::Path;
use std::process::Command;

#[test]
fn an_operator_walks_through_all_of_it_with_the_command_line() {
    let Some(kvm) = Kvm::up(2, Storage::Shared, &[]) else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("walk.sh");
    let out = Command::new("bash")
        .arg(&script)
        .env("OSTLER", daemon::binaries().join("ostler"))
        .env("OSTLER_SERVER", format!("unix:{}", kvm.daemon.socket().display()))
        .env("STORE", kvm.hosts.store())
        .env("WORK", kvm.dir())
        .output()
        .expect("bash runs");
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{said}\n{}", String::from_utf8_lossy(&out.stderr));
    assert!(said.contains("That was all of it"), "{said}");
    assert!(kvm.all_domains().is_empty(), "{:?}", kvm.all_domains());
    kvm.books_are_right();
}
