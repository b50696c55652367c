//! Looking at several VMs: each that was named, and what is said of those that cannot be read.

use crate::context::Context;
use crate::out::Row;
use crate::watch::{self, Watch};
use crate::{Exit, Failure, range};
use ostler_api::ClientError;

/// What was seen of several VMs.
pub(crate) struct Seen<T> {
    /// Of each that could be read, in the order given.
    pub(crate) found: Vec<T>,
    /// Whether one VM alone was named: machines get it without a list around it.
    pub(crate) alone: bool,
    /// The worst failure.
    pub(crate) worst: Exit,
}

/// Prints what VMs have, as a list; with `--watch` again and again.
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

/// The end of a command: what failed was told already.
pub(crate) fn ended(worst: Exit) -> Result<(), Failure> {
    if worst == Exit::Ok { Ok(()) } else { Err(Failure::silent(worst)) }
}

/// Looks at each VM of `given`: ids, names and ranges. A failure is told and the next one is looked at, unless it is the only one,
/// or nobody is there to ask.
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

/// What VMs have, as a list: of one VM alone as it is, of several with whose each is.
fn rows<T: Row>(cx: &Context, seen: &Seen<(u64, Vec<T>)>) -> Result<String, Failure> {
    match seen.found.as_slice() {
        [(_, list)] if seen.alone => cx.out.rows(list),
        all => cx.out.rows_of(all),
    }
}
