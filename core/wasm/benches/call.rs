//! One driver call into a fresh instance, over wasmtime's own instantiate and call of the same
//! component in the same run.

#![allow(missing_docs, reason = "criterion's macros make public items")]

#[path = "../tests/support/mod.rs"]
mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::{Duration, Instant};
use support::{all, guest, host, hypervisor, load, nowhere, vm};
use wasmtime::component::{Component, InstancePre, Linker, Val};
use wasmtime::{Config, Engine, PoolingAllocationConfig, Store};

/// Calls whose median is taken for the ratio.
const ROUNDS: usize = 5000;
/// The aim of the issue this bench belongs to.
const AIM: Duration = Duration::from_micros(100);

/// The floor: a pooled engine that does nothing but instantiate and call `describe`.
struct Raw(InstancePre<()>);

impl Raw {
    fn new() -> Self {
        let mut config = Config::new();
        config.concurrency_support(false).allocation_strategy(PoolingAllocationConfig::new());
        let engine = Engine::new(&config).expect("an engine");
        let component = Component::from_binary(&engine, guest()).expect("compiles");
        let mut linker = Linker::new(&engine);
        linker.define_unknown_imports_as_traps(&component).expect("links");
        Self(linker.instantiate_pre(&component).expect("links"))
    }

    async fn call(&self) {
        let mut store = Store::new(self.0.engine(), ());
        let instance = self.0.instantiate_async(&mut store).await.expect("instantiates");
        let interface = instance
            .get_export_index(&mut store, None, "ostler:driver/hypervisor@0.1.0")
            .expect("exported");
        let function =
            instance.get_export_index(&mut store, Some(&interface), "describe").expect("exported");
        let function = instance.get_func(&mut store, function).expect("a function");
        let mut results = [Val::Bool(false)];
        function.call_async(&mut store, &[], &mut results).await.expect("answers");
        black_box(results);
    }
}

fn median(mut once: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            once();
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[ROUNDS / 2]
}

fn call(criterion: &mut Criterion) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let raw = Raw::new();
    let driver =
        runtime.block_on(async { hypervisor(&load(&host(support::options()), all()).await) });
    let site = nowhere("");
    let raw_once = || runtime.block_on(raw.call());
    let driver_once = || drop(black_box(runtime.block_on(driver.observe(&site, vm(1)))));
    criterion.bench_function("wasmtime: instantiate and call", |bencher| bencher.iter(raw_once));
    criterion
        .bench_function("driver: observe in a fresh instance", |bencher| bencher.iter(driver_once));
    let (floor, ours) = (median(raw_once), median(driver_once));
    let ratio = ours.as_secs_f64() / floor.as_secs_f64();
    println!(
        "median: wasmtime {floor:?}, driver call {ours:?}, ratio {ratio:.2}, aim {AIM:?}: {}",
        if ours < AIM { "reached" } else { "missed" }
    );
}

criterion_group!(benches, call);
criterion_main!(benches);
