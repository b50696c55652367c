//! A second daemon with a copy of a store: the first one, which was thought dead and wakes up,
//! changes nothing on the hosts any more. With real daemons and real components.

use ostler_api::{ActionBody, Client, ClientError, Sent};
use ostler_tests::daemon::{self, Daemon, create, datastores, done, in_state, poll, sim_host};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

fn signal(daemon: &Daemon, signal: Signal) {
    let pid = daemon.pid().and_then(|pid| Pid::from_raw(pid.cast_signed())).expect("it runs");
    kill_process(pid, signal).expect("it can be told");
}

/// All files below a folder with their content.
fn content(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            all.extend(content(&path));
        } else {
            all.insert(path.display().to_string(), std::fs::read(&path).expect("a file"));
        }
    }
    all
}

/// Asks for a verb that has to change something on the host, until the daemon says that another one
/// is in charge.
async fn learns(client: &Client, vm: &str, verb: &str) -> String {
    poll("the daemon to learn that it is not in charge", PATIENCE, async || {
        let sent = Sent { wait: Some(Duration::from_millis(100)), ..Sent::default() };
        match client.act(vm, verb, &ActionBody::default(), &sent).await {
            Err(ClientError::Problem(problem)) if problem.status == 503 => Ok(problem.detail),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_was_thought_dead_changes_nothing_any_more() {
    if !daemon::is_built() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    std::fs::create_dir_all(one.join("data")).expect("made");
    std::fs::create_dir_all(two.join("data")).expect("made");
    let epochs = dir.path().join("epochs").display().to_string();
    let mut first = Daemon::start(&one, &["--epochs", &epochs]);
    datastores(first.client(), dir.path()).await;
    sim_host(first.client(), "h1", &[]).await;
    let spec = "name = \"vm\"\nmemory = \"64MiB\"\nhost = \"h1\"\n[patience]\nboot_grace = \"0s\"\n\
                [[disks]]\nname = \"vda\"\nsize = \"1MiB\"\nformat = \"qcow2\"\n";
    let vm = create(first.client(), spec, false).await;
    in_state(first.client(), &vm, "running", PATIENCE).await;
    signal(&first, Signal::STOP);
    let store = "data/store.redb";
    std::fs::copy(one.join(store), two.join(store)).expect("copied");
    let second = Daemon::start(&two, &["--epochs", &epochs]);
    done(second.client(), &vm, "poweroff-hard").await;
    let hosts = dir.path().join("simhosts");
    let before = content(&hosts);
    // It wakes up, and knows nothing of the other one.
    signal(&first, Signal::CONT);
    let detail = learns(first.client(), &vm, "resume").await;
    assert!(detail.contains("h1") && detail.contains("ostlerd --epoch"), "{detail}");
    assert_eq!(content(&hosts), before);
    let known = first.client().vm(&vm).await.expect("still answered");
    assert!(!["failed", "unknown"].contains(&&*known.state), "{known:?}");
    let host = first.client().host("h1").await.expect("still answered");
    let error = host.health.and_then(|health| health.error).unwrap_or_default();
    assert!(error.contains("another daemon has taken charge"), "{error}");
    // A restart does not put it in charge again.
    first.kill();
    first.up();
    learns(first.client(), &vm, "resume").await;
    assert_eq!(content(&hosts), before);
    assert_eq!(second.client().vm(&vm).await.expect("answered").state, "poweroff");
    // An operator ends the second one, and puts the first one in charge again.
    drop(second);
    first.kill();
    drop(first);
    let back = Daemon::start(&one, &["--epochs", &epochs, "--epoch", "1000000000000"]);
    in_state(back.client(), &vm, "running", PATIENCE).await;
    done(back.client(), &vm, "poweroff-hard").await;
}
