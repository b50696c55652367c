//! Commits through the store against the floor: the database alone writing the same rows in the
//! same batches.
//!
//! `cargo bench -p ostler-store --bench commit`. The last lines tell the ratio; that is the figure
//! to keep, as disks differ.

#[path = "../tests/support/mod.rs"]
mod support;

use criterion::{Criterion, Throughput};
use futures::future::join_all;
use ostler_model::*;
use ostler_store::*;
use redb::{Database, TableDefinition};
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};
use support::*;

/// As many as one transaction takes.
const BATCH: u64 = BATCH_MAX as u64;
/// Rounds of the comparison at the end.
const ROUNDS: u32 = 20;

/// The tables that a step of an operation writes a row of its own to; indexes and books are what
/// the store adds.
const TABLES: [TableDefinition<'static, u64, &[u8]>; 4] = [
    TableDefinition::new("vm"),
    TableDefinition::new("operation"),
    TableDefinition::new("outbox"),
    TableDefinition::new("event"),
];

/// Half of the time a step begins, half of the time it ends: record, operation, outbox, event.
struct Load {
    records: Vec<VmRecord>,
}

impl Load {
    fn new(vms: u64) -> Self {
        Self { records: (1..=vms).map(|id| placed(with_disk(vm(id), 1), 1)).collect() }
    }

    fn create(&self) -> Vec<Commit> {
        self.records.iter().cloned().map(create).collect()
    }

    fn step(&mut self) -> Vec<Commit> {
        let mut commits = Vec::with_capacity(self.records.len());
        for record in &mut self.records {
            let id = record.id.0;
            let mut commit = if record.open.is_empty() {
                let (begun, effect) = busy(record.clone(), id, 1000 + id);
                Commit { outbox_put: vec![effect], ..change(begun) }
            } else {
                let over = record.open.iter().map(|call| call.key.clone()).collect();
                Commit { outbox_del: over, ..change(idle(record.clone(), State::Running)) }
            };
            commit.operations = vec![operation(id, id, false)];
            *record = of(&commit);
            commits.push(commit);
        }
        commits
    }
}

/// The rows of a commit, as the floor writes them.
fn rows(commit: &Commit) -> Vec<(usize, u64, Vec<u8>)> {
    let record: &VmRecord = &commit.vm.as_ref().expect("has one").record;
    let json = |value: &dyn erased::Json| value.json();
    let mut rows = vec![
        (0, record.id.0, json(record)),
        (0, 1 << 32 | record.id.0, json(&VmSummary::from(record))),
    ];
    rows.extend(commit.operations.iter().map(|row| (1, row.id.0, json(row))));
    rows.extend(commit.outbox_put.iter().map(|row| (2, row.vm.0, json(row))));
    rows.extend(
        commit.events.iter().map(|row| (3, record.version.0 << 32 | record.id.0, json(row))),
    );
    rows
}

mod erased {
    pub(crate) trait Json {
        fn json(&self) -> Vec<u8>;
    }

    impl<T: serde::Serialize> Json for T {
        fn json(&self) -> Vec<u8> {
            serde_json::to_vec(self).expect("encodes")
        }
    }
}

fn plain_batch(db: &Database, commits: &[Vec<(usize, u64, Vec<u8>)>]) {
    let txn = db.begin_write().expect("begins");
    {
        let mut tables: Vec<_> =
            TABLES.iter().map(|table| txn.open_table(*table).expect("opens")).collect();
        for (table, key, row) in commits.iter().flatten() {
            tables[*table].insert(*key, row.as_slice()).expect("writes");
        }
    }
    txn.commit().expect("commits");
}

async fn store_batch(store: &Store, commits: Vec<Commit>) {
    let answers = join_all(commits.into_iter().map(|commit| store.commit(commit))).await;
    for answer in answers {
        assert!(matches!(black_box(answer), Ok(Committed::Applied { .. })));
    }
}

struct Bench {
    runtime: tokio::runtime::Runtime,
    store: Store,
    load: Load,
    plain: Database,
    plain_load: Load,
}

impl Bench {
    fn new(dir: &Path, vms: u64, name: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("starts");
        let store =
            Store::open(&dir.join(format!("store-{name}")), Options::default()).expect("opens");
        let load = Load::new(vms);
        runtime.block_on(async {
            applied(&store, ground()).await;
            store_batch(&store, load.create()).await;
        });
        let plain = Database::create(dir.join(format!("plain-{name}"))).expect("opens");
        Self { runtime, store, load, plain, plain_load: Load::new(vms) }
    }

    fn through_store(&mut self) -> Duration {
        let commits = self.load.step();
        let began = Instant::now();
        self.runtime.block_on(store_batch(&self.store, commits));
        began.elapsed()
    }

    /// Encoding is part of both.
    fn through_plain(&mut self) -> Duration {
        let commits = self.plain_load.step();
        let began = Instant::now();
        let rows: Vec<_> = commits.iter().map(rows).collect();
        plain_batch(&self.plain, &rows);
        began.elapsed()
    }
}

fn group(criterion: &mut Criterion, bench: &mut Bench, name: &str, vms: u64) {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(vms)).sample_size(20);
    group.bench_function("store", |timer| {
        timer.iter_custom(|rounds| (0..rounds).map(|_| bench.through_store()).sum())
    });
    group.bench_function("database alone", |timer| {
        timer.iter_custom(|rounds| (0..rounds).map(|_| bench.through_plain()).sum())
    });
    group.finish();
}

fn main() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut criterion = Criterion::default().configure_from_args();
    for (name, vms) in [("single commit", 1), ("64 waiters", 64), ("512 waiters", BATCH)] {
        let mut bench = Bench::new(dir.path(), vms, &vms.to_string());
        group(&mut criterion, &mut bench, name, vms);
        let (mut store, mut plain) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..ROUNDS {
            store += bench.through_store();
            plain += bench.through_plain();
        }
        let rate = |took: Duration| (vms * u64::from(ROUNDS)) as f64 / took.as_secs_f64();
        println!(
            "{name}: {:.0} commits/s through the store, {:.0} by the database alone, ratio {:.2}",
            rate(store),
            rate(plain),
            store.as_secs_f64() / plain.as_secs_f64()
        );
    }
    criterion.final_summary();
}
