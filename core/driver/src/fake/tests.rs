//! The knobs do what they say.

use super::*;
use crate::{CallControl, Hypervisor};
use ostler_model::{CallContext, ErrorKind, ExecTransport, Generation, Item, Observation, OperationId, StepNo, Timestamp};
use std::time::{Duration, Instant};

fn site() -> Site {
    Site {
        id: HostId(1),
        name: "a".parse().expect("a name"),
        config: BTreeMap::new(),
        transport: ExecTransport::Local,
        roots: BTreeMap::new(),
    }
}

fn call(step: u64) -> CallControl {
    let key = EffectKey { vm: vm(), operation: OperationId(1), step: StepNo(step), item: Item::Domain };
    let context = CallContext { key, attempt: 1, generation: Generation(1), deadline: Timestamp(u64::MAX) };
    CallControl::detached(context, Instant::now() + Duration::from_secs(60))
}

fn vm() -> VmUuid {
    VmUuid(uuid::Uuid::from_u128(7))
}

#[tokio::test]
async fn a_held_call_that_is_dropped_keeps_the_vm_busy() {
    let fake = Fake::new();
    let gate = fake.on(Op::Destroy).hold();
    let (held, at) = (fake.clone(), site());
    let work = tokio::spawn(async move { held.destroy(&at, &call(1)).await });
    gate.reached(1).await;
    assert_eq!(fake.observe(&site(), vm()).await, Ok(Observation::Absent));
    work.abort();
    assert!(work.await.expect_err("aborted").is_cancelled());
    assert_eq!(fake.observe(&site(), vm()).await.expect_err("busy").code, "busy");
    gate.open();
    while fake.observe(&site(), vm()).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn orders_are_counted_and_narrowed() {
    let fake = Fake::new();
    fake.on(Op::Destroy).times(1).fail(DriverError::retry("ordered", ""));
    fake.on(Op::Destroy).host(HostId(9)).fail(DriverError::retry("elsewhere", ""));
    assert_eq!(fake.destroy(&site(), &call(1)).await.expect_err("ordered").code, "ordered");
    assert!(fake.destroy(&site(), &call(1)).await.is_ok());
    fake.on(Op::Destroy).lose();
    assert_eq!(fake.destroy(&site(), &call(1)).await.expect_err("lost").kind, ErrorKind::Unknown);
    fake.obey();
    assert!(fake.destroy(&site(), &call(1)).await.is_ok());
    assert_eq!(fake.count(Op::Destroy), 4);
}

#[tokio::test]
async fn two_mutating_calls_of_one_vm_are_told() {
    let fake = Fake::new();
    let gate = fake.on(Op::Remove).hold();
    let (held, at) = (fake.clone(), site());
    let work = tokio::spawn(async move { held.remove(&at, &call(1)).await });
    gate.reached(1).await;
    assert!(fake.destroy(&site(), &call(2)).await.is_ok());
    assert!(fake.violations().is_empty(), "destroy may run beside others");
    assert!(fake.unpause(&site(), &call(3)).await.is_err());
    assert_eq!(fake.violations().len(), 1);
    gate.step();
    assert!(work.await.expect("joined").is_ok());
}

#[tokio::test]
async fn a_host_that_is_cut_off_says_nothing() {
    let fake = Fake::new();
    fake.cut_off(HostId(1), true);
    assert_eq!(fake.observe(&site(), vm()).await.expect_err("away").kind, ErrorKind::Retry);
    assert!(fake.list(&site()).await.is_err());
    fake.cut_off(HostId(1), false);
    assert!(fake.list(&site()).await.is_ok());
}
