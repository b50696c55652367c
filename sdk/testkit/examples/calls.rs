//! Measures how long a call into a hypervisor component takes, with a new instance and its calls to
//! the host: `cargo run --release -p ostler-testkit --example calls -- target/plugins/sim.wasm`

use ostler_driver::{CallControl, DriverKind};
use ostler_driver_testkit::conformance::Bench;
use ostler_model::{
    CallContext, EffectKey, Generation, Identity, Item, OperationId, StepNo, StoreId, Timestamp,
    VmUuid,
};
use ostler_testkit::{LocalBench, TestOptions};
use ostler_wasm::{Grants, Host, HostOptions};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const ROUNDS: u64 = 2000;

fn show(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at =
        |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default().as_micros();
    println!("{what:10} median {:>5} us   p99 {:>5} us", at(50), at(99));
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = PathBuf::from(std::env::args().nth(1).ok_or("name a component")?);
    let inspection = ostler_wasm::inspect_file(&file).await?;
    let bench = LocalBench::new(&inspection.manifest, &TestOptions::default())?;
    let host = Host::new(HostOptions::default())?;
    let loaded = host.load(&file, Grants::all(&inspection.manifest)).await?;
    let driver = loaded.kinds().into_iter().find_map(|kind| match kind {
        DriverKind::Hypervisor(driver) => Some(driver),
        DriverKind::Transfer(_) | DriverKind::Rules(_) => None,
    });
    let driver = driver.ok_or("it is no hypervisor driver")?;
    let (site, vm) = (Bench::site(&bench), VmUuid("5f0c5d2e-0000-4000-8000-000000000001".parse()?));
    let identity =
        |generation| Identity { store: StoreId(vm.0), vm, generation: Generation(generation) };
    let (mut deploys, mut observes, mut destroys) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let key = EffectKey {
            vm,
            operation: OperationId(round),
            step: StepNo(round),
            item: Item::Domain,
        };
        let context = CallContext {
            store: StoreId(vm.0),
            key,
            attempt: 1,
            generation: Generation(round),
            spares: None,
            deadline: Timestamp(u64::MAX),
        };
        let call = CallControl::detached(context, Instant::now() + Duration::from_secs(10));
        let spec = bench.domain(identity(round)).await;
        let began = Instant::now();
        driver.deploy(&site, &call, &spec).await?;
        deploys.push(began.elapsed());
        let began = Instant::now();
        driver.observe(&site, vm).await?;
        observes.push(began.elapsed());
        let began = Instant::now();
        driver.destroy(&site, &call).await?;
        destroys.push(began.elapsed());
    }
    show("deploy", deploys);
    show("observe", observes);
    show("destroy", destroys);
    Ok(())
}
