//! Starting, ending, and starting again.

use crate::daemon::{Daemon, ostlerd};

#[tokio::test]
async fn a_restart_keeps_everything() {
    let daemon = Daemon::start();
    let (id, token, dir) = (daemon.vm("kept").await, daemon.token.clone(), daemon.dir.clone());
    let seq = daemon.seq().await;
    let (code, files) = daemon.stop();
    assert_eq!(code, Some(0));
    assert!(!dir.join("ostler.sock").exists(), "the socket is left behind");
    let daemon = Daemon::on(dir, files);
    assert_eq!(
        (daemon.local.vm("kept").await.expect("the VM").id, daemon.token.as_str()),
        (id, token.as_str())
    );
    assert!(daemon.seq().await >= seq);
    assert_eq!(
        daemon.get("/v1/vms/kept").await.status,
        200,
        "the first token is good after a restart"
    );
}

#[tokio::test]
async fn a_socket_left_by_a_killed_daemon_is_in_nobodys_way() {
    let mut daemon = Daemon::start();
    let (dir, pid) = (daemon.dir.clone(), daemon.pid().to_string());
    let killed =
        std::process::Command::new("kill").args(["-KILL", &pid]).status().expect("kill runs");
    assert!(killed.success());
    daemon.wait();
    let files = daemon.take_files();
    assert!(dir.join("ostler.sock").exists());
    let daemon = Daemon::on(dir, files);
    assert_eq!(daemon.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn a_second_daemon_on_the_same_store_ends_at_once() {
    let daemon = Daemon::start();
    let dir = daemon.dir.display().to_string();
    let second = ostlerd(&["--data-dir", &dir, "--listen", "127.0.0.1:0"]);
    assert_eq!(second.status.code(), Some(3));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("is in use"), "{said}");
    assert_eq!(daemon.get("/readyz").await.status, 200, "the first goes on");
}

#[test]
fn settings_that_make_no_sense_end_with_2() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").display().to_string();
    let file = folder.path().join("ostlerd.toml");
    std::fs::write(&file, "plugin_dri = \"/x\"\n").expect("a file");
    let confine = folder.path().join("confine.toml");
    std::fs::write(&confine, "[commands]\nconfine = \"sometimes\"\n").expect("a file");
    let confine = confine.display().to_string();
    let file = file.display().to_string();
    for arguments in [
        &["--listen", "0.0.0.0:0"][..],
        &["--listen", "nonsense"],
        &["--config", &file],
        &["--config", &confine],
        &["--config", "/nowhere"],
    ] {
        let all = [&["--data-dir", &data], arguments].concat();
        let ended = ostlerd(&all);
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(!said.trim().is_empty());
    }
    let said = String::from_utf8_lossy(&ostlerd(&["--config", &file]).stderr).into_owned();
    assert!(said.contains("did you mean plugin_dir?"), "{said}");
    assert!(!folder.path().join("data").exists(), "something was made");
}

#[test]
fn bindings_of_rules_that_are_misspelt_end_with_2() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").display().to_string();
    for (binding, told) in [
        ("kvmm=snapshots-kvm", "did you mean kvm?"),
        ("kvm=snapshot-kvm", "no driver named snapshot-kvm"),
    ] {
        let ended = ostlerd(&["--data-dir", &data, "--listen", "off", "--rules", binding]);
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(2), "{binding}: {said}");
        assert!(said.contains(told), "{binding}: {said}");
    }
    // There is a driver of this name, and it is of another kind.
    let ended = ostlerd(&["--data-dir", &data, "--listen", "off", "--rules", "kvm=kvm"]);
    assert!(
        String::from_utf8_lossy(&ended.stderr).contains("a snapshot-rules driver is needed here"),
        "{ended:?}"
    );
}

#[test]
fn a_log_filter_that_is_misspelt_ends_with_2_and_does_not_silence_the_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").display().to_string();
    for filter in ["wran", "warn,ostler_engine", "ostler_engine=loud"] {
        let ended = ostlerd(&["--data-dir", &data, "--listen", "off", "--log", filter]);
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(2), "{filter}: {said}");
        assert!(said.contains("--log"), "{filter}: {said}");
    }
    assert!(!folder.path().join("data").exists(), "nothing was begun");
}

#[test]
fn a_data_directory_that_others_can_write_to_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    std::fs::create_dir(&data).expect("a folder");
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o777)).expect("it is ours");
    let ended = ostlerd(&["--data-dir", &data.display().to_string(), "--listen", "off"]);
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("others may write to it (mode 777)"), "{said}");
    assert_eq!(std::fs::read_dir(&data).expect("it is there").count(), 0, "something was made");
}
