//! The snapshot rules that ship, each bound to `sim` in turn. A verb that they refuse is refused
//! with their reason before anything happens. What they decide about existing snapshots is shown in
//! a dry run, happens, and stands in the feed.

use ostler_api::{ActionBody, Client, ClientError, EventFilter, Sent, Vm};
use ostler_tests::daemon::{self, Daemon, create, done};
use serde_json::{Value, json};
use std::time::Duration;

struct World {
    daemon: Daemon,
    runtime: tokio::runtime::Runtime,
    dir: tempfile::TempDir,
}

impl World {
    fn up() -> Option<Self> {
        if !daemon::is_built() {
            return None;
        }
        let dir = tempfile::tempdir().expect("a folder");
        let daemon = Daemon::start(
            dir.path(),
            &["--grant", "snapshots-xen=all", "--grant", "snapshots-vmware=all"],
        );
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        runtime.block_on(async {
            daemon::datastores(daemon.client(), dir.path()).await;
            daemon::sim_host(daemon.client(), "a", &[]).await;
        });
        Some(Self { daemon, runtime, dir })
    }

    fn client(&self) -> &Client {
        self.daemon.client()
    }

    fn bind(&self, rules: &str) {
        self.runtime.block_on(daemon::rules(self.client(), "sim", rules));
    }

    /// Makes a running VM with one disk of this format.
    fn running(&self, format: &str) -> String {
        let spec = format!(
            "name = \"web\"\nmemory = \"64MiB\"\n[patience]\nboot_grace = \"0s\"\n\
             [[disks]]\nname = \"vda\"\nsize = \"1MiB\"\nformat = \"{format}\"\n"
        );
        self.runtime.block_on(async {
            let vm = create(self.client(), &spec, false).await;
            daemon::in_state(self.client(), &vm, "running", Duration::from_secs(30)).await;
            vm
        })
    }

    fn asked(&self, vm: &str, verb: &str, body: &Value) -> Result<(), String> {
        let sent = Sent { wait: Some(Duration::from_secs(60)), ..Sent::default() };
        match self.runtime.block_on(self.client().act(vm, verb, body, &sent)) {
            Ok(reply) => {
                let outcome = reply.operation.and_then(|operation| operation.outcome);
                assert_eq!(outcome.as_deref(), Some("succeeded"), "{verb}");
                Ok(())
            }
            Err(ClientError::Problem(problem)) => Err(problem.to_string()),
            Err(error) => panic!("{verb}: {error}"),
        }
    }

    fn snapshot(&self, vm: &str, name: &str) -> Result<(), String> {
        self.asked(vm, "snapshot-create", &json!({ "name": name }))
    }

    fn shown(&self, vm: &str) -> Vm {
        self.runtime.block_on(self.client().vm(vm)).expect("a VM")
    }

    /// How many snapshots the VM's domain has at the hypervisor.
    fn at_the_hypervisor(&self, vm: &str) -> usize {
        let file = self.dir.path().join("simhosts/a").join(format!("{}.json", self.shown(vm).uuid));
        let text = std::fs::read_to_string(file).expect("a domain's file");
        let domain: Value = serde_json::from_str(&text).expect("a domain");
        domain["snapshots"].as_array().map_or(0, Vec::len)
    }

    /// How many snapshots a dry run would remove, and how many it would hide.
    fn told(&self, vm: &str, verb: &str) -> (usize, usize) {
        let preview = self
            .runtime
            .block_on(self.client().preview(vm, verb, &ActionBody::default()))
            .expect("a preview");
        (preview.loses.len(), preview.hides.len())
    }

    /// Whether the feed has an event about snapshots that names `verb`.
    fn in_the_feed(&self, vm: &str, verb: &str) -> bool {
        self.runtime.block_on(async {
            let filter = EventFilter {
                after: Some(0),
                vm: Some(vm.to_owned()),
                kind: Some("snapshots".to_owned()),
            };
            let mut events = self.client().events(&filter).await.expect("a feed");
            let next = tokio::time::timeout(Duration::from_secs(20), events.next())
                .await
                .expect("an event comes");
            format!("{next:?}").contains(verb)
        })
    }

    fn done(&self, vm: &str, verb: &str) {
        self.runtime.block_on(done(self.client(), vm, verb));
    }
}

#[test]
fn rules_of_kvm_refuse_a_raw_disk_and_lose_what_would_not_fit() {
    let Some(world) = World::up() else { return };
    world.bind("snapshots-kvm");
    let raw = world.running("raw");
    let before = world.shown(&raw).version;
    let refused = world.snapshot(&raw, "one").expect_err("refused");
    assert!(refused.contains("vda (raw)"), "{refused}");
    assert_eq!(world.shown(&raw).version, before, "nothing has happened");
    let vm = world.running("qcow2");
    world.snapshot(&vm, "one").expect("made");
    assert_eq!(
        (world.at_the_hypervisor(&vm), world.told(&vm, "poweroff-hard"), world.told(&vm, "reboot")),
        (1, (1, 0), (0, 0))
    );
    world.done(&vm, "poweroff-hard");
    assert_eq!(
        (world.shown(&vm).snapshots.len(), world.at_the_hypervisor(&vm)),
        (0, 0),
        "lost, and gone"
    );
    assert!(world.in_the_feed(&vm, "poweroff-hard"));
}

#[test]
fn rules_of_xen_refuse_all_of_them_with_the_reason() {
    let Some(world) = World::up() else { return };
    world.bind("snapshots-xen");
    let vm = world.running("qcow2");
    let refused = world.snapshot(&vm, "one").expect_err("refused");
    assert!(refused.contains("snapshots-xen"), "{refused}");
    assert!(world.shown(&vm).snapshots.is_empty());
}

#[test]
fn rules_of_vmware_keep_them_at_the_hypervisor_and_offer_them_no_longer() {
    let Some(world) = World::up() else { return };
    world.bind("snapshots-vmware");
    let vm = world.running("raw");
    world.snapshot(&vm, "one").expect("made: the format is none of vSphere's business");
    assert_eq!(world.told(&vm, "poweroff-hard"), (0, 1));
    world.done(&vm, "poweroff-hard");
    let shown = world.shown(&vm);
    assert_eq!(
        (shown.snapshots.len(), shown.snapshots[0].hidden, world.at_the_hypervisor(&vm)),
        (1, true, 1)
    );
    assert!(
        world.asked(&vm, "snapshot-delete", &json!({ "name": "one" })).is_err(),
        "no longer offered"
    );
    assert!(world.in_the_feed(&vm, "poweroff-hard"));
}

#[test]
fn an_operator_binds_other_rules_to_one_host_without_touching_it() {
    let Some(world) = World::up() else { return };
    world.bind("snapshots-xen");
    let vm = world.running("qcow2");
    world.snapshot(&vm, "one").expect_err("the driver's rules say no");
    world.runtime.block_on(world.client().bind_host_rules("a", "snapshots-vmware")).expect("bound");
    world.snapshot(&vm, "one").expect("the host's rules say yes");
    world.runtime.block_on(world.client().unbind_host_rules("a")).expect("unbound");
    world.snapshot(&vm, "two").expect_err("the driver's rules count again");
}
