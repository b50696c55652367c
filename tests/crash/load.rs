//! A mixed load: six clients send random requests about random VMs until the daemon is gone.

use crate::{CONVERGE, HOSTS, VMS};
use ostler_api::{Client, ClientError, ListFilter, Sent};
use ostler_tests::daemon::poll;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

const VERBS: [&str; 33] = [
    "deploy",
    "suspend",
    "resume",
    "stop",
    "poweroff",
    "poweroff-hard",
    "undeploy",
    "undeploy-hard",
    "shutdown-hard",
    "reboot",
    "delete",
    "delete-recreate",
    "recover-retry",
    "recover-undo",
    "release",
    "migrate",
    "migrate-live",
    "migrate-live",
    "migrate-poweroff",
    "migrate-poweroff-hard",
    "resched",
    "disk-attach",
    "disk-detach",
    "nic-attach",
    "nic-detach",
    "snapshot-create",
    "snapshot-revert",
    "snapshot-delete",
    "disk-snapshot",
    "disk-snapshot-live",
    "disk-snapshot-cancel",
    "resize",
    "schedule",
];

/// The body for a verb. Chance decides whether it makes sense. A refused request must change
/// nothing.
fn body(verb: &str, vm: u64, rng: &mut SmallRng) -> Value {
    let host = HOSTS[rng.random_range(0..HOSTS.len())];
    let disk = ["vda", "vdb", "vdc"][rng.random_range(0..3)];
    let image = format!("made-{}", rng.random::<u32>());
    let label = ["one", "two"][rng.random_range(0..2)];
    match verb {
        "deploy" => json!({ "host": HOSTS[vm as usize % HOSTS.len()] }),
        "migrate" | "migrate-live" | "migrate-poweroff" | "migrate-poweroff-hard" => {
            json!({ "host": host })
        }
        "disk-attach" => json!({ "size": "1MiB", "name": disk }),
        "disk-detach" => json!({ "name": disk }),
        "nic-attach" => json!({ "bridge": "br0", "mac": "52:54:00:00:00:01" }),
        "nic-detach" => json!({ "mac": "52:54:00:00:00:01" }),
        "snapshot-create" | "snapshot-revert" | "snapshot-delete" => json!({ "name": label }),
        "disk-snapshot" | "disk-snapshot-live" => {
            json!({ "disk": disk, "image": image, "datastore": "images" })
        }
        "disk-snapshot-cancel" => json!({ "disk": disk }),
        "resize" => json!({ "memory": format!("{}MiB", rng.random_range(32..96)) }),
        "schedule" => json!({ "verb": "reboot", "when": "every 1m", "times": 2 }),
        _ => json!({}),
    }
}

#[derive(Default)]
pub(crate) struct Told {
    /// Operations that an answer has named, each with its VM.
    pub(crate) operations: BTreeMap<u64, u64>,
    /// The first operation id that was not looked for after an earlier kill.
    pub(crate) looked_for: u64,
    /// VMs whose creation was answered.
    pub(crate) vms: BTreeSet<u64>,
    /// How many requests about VMs were answered, including refusals.
    pub(crate) answered: usize,
    /// How often each verb was accepted.
    pub(crate) accepted: BTreeMap<&'static str, u64>,
}

impl Told {
    /// All operations that were answered up to now were looked for.
    pub(crate) fn looked_for_all(&mut self) {
        self.looked_for = self.operations.last_key_value().map_or(0, |(last, _)| last + 1);
    }
}

/// Waits until so many more requests about VMs are answered.
pub(crate) async fn answered(told: &Mutex<Told>, more: usize) {
    let enough = told.lock().expect("whole").answered + more;
    poll("requests to be answered", CONVERGE, async || {
        let answered = told.lock().expect("whole").answered;
        if answered >= enough { Ok(()) } else { Err(format!("{answered} of {enough} were")) }
    })
    .await;
}

/// Sends requests until the daemon is gone.
pub(crate) async fn load(client: Client, told: Arc<Mutex<Told>>, seed: u64) {
    let workers = (0..6u64).map(|at| {
        worker(client.clone(), Arc::clone(&told), SmallRng::seed_from_u64(seed.wrapping_add(at)))
    });
    futures::future::join_all(workers).await;
}

async fn worker(client: Client, told: Arc<Mutex<Told>>, mut rng: SmallRng) {
    loop {
        let page =
            match client.vms(&ListFilter { limit: Some(1000), ..ListFilter::default() }).await {
                Ok(page) => page,
                Err(ClientError::Problem(problem)) => panic!("a list is never refused: {problem}"),
                Err(_) => return,
            };
        let sent = if page.vms.len() < VMS {
            create(&client, &told, &mut rng).await
        } else {
            let vm = page.vms[rng.random_range(0..page.vms.len())].id;
            let verb = VERBS[rng.random_range(0..VERBS.len())];
            let body = body(verb, vm, &mut rng);
            act(&client, &told, vm, verb, &body).await
        };
        if sent.is_err() {
            return;
        }
    }
}

/// The connection broke, because the daemon was killed.
struct Gone;

async fn create(client: &Client, told: &Mutex<Told>, rng: &mut SmallRng) -> Result<(), Gone> {
    let disk =
        if rng.random_ratio(1, 4) { "[[disks]]\nname = \"vda\"\nsize = \"1MiB\"\n" } else { "" };
    let spec = format!(
        "name = \"chaos\"\nmemory = \"64MiB\"\n{disk}[patience]\nboot_grace = \"0s\"\nshutdown = \"2s\"\n"
    );
    let spec = toml::from_str(&spec).expect("a specification");
    match client.create_vm(&ostler_api::CreateVm { spec, hold: rng.random_ratio(1, 8) }, None).await
    {
        Ok(reply) => {
            told.lock().expect("whole").vms.insert(reply.vm);
            Ok(())
        }
        Err(ClientError::Problem(problem)) => panic!("a creation is never refused here: {problem}"),
        Err(_) => Err(Gone),
    }
}

async fn act(
    client: &Client,
    told: &Mutex<Told>,
    vm: u64,
    verb: &'static str,
    body: &Value,
) -> Result<(), Gone> {
    let answer = client.act(&vm.to_string(), verb, body, &Sent::default()).await;
    let mut told = told.lock().expect("whole");
    told.answered += usize::from(matches!(answer, Ok(_) | Err(ClientError::Problem(_))));
    match answer {
        Ok(reply) => {
            *told.accepted.entry(verb).or_default() += 1;
            told.operations.extend(reply.operation.map(|operation| (operation.id, operation.vm)));
            Ok(())
        }
        // Most random verbs are refused.
        Err(ClientError::Problem(_)) => Ok(()),
        Err(_) => Err(Gone),
    }
}
