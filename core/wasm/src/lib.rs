//! Makes a WebAssembly component a driver: [`Host::load`] turns a file into
//! [`ostler_driver::Hypervisor`], [`ostler_driver::Transfer`] and [`ostler_driver::SnapshotRules`].
//! The only crate that names wasmtime.
//!
//! **Invariants**
//! - Every call runs in a fresh instance with bounded memory, CPU, time and output; a failure in it
//!   harms only that call.
//! - A driver has no ambient file system, network, environment or process: WASI is linked and
//!   inert. Each thing that it may do goes through one module of `capability`, and is checked twice
//!   at each call: its manifest asks, the operator grants.
//! - Nothing is compiled, and no compiled code is loaded, of a file that the operator's trust policy
//!   was not asked about: [`Host`] compiles a [`Vetted`] only, and only [`Host::vet`] makes one.
//! - A driver reaches the files that its call is about, and no others: `own_files`.
//! - Everything that a component hands over is checked before it becomes a type of ours.
//! - No text that leaves a call has the value of a secret that the call was given: `scrub`.
//!
//! The path of one call: `component` builds the arguments, `instance` makes the store and the
//! instance and enforces the limits, `capability` serves the guest's requests to the host through
//! `transport` (commands), `files` and `http`, `convert` checks the answer.

mod bindings;
mod budget;
mod cache;
mod capability;
mod cassette;
mod compiler;
mod component;
mod confine;
mod convert;
mod cuts;
mod embedded;
mod endpoint;
mod epoch;
mod error;
mod files;
mod grants;
mod host;
mod http;
mod inspect;
mod instance;
mod jobs;
mod limits;
mod manifest;
mod output;
mod own_files;
mod package;
mod recorder;
mod scrub;
mod services;
mod signature;
mod template;
mod text;
mod threads;
mod ticker;
mod transport;
mod trust;
mod usage;
mod work;

pub use cassette::{CASSETTE_MAX, Cassette, CassetteProblem, Recorded};
pub use compiler::{CompileProblem, Compiler, serve as serve_as_compiler};
pub use component::LoadedDriver;
pub use confine::{Confine, Reach, can_confine};
pub use cuts::{Cut, Cuts, Watched};
pub use embedded::{Split, SplitProblem, embed, split, with_manifest};
pub use endpoint::{Endpoint, Login};
pub use error::{HostError, LoadError};
pub use files::open_in_datastore;
pub use grants::{
    AuditSink, Grants, LogAudit, NoSecrets, NoSites, Secret, SecretDirectory, SiteDirectory,
};
pub use host::{Host, HostOptions, Vetted, inspect_file};
pub use inspect::{FILE_MAX, Inspection, inspect, manifest_text};
pub use limits::Limits;
pub use manifest::{Asked, MANIFEST_MAX, Manifest, SecretUse, Setting};
pub use package::{Judged, Package, signature_file};
pub use recorder::{Answered, Record, Recording};
pub use signature::{KeyId, KeyProblem, PublicKey, SignatureProblem, TEXT_MAX as SIGNATURE_MAX};
pub use template::{HoleType, Part, Reached, Rendered, SocketTemplate, Template};
pub use transport::Lease;
pub use trust::{Distrust, KEYS_MAX, Place, Policy, Trust, TrustedKey};
pub use usage::{Usage, Used, asked, least};
