//! Runs the conformance suite on a built component, and lays down new drivers: the library behind `ostler plugin test` and
//! `ostler plugin new`.
//!
//! ```text
//!   file.wasm -> ostler-wasm (granted what its manifest asks, or what was told) -> the suite, once for each kind it exports
//!                     |-> a bench: temporary datastores on this machine, and the settings of whatever the driver drives
//! ```

mod bench;
mod options;
mod plant;
mod report;

pub use bench::LocalBench;
pub use options::{EdgeProbe, TestOptions, WildMaker};
pub use plant::{PlantError, PluginKind, new_plugin, new_plugin_with};
pub use report::TestReport;

use ostler_driver::DriverKind;
use ostler_driver::conformance::{self, Report};
use ostler_wasm::{Grants, Host, HostError, HostOptions, Inspection, LoadError};
use std::path::Path;
use std::sync::Arc;

/// Why a component could not be tried.
#[derive(Debug, thiserror::Error)]
pub enum TestkitError {
    /// The machinery for components.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The component.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The bench's folders.
    #[error("the bench cannot be set up: {0}")]
    Bench(#[from] std::io::Error),
    /// The bench's image.
    #[error("{0}")]
    Image(String),
}

/// Tries a component on this machine: every kind it exports, with the whole suite.
///
/// # Errors
/// The component could not be loaded, or the bench not be set up. A broken rule is no error: it is in the report.
pub async fn test_plugin(file: &Path, options: &TestOptions) -> Result<TestReport, TestkitError> {
    let inspection = ostler_wasm::inspect_file(file).await?;
    let mut grants = Grants::all(&inspection.manifest);
    if let Some(only) = &options.only {
        grants.capabilities.retain(|capability| only.contains(capability));
        if !only.contains("exec") {
            grants.commands.clear();
        }
    }
    let bench = Arc::new(LocalBench::new(&inspection.manifest, options)?);
    let host = Host::new(HostOptions { sites: bench.directory(), ..HostOptions::default() })?;
    let loaded = host.load(file, grants.clone()).await?;
    let mut reports = Vec::new();
    for kind in loaded.kinds() {
        reports.push((kind.word(), try_kind(kind, &bench).await?));
    }
    Ok(TestReport { inspection, granted: grants.capabilities, reports })
}

async fn try_kind(kind: DriverKind, bench: &Arc<LocalBench>) -> Result<Report, TestkitError> {
    Ok(match kind {
        DriverKind::Hypervisor(driver) => conformance::hypervisor(driver, Arc::clone(bench) as _).await,
        DriverKind::Transfer(driver) => {
            bench.make_image().await?;
            conformance::transfer(driver, Arc::clone(bench) as _).await
        }
        DriverKind::Rules(driver) => conformance::snapshot_rules(driver).await,
    })
}

/// What a component says about itself, for those who only want to look.
///
/// # Errors
/// It is no component, or no driver.
pub async fn inspect(file: &Path) -> Result<Inspection, TestkitError> {
    Ok(ostler_wasm::inspect_file(file).await?)
}
