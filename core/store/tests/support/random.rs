//! Random commits of a few VMs, so that they meet.

use super::*;
use proptest::prelude::*;

/// VMs of the model; few, so that commits meet.
pub(crate) const VMS: u64 = 5;

/// A random commit of one VM.
#[derive(Debug, Clone)]
pub(crate) struct Try {
    pub(crate) vm: u64,
    /// Decided on an old version.
    pub(crate) late: bool,
    pub(crate) state: State,
    pub(crate) host: Option<u32>,
    pub(crate) other: Option<u32>,
    pub(crate) left: Vec<u32>,
    pub(crate) resched: bool,
    pub(crate) cpu_milli: u32,
    pub(crate) disks: Vec<u32>,
    pub(crate) call: Option<u64>,
    pub(crate) claim: bool,
    pub(crate) events: usize,
    pub(crate) key: Option<u8>,
    pub(crate) ended: bool,
    pub(crate) image: Option<(u32, ImageTry)>,
}

/// What is done to an image with the VM.
#[derive(Debug, Clone)]
pub(crate) enum ImageTry {
    /// Under this image's name.
    Put(u32),
    Set(ImageState),
    Discard,
}

fn images() -> impl Strategy<Value = Option<(u32, ImageTry)>> {
    let states =
        prop::sample::select(vec![ImageState::Ready, ImageState::Locked, ImageState::Error]);
    let what = prop_oneof![
        (2_u32..=4).prop_map(ImageTry::Put),
        states.prop_map(ImageTry::Set),
        Just(ImageTry::Discard)
    ];
    prop::option::weighted(0.4, (3_u32..=4, what))
}

pub(crate) fn tries() -> impl Strategy<Value = Vec<Vec<Try>>> {
    let states = prop::sample::select(vec![
        State::Pending,
        State::Running,
        State::Poweroff,
        State::Done,
        State::Failed,
    ]);
    let first =
        (1..=VMS, prop::bool::weighted(0.1), states, prop::option::of(1_u32..=2), 500_u32..2500);
    let second = (
        prop::collection::vec(1_u32..=3, 0..3),
        prop::option::of(1_u64..5000),
        any::<bool>(),
        0_usize..3,
        prop::option::weighted(0.2, 0_u8..4),
        any::<bool>(),
    );
    let third = (
        prop::option::weighted(0.3, 1_u32..=2),
        prop::collection::vec(1_u32..=2, 0..2),
        any::<bool>(),
        images(),
    );
    let one = (first, second, third).prop_map(
        |(first, (disks, call, claim, events, key, ended), (other, left, resched, image))| {
            let (vm, late, state, host, cpu_milli) = first;
            Try {
                vm,
                late,
                state,
                host,
                other,
                left,
                resched,
                cpu_milli,
                disks,
                call,
                claim,
                events,
                key,
                ended,
                image,
            }
        },
    );
    prop::collection::vec(prop::collection::vec(one, 1..5), 1..12)
}

/// The commit that is tried, as an engine would make it from what it read a moment ago.
pub(crate) fn commit(what: &Try, base: &BTreeMap<u64, VmRecord>, ids: u64) -> Commit {
    let old = base.get(&what.vm);
    let mut record = idle(old.cloned().unwrap_or_else(|| vm(what.vm)), what.state);
    record.spec.cpu_milli = what.cpu_milli;
    (record.placement, record.storage, record.moving) = (None, None, None);
    record.leftovers.clear();
    record.resched = what.resched;
    if let Some(host) = what.host {
        record = placed(record, host);
    }
    if let Some(host) = what.other {
        record = moving(record, host);
    }
    for host in &what.left {
        record = left(record, *host);
    }
    record.disks.clear();
    for image in &what.disks {
        record = with_disk(record, *image);
    }
    let mut put = Vec::new();
    if let Some(deadline) = what.call {
        let (begun, effect) = busy(record, ids, deadline);
        record = VmRecord { state: what.state, ..begun };
        put.push(effect);
    }
    let expect = old.map(|old| Version(old.version.0 - u64::from(what.late)));
    record.version = old.map_or(Version(1), |old| old.version.next());
    let claims = match what.host {
        Some(host) if what.claim => record.claims(&[Ask::room(HostId(host), true)]),
        _ => Vec::new(),
    };
    let over =
        old.map(|old| old.open.iter().map(|call| call.key.clone()).collect()).unwrap_or_default();
    Commit {
        claims,
        operations: vec![operation(ids, what.vm, what.ended)],
        outbox_put: put,
        outbox_del: over,
        events: vec![event(&record); what.events],
        idempotency: what.key.map(|key| answer(&key.to_string(), "body", ids)),
        vm: Some(VmChange { record: record.into(), expect }),
        resources: what.image.iter().map(|(id, what)| image_change(*id, what)).collect(),
    }
}

fn image_change(id: u32, what: &ImageTry) -> ResourceChange {
    match what {
        ImageTry::Put(name) => ResourceChange::ImagePut(Image {
            name: image(*name).name,
            state: ImageState::Locked,
            ..image(id)
        }),
        ImageTry::Set(state) => ResourceChange::ImageSetState { id: ImageId(id), state: *state },
        ImageTry::Discard => ResourceChange::ImageDiscard(ImageId(id)),
    }
}
