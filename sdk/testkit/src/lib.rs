//! Runs the conformance suite on a built component, makes new drivers from templates, and writes the
//! contract for other languages. `ostler plugin test`, `new` and `wit` use this library.
//!
//! ```text
//!   file.wasm -> ostler-wasm (granted what its manifest asks, or what was told)
//!             -> a bench: temporary datastores on this machine, and the settings for the
//!                hypervisor of the driver
//!             -> the suite, once for each kind it exports
//! ```

mod bench;
mod contract;
mod cuts;
mod options;
mod plant;
mod report;
mod tape;

pub use bench::LocalBench;
pub use contract::write_contract;
pub use options::{EdgeProbe, Guest, Tape, TestOptions, WildMaker};
pub use ostler_driver_testkit::conformance::{CUTS_WITHIN, Ended, names as check_names};
pub use plant::{PlantError, PluginKind, crate_name, new_plugin, new_plugin_with};
pub use report::TestReport;

use ostler_driver::DriverKind;
use ostler_driver_testkit::conformance::{self, Bench, Report, TransferBench};
use ostler_wasm::{Cassette, Grants, Host, HostError, HostOptions, Inspection, LoadError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tape::TapedBench;

/// The reason why a component could not be tried.
#[derive(Debug, thiserror::Error)]
pub enum TestkitError {
    /// The component host cannot be set up.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The component cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The folders of the bench cannot be made.
    #[error("the bench cannot be set up: {0}")]
    Bench(#[from] std::io::Error),
    /// A cassette cannot be read or written.
    #[error("cassette {}: {problem}", .path.display())]
    Cassette {
        /// Its file.
        path: PathBuf,
        /// The fault.
        problem: String,
    },
    /// A secret is too short to be taken out of a recording.
    #[error(
        "secret {name} has fewer than {least} characters, so it cannot be taken out of a recording; record with a longer one"
    )]
    ShortSecret {
        /// Its name.
        name: String,
        /// The fewest bytes.
        least: usize,
    },
    /// The image of the bench cannot be made.
    #[error("{0}")]
    Image(String),
}

/// Runs the whole suite on this machine, for every kind that the component exports.
///
/// # Errors
/// The component cannot be loaded, or the bench cannot be set up. A broken rule is no error; the
/// report has it.
pub async fn test_plugin(file: &Path, options: &TestOptions) -> Result<TestReport, TestkitError> {
    let inspection = ostler_wasm::inspect_file(file).await?;
    let played = tape::played(&options.tape)?;
    let options = match &played {
        Some((_, setup)) => TestOptions { usage: options.usage.clone(), ..setup.options() },
        None if matches!(options.tape, Tape::Record(_)) => {
            TestOptions { cuts_within: Duration::ZERO, ..options.clone() }
        }
        None => options.clone(),
    };
    let mut grants = Grants::all(&inspection.manifest);
    if let Some(only) = &options.only {
        grants.capabilities.retain(|capability, _| only.contains(capability));
    }
    grants.secrets.clone_from(&options.secrets);
    let root = played.as_ref().map(|(_, setup)| setup.root.as_path());
    let bench = Arc::new(LocalBench::at(&inspection.manifest, &options, root)?);
    let cassette = match (&options.tape, played) {
        (Tape::Record(path), _) => {
            tape::writable(path)?;
            let setup = tape::Setup::of(&options, bench.folder())?;
            Some(tape::recording(&inspection, &setup)?)
        }
        (_, played) => played.map(|(cassette, _)| cassette),
    };
    let host = Host::new(HostOptions {
        sites: bench.directory(),
        cuts: bench.sandbox(),
        usage: options.usage.clone(),
        cassette: cassette.clone(),
        epochs: Some(bench.epochs()),
        jobs_folder: bench.jobs_folder(),
        ..HostOptions::default()
    })?;
    let loaded = host.load(file, grants.clone()).await?;
    let mut reports = Vec::new();
    for kind in loaded.kinds() {
        reports.push((kind.word(), try_kind(kind, &bench, cassette.as_ref()).await?));
    }
    if let (Tape::Record(path), Some(cassette)) = (&options.tape, &cassette) {
        tape::write(path, cassette)?;
    }
    let differs = cassette.filter(Cassette::is_replay).and_then(|cassette| cassette.problem());
    let granted = grants.capabilities.into_keys().collect();
    Ok(TestReport { inspection, granted, reports, differs })
}

async fn try_kind(
    kind: DriverKind,
    bench: &Arc<LocalBench>,
    cassette: Option<&Cassette>,
) -> Result<Report, TestkitError> {
    let taped = cassette
        .map(|cassette| TapedBench { bench: Arc::clone(bench), cassette: cassette.clone() })
        .map(Arc::new);
    Ok(match kind {
        DriverKind::Hypervisor(driver) => {
            let bench: Arc<dyn Bench> = match taped {
                Some(taped) => taped,
                None => Arc::clone(bench) as _,
            };
            conformance::hypervisor(driver, bench).await
        }
        DriverKind::Transfer(driver) => {
            bench.make_image().await?;
            let bench: Arc<dyn TransferBench> = match taped {
                Some(taped) => taped,
                None => Arc::clone(bench) as _,
            };
            conformance::transfer(driver, bench).await
        }
        DriverKind::Rules(driver) => {
            conformance::snapshot_rules(driver, |check| Bench::wants(&**bench, check)).await
        }
    })
}

/// The description of a component. Nothing of the component runs.
///
/// # Errors
/// The file is no component, or the component is no driver.
pub async fn inspect(file: &Path) -> Result<Inspection, TestkitError> {
    Ok(ostler_wasm::inspect_file(file).await?)
}
