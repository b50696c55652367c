//! Reads several VMs, and reports the ones that cannot be read.

use crate::context::Context;
use crate::out::Row;
use crate::watch::{self, Watch};
use crate::{Exit, Failure, range};
use ostler_api::ClientError;

/// The result of reading several VMs.
pub(crate) struct Seen<T> {
    /// The VMs that could be read, in the given order.
    pub(crate) found: Vec<T>,
    /// Whether only one VM was named. Then JSON and YAML have it without a list around it.
    pub(crate) alone: bool,
    /// The worst failure.
    pub(crate) worst: Exit,
}

/// Prints something that each VM has, as a list. With `--watch` it does so again and again.
pub(crate) async fn list<T: Row>(
    cx: &Context,
    given: &[String],
    watch: &Watch,
    mut read: impl AsyncFnMut(&str) -> Result<(u64, Vec<T>), ClientError>,
) -> Result<(), Failure> {
    let mut worst = Exit::Ok;
    watch::run(cx, watch, async || {
        let seen = look(given, &mut read).await?;
        worst = seen.worst;
        rows(cx, &seen)
    })
    .await?;
    ended(worst)
}

/// The end of a command whose failures were printed already.
pub(crate) fn ended(worst: Exit) -> Result<(), Failure> {
    if worst == Exit::Ok { Ok(()) } else { Err(Failure::silent(worst)) }
}

/// Reads each VM of `given`: ids, names and ranges. A failure is printed and the next VM is read.
/// But if only one VM was named, or the daemon cannot be reached, the failure is returned at once.
pub(crate) async fn look<T>(
    given: &[String],
    mut read: impl AsyncFnMut(&str) -> Result<T, ClientError>,
) -> Result<Seen<T>, Failure> {
    let vms = range::expand(given)?;
    let (mut found, mut worst) = (Vec::new(), Exit::Ok);
    for vm in &vms {
        match read(vm).await {
            Ok(seen) => found.push(seen),
            Err(err) => {
                let failure = Failure::from(err).about(&format!("vm {vm}"));
                if failure.exit == Exit::Unreachable || vms.len() == 1 {
                    return Err(failure);
                }
                failure.tell();
                worst = worst.max(failure.exit);
            }
        }
    }
    Ok(Seen { found, alone: vms.len() == 1, worst })
}

/// The list of all VMs' things. If only one VM was named, there is no column for the VM.
fn rows<T: Row>(cx: &Context, seen: &Seen<(u64, Vec<T>)>) -> Result<String, Failure> {
    match seen.found.as_slice() {
        [(_, list)] if seen.alone => cx.out.rows(list),
        all => cx.out.rows_of(all),
    }
}
