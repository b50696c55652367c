//! The commands of a driver on this machine, confined by the real kernel.

mod support;

use ostler_driver::Hypervisor;
use ostler_wasm::{Confine, HostOptions, can_confine};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use support::{all, host, hypervisor, load, nowhere, options, site, told};

async fn driver(confine: Confine) -> Arc<dyn Hypervisor> {
    let host = host(HostOptions { confine, ..options() });
    hypervisor(&load(&host, all()).await)
}

/// Whether the kernel of this machine can confine; without that nothing is tested. That is said
/// past the test harness, which keeps the output of a test that passes.
fn can() -> bool {
    let can = can_confine();
    if !can {
        let _ = std::io::stderr().write_all(b"SKIPPED: the kernel has no Landlock\n");
    }
    can
}

/// A folder with a secret in it, and a datastore beside it with a script of the driver's that reads
/// the secret, writes beside it, and writes into the datastore.
fn attack(folder: &Path) -> std::path::PathBuf {
    let datastore = folder.join("ds");
    std::fs::create_dir(&datastore).expect("a folder");
    std::fs::write(folder.join("secret"), "hunter2").expect("a file");
    let (here, outside) = (datastore.display(), folder.display());
    let script = format!(
        "cat {outside}/secret\necho x >{outside}/planted\nln -s {outside}/secret {here}/link\n\
         cat {here}/link\nmv {here}/script {outside}/moved\necho done >{here}/made\n"
    );
    std::fs::write(datastore.join("script"), script).expect("a file");
    datastore
}

#[tokio::test]
async fn a_program_that_does_what_a_file_says_stays_in_the_datastores() {
    if !can() {
        return;
    }
    for confine in [Confine::IfPossible, Confine::Always, Confine::Never] {
        let folder = tempfile::tempdir().expect("a folder");
        let datastore = attack(folder.path());
        let site = site(&datastore, "exec do script=ds:script");
        let answer = told(&driver(confine).await, &site).await.expect("told");
        let escaped = answer.contains("hunter2")
            || folder.path().join("planted").exists()
            || folder.path().join("moved").exists();
        // The last one is the control: the script does harm where nothing confines it.
        assert_eq!(escaped, confine == Confine::Never, "{confine:?}: {answer}");
        assert!(datastore.join("made").exists(), "it may write there: {confine:?}: {answer}");
    }
}

#[tokio::test]
async fn root_is_left_no_way_round() {
    // A user who is not root has none of these ways.
    if !can() || !rustix::process::geteuid().is_root() {
        return;
    }
    // 1:11 is the log of the kernel. The environment of this process is that of the daemon.
    let environment = format!("/proc/{}/environ", std::process::id());
    let script = format!(
        "mknod ${{0%/*}}/log c 1 11 && echo node\ncat {environment} >/dev/null && echo environment\n"
    );
    for confine in [Confine::Always, Confine::Never] {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("script"), &script).expect("a file");
        let site = site(folder.path(), "exec do script=ds:script");
        let answer = told(&driver(confine).await, &site).await.expect("told");
        // The last one is the control.
        for way in ["node\\n", "environment\\n"] {
            assert_eq!(answer.contains(way), confine == Confine::Never, "{confine:?}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_command_reaches_what_its_template_names() {
    if !can() || !Path::new("/var/lib/dpkg/status").is_file() {
        return;
    }
    let driver = driver(Confine::Always).await;
    let refused = told(&driver, &nowhere("exec not-reached")).await.expect("told");
    assert!(refused.contains("Permission denied"), "{refused}");
    let read = told(&driver, &nowhere("exec reached")).await.expect("told");
    assert!(read.contains("Package:"), "{read}");
}
