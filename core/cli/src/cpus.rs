//! A number of CPUs on the command line.

use ostler_api::CpuMilli;

/// Reads a number of CPUs.
pub(crate) fn cpus(text: &str) -> Result<CpuMilli, String> {
    let number: f64 = text.parse().map_err(|_| "write a number such as 4 or 0.5".to_owned())?;
    CpuMilli::from_cpus(number).map_err(|err| err.to_string())
}
