//! The store: everything that must survive, in one file. One writer changes it, in transactions
//! that are applied as a whole or not at all.
//!
//! **Invariants.** This is the only crate that names the database. No driver is called here, and no
//! clock is asked, except by a restore. Indexes and books are derived from records in the
//! transaction that changes the records, and never by the caller. A row is never seen before it is
//! durable.
//!
//! # What must be durable, and why
//!
//! - *records, operations, outbox*: what Ostler has promised, and what may be under way at a
//!   hypervisor. After a crash nothing else can tell.
//! - *events, idempotency*: what others were told, or will be told. Nobody may be told two
//!   different things, and nobody may be left without being told.
//! - *hosts, datastores, images, tokens, drivers, rules, secrets*: what an operator has set.
//! - *summaries, indexes, books, timers*: derived, but in the same transaction, so that none of
//!   them is wrong at any moment.
//!
//! The store does not keep which VM runs where. This is observed; see `ostler-engine`.
//!
//! # The schema
//!
//! ```text
//! meta                 what the store knows about itself                            meta.rs
//! ├── "schema"         decimal: the version of this tree
//! ├── "derived"        decimal: the version of the rules that derive; a newer daemon raises it
//! ├── "store"          {id}: made once, stamped into every domain
//! ├── "marks"          {vm, operation, host, datastore, image}: highest ids ever used; only rise
//! ├── "event"          decimal: number of the last event
//! ├── "batch"          decimal: number of the last transaction; see log.rs
//! └── "restored"       {as of, seq}: came back with a backup, and not all VMs are reconciled
//!
//! vm                   VM id -> VmRecord                                            vm.rs
//! ├── vm_summary       VM id -> VmSummary: a line of a list                         summary.rs
//! ├── vm_by_name       (name, VM id)          names need not be unique
//! ├── vm_by_uuid       VM UUID -> VM id       unique
//! ├── vm_by_state      (state, VM id)         lists; the scheduler's queue
//! ├── vm_by_owner      (owner, VM id)
//! ├── vm_by_host       (host id, VM id)       its place, both ends of its move, what it left
//! ├── vm_by_datastore  (datastore id, VM id)  where its disks are, until nothing of it is left
//! ├── vm_live          VM id                  not done
//! ├── vm_active        VM id                  an operation in hand, or a call under way
//! ├── vm_resched       VM id                  the scheduler is asked to move it
//! ├── vm_done          (since, VM id)         done, and nothing of it left: some day forgotten
//! ├── timer            (due, VM id)           next_due() of the record              timer.rs
//! ├── state_count      state -> VMs in it                                           book.rs
//! ├── book             (book, thing) -> sum of what VMs hold of it, in three parts  book.rs
//! │                    host: VMs, CPU thousandths, MiB; image: disks that stand on it
//! └── holder           (book, thing, VM id)   of things with one holder: addresses  book.rs
//!
//! operation            operation id -> OperationRecord                              operation.rs
//! └── operation_by_vm  (VM id, operation id) -> whether it ended; bounded for ended ones
//!
//! outbox               (VM UUID, operation, step, item) -> Effect                   outbox.rs
//!
//! event                number -> event without its number; the oldest are trimmed   event.rs
//!
//! idempotency          (who, route, key) -> IdempotencyRow                          idempotency.rs
//! └── idempotency_by_age (when, who, route, key)   what to forget next
//!
//! host                 host id -> Host                                              host.rs
//! └── host_by_name     name -> host id        unique
//! datastore            datastore id -> Datastore                                    datastore.rs
//! └── datastore_by_name name -> datastore id  unique
//! image                image id -> Image                                            image.rs
//! ├── image_by_name    name -> image id       unique
//! └── image_by_datastore (datastore id, image id)
//! token                name -> TokenRow                                             token.rs
//! └── token_by_hash    hash of the secret -> name     unique
//! driver               name -> DriverRow                                            driver.rs
//! rules                hypervisor driver -> RulesBinding                            driver.rs
//! secret               (driver, host id or none, name) -> SecretRow: in plain text  secret.rs
//! ```
//!
//! Rows with a type on the right are JSON in an envelope that says its version (`row.rs`); all
//! others are plain keys and numbers.
//!
//! # How another store can follow
//!
//! Every transaction is a numbered batch: a list of rows that are written or removed. All writes go
//! through `txn.rs`, which notes them if somebody follows ([`Store::follow`]). A [`Follower`]
//! begins as a backup, applies batches in order, and is then equal row by row, with everything that
//! is derived. It refuses a gap, a repeat and a batch of another store. Decision 13 has the
//! reasons.
//!
//! # How the store survives a crash
//!
//! The database writes new pages beside the old ones, and then switches to them with one page that
//! has a checksum. `sync` ends each commit. After a power cut at any disk operation, the store is
//! as it was after some commit, and this is the last commit that was answered or a later one:
//! `tests/store_crash.rs` cuts at each operation. Commits are one-phase, because a second sync
//! would halve the throughput. So an attacker who controls both the content of rows and the moment
//! of a crash could cheat the checksum. That is out of scope.

mod backup;
mod batch;
mod book;
mod charge;
mod check;
mod claim;
mod commit;
mod datastore;
mod derive;
mod disk;
mod driver;
mod error;
mod event;
mod file;
mod follower;
mod host;
mod idempotency;
mod image;
mod log;
mod meta;
mod migrate;
mod operation;
mod options;
mod outbox;
mod page;
mod prepare;
mod read;
mod resource;
mod row;
mod sabotage;
mod secret;
mod simulated;
mod store;
mod summary;
mod summary_cache;
mod tables;
mod timer;
mod token;
mod txn;
mod vm;
mod vm_row;
mod writer;

pub use backup::{RestoreReport, Unreadable, restore};
pub use charge::{Charge, EPOCH_MAX};
pub use commit::{
    Commit, Committed, DriverRow, EarlierDriver, EventDraft, HostEdit, IdempotencyRow,
    ResourceChange, RulesBinding, SecretRow, TokenRow, VmChange,
};
pub use disk::RawDisk;
pub use error::{BackupError, CommitError, Fault, OpenError, ReadError, RowError};
pub use event::{EVENT_PAGE_MAX, EVENTS_KEPT, EVENTS_SKIPPED, EventsAfter};
pub use follower::Follower;
pub use idempotency::IDEMPOTENCY_KEPT;
pub use log::{
    ApplyError, BatchNo, FOLLOW_BYTES_MAX, FOLLOW_MAX, FellBehind, Followers, LOGGED_BYTES_MAX,
    LoggedBatch, NotABatch, Subscription,
};
pub use meta::RestoredStore;
pub use operation::OPERATIONS_KEPT;
pub use options::Options;
pub use ostler_model::{ResourceKind, ResourceRefused};
pub use page::{Page, VM_PAGE_MAX, VmFilter};
pub use read::Reader;
#[doc(hidden)]
pub use sabotage::Sabotage;
pub use simulated::SimulatedDisk;
#[doc(hidden)]
pub use store::HoldGuard;
pub use store::{Health, Store};
pub use summary::{OperationBrief, VmSummary};
pub use tables::SCHEMA;
pub use vm::SAME_NAME_MAX;
pub use writer::{BATCH_BYTES, BATCH_MAX, QUEUE_MAX, Written};

#[cfg(test)]
extern crate self as ostler_store;
#[cfg(test)]
#[path = "../tests/support/mod.rs"]
mod support;
