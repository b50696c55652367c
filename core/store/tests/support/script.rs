//! The scripted run of the crash tests: every kind of change, alone and in batches.

use super::*;
use ostler_store::{DriverRow, EarlierDriver, RulesBinding, SecretRow, TokenRow};

/// Commits that are to be one batch. Those that are refused are part of the script.
pub(crate) type Step = Vec<Commit>;

/// One VM's life from created to done: six commits, with operation, outbox, timer and idempotency
/// rows.
fn life(id: u64, host: u32) -> Vec<Commit> {
    let operation_id = id * 10;
    let mut created = create(with_disk(vm(id), 1));
    created.claims = of(&created).claims(&[Ask::image(ImageId(1))]);
    created.idempotency = Some(answer(&format!("create-{id}"), "body", 100 + id));
    created.operations = vec![operation(operation_id, id, true)];
    let (record, effect) = busy(placed(of(&created), host), operation_id + 1, 1000 + id);
    let mut deploy = change(record);
    deploy = with_room(deploy, host, true);
    deploy.outbox_put = vec![effect.clone()];
    deploy.operations = vec![operation(operation_id + 1, id, false)];
    let mut running = change(idle(of(&deploy), State::Running));
    running.outbox_del = vec![effect.key];
    running.operations = vec![operation(operation_id + 1, id, true)];
    let (record, effect) = busy(of(&running), operation_id + 2, 2000 + id);
    let mut ending = change(record);
    ending.outbox_put = vec![effect.clone()];
    ending.operations = vec![operation(operation_id + 2, id, false)];
    let mut gone = idle(of(&ending), State::Done);
    gone.placement = None;
    gone.storage = None;
    let mut done = change(gone);
    done.outbox_del = vec![effect.key];
    done.operations = vec![operation(operation_id + 2, id, true)];
    let forget =
        Commit { resources: vec![ResourceChange::VmForget(VmId(id))], ..Commit::default() };
    vec![created, deploy, running, ending, done, forget]
}

/// A VM that runs on host 2 and moves to host 1: begun, switched, and come to rest without the old
/// host being seen empty.
fn migration(id: u64) -> Vec<Commit> {
    let created = create(idle(placed(with_disk(vm(id), 1), 2), State::Running));
    let (record, effect) = busy(moving(of(&created), 1), id * 10, 3000 + id);
    let mut begun = change(record);
    begun = with_room(begun, 1, true);
    begun.outbox_put = vec![effect.clone()];
    begun.operations = vec![operation(id * 10, id, false)];
    let mut there = change(idle(switched(of(&begun)), State::Running));
    there.outbox_del = vec![effect.key];
    let mut rests = left(of(&there), 2);
    rests.moving = None;
    rests.resched = true;
    let mut rests = change(rests);
    rests.operations = vec![operation(id * 10, id, true)];
    vec![created, begun, there, rests]
}

/// What the VM of this commit goes on to do: its disk becomes image 3; another is to become image
/// 4, which fails; and image 5, which is not written yet.
fn images(from: &Commit) -> Vec<Commit> {
    let new = |id| ResourceChange::ImagePut(Image { state: ImageState::Locked, ..image(id) });
    let ready = ResourceChange::ImageSetState { id: ImageId(3), state: ImageState::Ready };
    let mut commits: Vec<Commit> = Vec::new();
    for resources in
        [vec![new(3)], vec![ready, new(4)], vec![ResourceChange::ImageDiscard(ImageId(4)), new(5)]]
    {
        let last = commits.last().unwrap_or(from);
        commits.push(Commit { resources, ..change(of(last)) });
    }
    commits
}

/// A VM that is done; its host was not seen since.
fn abandoned(id: u64) -> Vec<Commit> {
    let created = create(idle(placed(with_disk(vm(id), 1), 1), State::Running));
    let mut gone = left(idle(of(&created), State::Done), 1);
    gone.placement = None;
    let forget =
        Commit { resources: vec![ResourceChange::VmForget(VmId(id))], ..Commit::default() };
    vec![created, change(gone), forget]
}

fn alone(commits: impl IntoIterator<Item = Commit>) -> impl Iterator<Item = Step> {
    commits.into_iter().map(|commit| vec![commit])
}

fn resources(changes: Vec<ResourceChange>) -> Step {
    vec![Commit { resources: changes, ..Commit::default() }]
}

/// A driver whose file took the place of another.
fn driver() -> DriverRow {
    let earlier = EarlierDriver {
        version: "0.1.0".to_owned(),
        file: "snapshots-kvm-00.wasm".to_owned(),
        digest: "00".to_owned(),
        grants: BTreeMap::new(),
        config: BTreeMap::new(),
        added: Timestamp(0),
        until: OperationId(7),
        on_trial: true,
        taken_back: None,
    };
    DriverRow {
        name: "snapshots-kvm".parse().expect("a name"),
        file: "snapshots-kvm-01.wasm".to_owned(),
        digest: "01".to_owned(),
        grants: BTreeMap::from([("log".to_owned(), Vec::new())]),
        config: BTreeMap::new(),
        enabled: true,
        added: Timestamp(1),
        on_trial: true,
        earlier: vec![earlier],
    }
}

/// The whole run: some steps alone, then six VMs step by step in batches, then what a VM does
/// besides. Ends in the middle of things.
pub(crate) fn steps() -> Vec<Step> {
    let token = TokenRow {
        name: "admin".to_owned(),
        hash_hex: "00ff".to_owned(),
        scopes: vec!["admin".to_owned()],
        created: Timestamp(1),
        expires: None,
    };
    let driver = driver();
    let binding =
        RulesBinding { hypervisor: "kvm".parse().expect("a name"), rules: driver.name.clone() };
    let secret = |host: Option<u32>, name: &str| SecretRow {
        key: SecretKey {
            driver: "sim".parse().expect("a name"),
            host: host.map(HostId),
            name: name.parse().expect("a name"),
        },
        value: SecretValue::new("hunter2"),
        set: Timestamp(1),
    };
    let mut steps = vec![vec![ground()]];
    steps.push(resources(vec![ResourceChange::TokenPut(token)]));
    steps.push(resources(vec![
        ResourceChange::DriverPut(driver),
        ResourceChange::RulesBind(binding.clone()),
    ]));
    steps.push(resources(vec![
        ResourceChange::SecretPut(secret(None, "password")),
        ResourceChange::SecretPut(secret(Some(1), "password")),
        ResourceChange::SecretPut(secret(Some(2), "token")),
    ]));
    steps.extend(alone(life(1, 1)));
    steps.push(resources(vec![ResourceChange::HostPut(Host {
        name: "renamed".parse().expect("a name"),
        ..host(2, 9000, 9000)
    })]));
    // Host 1 has room for four of the five that want it: one claim in the batch fails, the rest
    // goes on.
    let mut lives: Vec<_> = (2..=6).map(|id| life(id, 1).into_iter()).collect();
    loop {
        let step: Step = lives.iter_mut().filter_map(Iterator::next).collect();
        if step.is_empty() {
            break;
        }
        steps.push(step);
    }
    steps.push(resources(vec![
        ResourceChange::RulesUnbind(binding.hypervisor),
        ResourceChange::TokenRemove("admin".to_owned()),
        ResourceChange::SecretRemove(secret(Some(1), "password").key),
    ]));
    steps.push(resources(vec![ResourceChange::ImageRemove(ImageId(2))]));
    steps.extend(alone(life(7, 2).into_iter().take(4)));
    let moved = migration(8);
    let images = images(moved.last().expect("not empty"));
    steps.extend(alone(moved));
    steps.extend(alone(images));
    // In the middle of a migration; done, but not seen gone; done and over.
    steps.extend(alone(migration(9).into_iter().take(2)));
    steps.extend(alone(abandoned(10)));
    steps.extend(alone(life(11, 2).into_iter().take(5)));
    steps
}

/// Commits a step as one batch and waits for all answers.
pub(crate) async fn run(store: &Store, step: Step) -> Vec<Committed> {
    let hold = store.hold().await.expect("holds");
    let mut waiting = Vec::new();
    for commit in step {
        let store = store.clone();
        let mut answer = Box::pin(async move { store.commit(commit).await.expect("is decided") });
        // Polled once, so that they are queued in this order.
        assert!(futures::poll!(&mut answer).is_pending());
        waiting.push(answer);
    }
    drop(hold);
    futures::future::join_all(waiting).await
}
