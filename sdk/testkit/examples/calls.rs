//! Measures how long a hypervisor component takes to compile, how long a call into it takes, with a
//! new instance and its calls to the host, and how much memory an instance needs:
//! `cargo run --release -p ostler-testkit --example calls -- target/plugins/sim.wasm [ROUNDS]`

use ostler_driver::{CallControl, DriverKind, Hypervisor};
use ostler_driver_testkit::conformance::Bench;
use ostler_model::{
    CallContext, EffectKey, Epoch, Generation, Identity, Item, OperationId, StepNo, StoreId,
    Timestamp, VmUuid,
};
use ostler_testkit::{LocalBench, TestOptions};
use ostler_wasm::{Grants, Host, HostOptions};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROUNDS: u64 = 2000;
const MIB: usize = 1024 * 1024;

fn show(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at =
        |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default().as_micros();
    println!("{what:10} median {:>6} us   p99 {:>6} us", at(50), at(99));
}

/// The component and where it is tried.
struct Tried {
    file: PathBuf,
    bench: LocalBench,
    /// Keeps compiled code.
    cache: tempfile::TempDir,
    vm: VmUuid,
}

impl Tried {
    async fn load(&self, options: HostOptions) -> Result<Arc<dyn Hypervisor>, Box<dyn Error>> {
        let inspection = ostler_wasm::inspect_file(&self.file).await?;
        let cache_dir = Some(self.cache.path().join("code"));
        let host = Host::new(HostOptions { cache_dir, ..options })?;
        let loaded = host.load(&self.file, Grants::all(&inspection.manifest)).await?;
        let driver = loaded.kinds().into_iter().find_map(|kind| match kind {
            DriverKind::Hypervisor(driver) => Some(driver),
            DriverKind::Transfer(_) | DriverKind::Rules(_) => None,
        });
        Ok(driver.ok_or("it is no hypervisor driver")?)
    }

    fn call(&self, round: u64) -> CallControl {
        let context = CallContext {
            store: StoreId(self.vm.0),
            key: EffectKey {
                vm: self.vm,
                operation: OperationId(round),
                step: StepNo(round),
                item: Item::Domain,
            },
            attempt: 1,
            generation: Generation(round),
            epoch: Epoch(0),
            spares: None,
            deadline: Timestamp(u64::MAX),
        };
        CallControl::detached(context, Instant::now() + Duration::from_secs(10))
    }

    async fn deploy(
        &self,
        driver: &Arc<dyn Hypervisor>,
        round: u64,
    ) -> Result<Duration, Box<dyn Error>> {
        let vm = self.vm;
        let identity = Identity { store: StoreId(vm.0), vm, generation: Generation(round) };
        let (call, spec) = (self.call(round), self.bench.domain(identity).await);
        let began = Instant::now();
        driver.deploy(&self.bench.site(), &call, &spec).await?;
        Ok(began.elapsed())
    }

    /// Whether a deploy succeeds in an instance that may have so much memory.
    async fn fits(&self, mib: usize, round: u64) -> bool {
        let options =
            HostOptions { max_memory: mib * MIB, pooling: false, ..HostOptions::default() };
        match self.load(options).await {
            Ok(driver) => self.deploy(&driver, round).await.is_ok(),
            Err(_) => false,
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let file = PathBuf::from(std::env::args().nth(1).ok_or("name a component")?);
    let rounds = std::env::args().nth(2).map_or(Ok(ROUNDS), |text| text.parse())?;
    measure(&file, rounds).await
}

async fn measure(file: &Path, rounds: u64) -> Result<(), Box<dyn Error>> {
    let inspection = ostler_wasm::inspect_file(file).await?;
    let tried = Tried {
        file: file.to_owned(),
        bench: LocalBench::new(&inspection.manifest, &TestOptions::default())?,
        cache: tempfile::tempdir()?,
        vm: VmUuid("5f0c5d2e-0000-4000-8000-000000000001".parse()?),
    };
    let size = inspection.size.div_ceil(1024);
    for what in ["compiled", "loaded"] {
        let began = Instant::now();
        tried.load(HostOptions::default()).await?;
        println!("{what:10} {size} KiB in {} ms", began.elapsed().as_millis());
    }
    let driver = tried.load(HostOptions::default()).await?;
    let site = tried.bench.site();
    let (mut deploys, mut observes, mut destroys) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=rounds {
        deploys.push(tried.deploy(&driver, round).await?);
        let began = Instant::now();
        driver.observe(&site, tried.vm).await?;
        observes.push(began.elapsed());
        let (call, began) = (tried.call(round), Instant::now());
        driver.destroy(&site, &call).await?;
        destroys.push(began.elapsed());
    }
    show("deploy", deploys);
    show("observe", observes);
    show("destroy", destroys);
    let (mut least, mut enough) = (0, 128);
    while least + 1 < enough {
        let mib = usize::midpoint(least, enough);
        if tried.fits(mib, rounds + 1).await { enough = mib } else { least = mib }
    }
    println!("memory     {enough} MiB are enough for an instance");
    Ok(())
}
