//! The script: the same verbs for each driver. A request goes out under its own key, again and again,
//! until it is answered; so it is done once, however often the daemon is killed.

use crate::scene::{Actor, Driver};
use ostler_api::{ClientError, CreateVm, Operation, Problem, Sent, Vm};
use ostler_tests::daemon::poll;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// How long a boot may take under emulation on a busy machine, and an operation with one.
const BOOT: Duration = Duration::from_secs(120);
/// How often a press of the power button is tried. A press is written down before it is sent, and
/// never sent twice: so a daemon that is killed between the two loses it, and the operation fails.
const PRESSES: u32 = 3;
/// How long a guest may take to boot anew before it counts as one that has not heard.
const HEARD: Duration = Duration::from_secs(60);

/// A VM on its walk.
struct Walker {
    actor: Actor,
    vm: String,
    console: PathBuf,
    asked: u32,
}

/// Walks from the creation of a VM to its end.
pub(crate) async fn walk(actor: Actor) {
    let mut walker = Walker::created(actor).await;
    walker.starts_at(0).await;
    walker.presses("poweroff", "poweroff").await;
    walker.boots("resume", json!({})).await;
    walker.reboots().await;
    walker.saves().await;
    walker.goes_back().await;
    walker.plugs().await;
    walker.grows().await;
    walker.moves().await;
    walker.presses("undeploy", "undeployed").await;
    walker.starts_at(0).await;
    walker.does("delete", json!({}), "done").await;
}

impl Walker {
    async fn created(actor: Actor) -> Self {
        let spec: ostler_api::VmSpec = toml::from_str(&actor.spec).expect("a specification");
        let key = format!("{}-create", actor.called);
        let new = CreateVm { spec, hold: true };
        let answer = poll("the creation to be answered", BOOT, async || {
            match actor.client.create_vm(&new, Some(&key)).await {
                Ok(reply) => Ok(reply.vm.to_string()),
                Err(ClientError::Problem(problem)) => panic!("{key}: {problem}"),
                Err(error) => Err(error.to_string()),
            }
        });
        let vm = answer.await;
        let mut walker = Self { actor, vm, console: PathBuf::new(), asked: 0 };
        let uuid = walker.rests("hold").await.uuid;
        walker.actor.places.add(&uuid);
        walker.console = walker.actor.store.join("vms").join(uuid).join("console.log");
        walker
    }

    fn is_real(&self) -> bool {
        self.actor.driver != Driver::Sim
    }

    /// What the guest has said so often.
    fn said(&self, what: &str) -> usize {
        let text = std::fs::read(&self.console).unwrap_or_default();
        String::from_utf8_lossy(&text).matches(what).count()
    }

    /// Waits until a real guest has said something more often.
    async fn says(&self, what: &str, before: usize) {
        if self.is_real() {
            poll(&format!("{} to say {what}", self.actor.called), BOOT, async || {
                let said = self.said(what);
                if said > before { Ok(()) } else { Err(format!("{said} times")) }
            })
            .await;
        }
    }

    /// Waits for a state without an operation.
    async fn rests(&self, state: &str) -> Vm {
        self.rests_in(&[state]).await
    }

    /// Waits for one of these states.
    async fn rests_in(&self, states: &[&str]) -> Vm {
        poll(&format!("{} to be {states:?}", self.actor.called), BOOT, async || {
            let seen = self.actor.client.vm(&self.vm).await.map_err(|error| error.to_string())?;
            let rests = states.contains(&seen.state.as_ref()) && seen.operation.is_none();
            if rests { Ok(seen) } else { Err(format!("{} {:?}", seen.state, seen.operation)) }
        })
        .await
    }

    /// Asks for a verb, and waits until its operation has ended. None if it needed none.
    async fn asks(&mut self, verb: &str, body: &Value) -> Result<Option<Operation>, Problem> {
        self.asked += 1;
        let key = format!("{}-{}-{verb}", self.actor.called, self.asked);
        let sent = Sent { idempotency_key: Some(key.clone()), ..Sent::default() };
        let client = &self.actor.client;
        let reply =
            poll("an answer", BOOT, async || match client.act(&self.vm, verb, body, &sent).await {
                Ok(reply) => Ok(Ok(reply)),
                Err(ClientError::Problem(problem)) => Ok(Err(*problem)),
                Err(error) => Err(error.to_string()),
            });
        let Some(begun) = reply.await?.operation else { return Ok(None) };
        // Nobody listens when the kills are over.
        let _ = self.actor.begun.send(begun.id);
        let wait = Some(Duration::from_secs(2));
        let what = format!("the end of {key}");
        let ended = poll(&what, BOOT, async || match client.operation(begun.id, wait).await {
            Ok(operation) if operation.ended.is_some() => Ok(operation),
            Ok(operation) => Err(format!("{operation:?}")),
            Err(ClientError::Problem(problem)) => panic!("{key} was answered: {problem}"),
            Err(error) => Err(error.to_string()),
        });
        Ok(Some(ended.await))
    }

    /// A verb that must succeed.
    async fn does(&mut self, verb: &str, body: Value, state: &str) {
        let called = self.actor.called.clone();
        let ended = self.asks(verb, &body).await;
        let ended = ended.unwrap_or_else(|problem| panic!("{verb} of {called}: {problem}"));
        let outcome = ended.as_ref().and_then(|ended| ended.outcome.as_deref());
        assert!(matches!(outcome, None | Some("succeeded")), "{verb} of {called}: {ended:#?}");
        self.rests(state).await;
    }

    /// A verb that the driver cannot do. Nothing changes, and the reason is told.
    async fn is_refused(&mut self, verb: &str, body: Value, reason: &str) {
        let told = match self.asks(verb, &body).await {
            Err(problem) => format!("{} {}", problem.code, problem.detail),
            Ok(ended) => {
                let error = ended.as_ref().and_then(|ended| ended.error.as_ref());
                error.map(|error| format!("{} {}", error.code, error.detail)).unwrap_or_default()
            }
        };
        assert!(told.contains(reason), "{verb} of {}: {told:?}", self.actor.called);
        self.rests("running").await;
    }

    /// A verb that presses the power button.
    async fn presses(&mut self, verb: &str, state: &str) {
        for _ in 0..PRESSES {
            let ended = self.asks(verb, &json!({})).await;
            let ended = ended.unwrap_or_else(|problem| panic!("{verb}: {problem}"));
            if ended.as_ref().is_some_and(|ended| ended.outcome.as_deref() == Some("succeeded")) {
                self.rests(state).await;
                return;
            }
            println!("{} {verb} has ended so: {ended:?}", self.actor.called);
            // A guest may also hear the press after the deadline.
            if self.rests_in(&["running", "poweroff"]).await.state == state {
                return;
            }
        }
        panic!("{} did not hear {PRESSES} presses", self.actor.called);
    }

    /// A verb after which the guest boots.
    async fn boots(&mut self, verb: &str, body: Value) {
        let before = self.said("GUEST-READY");
        self.does(verb, body, "running").await;
        self.says("GUEST-READY", before).await;
    }

    async fn starts_at(&mut self, host: usize) {
        self.boots("deploy", json!({"host": self.actor.driver.hosts()[host]})).await;
    }

    /// The keys that mean a reboot are lost as a press may be, and then no operation fails: nobody
    /// can see from outside whether a guest has heard them.
    async fn reboots(&mut self) {
        for _ in 0..PRESSES {
            let before = self.said("GUEST-READY");
            self.does("reboot", json!({}), "running").await;
            if tokio::time::timeout(HEARD, self.says("GUEST-READY", before)).await.is_ok() {
                return;
            }
            println!("{} reboot is asked again", self.actor.called);
        }
        panic!("{} did not hear {PRESSES} times", self.actor.called);
    }

    /// The guest goes on where it was, and has not booted.
    async fn saves(&mut self) {
        let boots = self.said("GUEST-READY");
        self.does("suspend", json!({}), "suspended").await;
        self.does("resume", json!({}), "running").await;
        self.says("TICK", self.said("TICK")).await;
        assert_eq!(self.said("GUEST-READY"), boots, "{} has booted anew", self.actor.called);
    }

    async fn goes_back(&mut self) {
        self.does("snapshot-create", json!({"name": "here"}), "running").await;
        self.does("snapshot-revert", json!({"name": "here"}), "running").await;
        self.says("TICK", self.said("TICK")).await;
        self.does("snapshot-delete", json!({"name": "here"}), "running").await;
    }

    async fn plugs(&mut self) {
        let (came, went) = (self.said("DISK+ vdb"), self.said("DISK- vdb"));
        self.does("disk-attach", json!({"name": "vdb", "size": "8MiB"}), "running").await;
        self.says("DISK+ vdb", came).await;
        self.does("disk-detach", json!({"name": "vdb"}), "running").await;
        self.says("DISK- vdb", went).await;
    }

    /// It moves with its memory, as it has become: grown, and without a disk in the middle.
    async fn moves(&mut self) {
        let (came, went) = (self.said("DISK+ vdc"), self.said("DISK- vdb"));
        for disk in ["vdb", "vdc"] {
            self.does("disk-attach", json!({"name": disk, "size": "8MiB"}), "running").await;
        }
        self.says("DISK+ vdc", came).await;
        self.does("disk-detach", json!({"name": "vdb"}), "running").await;
        self.says("DISK- vdb", went).await;
        let boots = self.said("GUEST-READY");
        let there = self.actor.driver.hosts()[1];
        self.does("migrate", json!({"host": there}), "running").await;
        self.says("TICK", self.said("TICK")).await;
        assert_eq!(self.said("GUEST-READY"), boots, "{} has booted anew", self.actor.called);
    }

    async fn grows(&mut self) {
        let (memory, cpus) = (self.said("MEMORY kb="), self.said("CPUS 2"));
        self.does("resize", json!({"memory": "128MiB"}), "running").await;
        self.says("MEMORY kb=", memory).await;
        if self.actor.driver == Driver::Kvm && self.actor.emulated {
            self.is_refused("resize", json!({"vcpus": 2}), "emulated").await;
        } else {
            self.does("resize", json!({"vcpus": 2}), "running").await;
            self.says("CPUS 2", cpus).await;
        }
        self.is_refused("resize", json!({"memory": "1GiB"}), "128 MiB").await;
        if self.actor.driver == Driver::Qemu {
            let there = self.actor.driver.hosts()[1];
            self.is_refused("migrate-live", json!({"host": there}), "not offer migrate").await;
        }
    }
}
