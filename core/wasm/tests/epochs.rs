//! The epoch of a daemon at a host that is reached without ssh. `ssh.rs` does the same over ssh.

mod support;

use ostler_wasm::HostOptions;
use std::os::unix::net::UnixListener;
use support::{all, epochs, host, hypervisor, load, options, site, told_at};

#[tokio::test]
async fn this_machine_does_nothing_for_a_daemon_that_is_no_longer_in_charge() {
    let (root, kept) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let folder = kept.path().join("epochs");
    let host = host(HostOptions { epochs: Some(folder.clone()), ..options() });
    let driver = hypervisor(&load(&host, all()).await);
    epochs(&driver, |deed| site(root.path(), deed), root.path(), &folder).await;
}

#[tokio::test]
async fn a_socket_is_not_connected_to_for_a_lower_epoch() {
    let (root, kept) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let listener = UnixListener::bind(root.path().join("peer")).expect("a socket");
    listener.set_nonblocking(true).expect("set");
    let host = host(HostOptions { epochs: Some(kept.path().to_owned()), ..options() });
    let driver = hypervisor(&load(&host, all()).await);
    told_at(&driver, &site(root.path(), "make ds a"), 6).await.expect("made");
    let talk = site(root.path(), "talk peer file=ds:peer x");
    assert!(told_at(&driver, &talk, 5).await.expect_err("lower").is_superseded());
    assert!(listener.accept().is_err(), "somebody has connected");
}
