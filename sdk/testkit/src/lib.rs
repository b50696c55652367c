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

pub use bench::LocalBench;
pub use contract::write_contract;
pub use options::{EdgeProbe, Guest, TestOptions, WildMaker};
pub use ostler_driver_testkit::conformance::{CUTS_WITHIN, Ended, names as check_names};
pub use plant::{PlantError, PluginKind, crate_name, new_plugin, new_plugin_with};
pub use report::TestReport;

use ostler_driver::DriverKind;
use ostler_driver_testkit::conformance::{self, Bench, Report};
use ostler_wasm::{Grants, Host, HostError, HostOptions, Inspection, LoadError};
use std::path::Path;
use std::sync::Arc;

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
    let mut grants = Grants::all(&inspection.manifest);
    if let Some(only) = &options.only {
        grants.capabilities.retain(|capability, _| only.contains(capability));
    }
    grants.secrets.clone_from(&options.secrets);
    let bench = Arc::new(LocalBench::new(&inspection.manifest, options)?);
    let host = Host::new(HostOptions {
        sites: bench.directory(),
        cuts: bench.sandbox(),
        jobs_folder: bench.jobs_folder(),
        ..HostOptions::default()
    })?;
    let loaded = host.load(file, grants.clone()).await?;
    let mut reports = Vec::new();
    for kind in loaded.kinds() {
        reports.push((kind.word(), try_kind(kind, &bench).await?));
    }
    Ok(TestReport { inspection, granted: grants.capabilities.into_keys().collect(), reports })
}

async fn try_kind(kind: DriverKind, bench: &Arc<LocalBench>) -> Result<Report, TestkitError> {
    Ok(match kind {
        DriverKind::Hypervisor(driver) => {
            conformance::hypervisor(driver, Arc::clone(bench) as _).await
        }
        DriverKind::Transfer(driver) => {
            bench.make_image().await?;
            conformance::transfer(driver, Arc::clone(bench) as _).await
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
