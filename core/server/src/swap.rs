//! Another file becomes a driver, and the file before can come back.
//!
//! A file is tried on the driver's hosts before it takes the place of another. Operations that are
//! in hand stay on the file that they began with, also after a restart. The new file is on trial:
//! if it fares badly, the one before is put back by itself. An operator can put it back, too.

use crate::app::Shared;
use crate::clock::now;
use crate::convert::named;
use crate::drivers::{DriverProblem, Loader};
use crate::problem::{ApiError, Handled};
use axum::http::StatusCode;
use ostler_api::{NewDriver, Upgrade, code};
use ostler_driver::{DriverEntry, EARLIER_MAX, Registry};
use ostler_engine::{Engine, Spike, TRIAL, oldest_operation};
use ostler_model::{DriverName, EventKind, OperationId, Timestamp};
use ostler_store::{DriverRow, EarlierDriver, ResourceChange};
use std::sync::Arc;

/// Loads the file of `new`, and makes it the driver of its name.
pub(crate) async fn enter(
    app: &Shared,
    new: &NewDriver,
    by: &str,
) -> Handled<(DriverName, Option<Upgrade>)> {
    let mut loaded = app.loader.load(new, &app.registry, app.store()).await?;
    let (name, upgrade) = (loaded.row.name.clone(), loaded.upgrade.take());
    if upgrade.is_some() && !new.untested {
        app.engine.try_driver(&name, &loaded.entry).await.map_err(|found| {
            let (host, error) = (found.host, found.error);
            DriverProblem::NotAnswered { driver: name.clone(), host, error }
        })?;
    }
    let oldest = oldest_operation(&app.store().read()?)?;
    let until = if new.at_once { NOBODY } else { app.store().next_operation_id() };
    let version = app.registry.get(&name).map(|(info, _)| info.version).unwrap_or_default();
    let row = successor(loaded.row.clone(), loaded.before.as_ref(), version, (until, oldest));
    let put = Put { entry: loaded.entry, row, other_file: upgrade.is_some(), at_once: new.at_once };
    put.commit(app, by).await?;
    Ok((name, upgrade))
}

/// No operation stays on a file: operations are numbered from 1.
const NOBODY: OperationId = OperationId(0);

/// The row of a file that takes the place of the one in `before`, whose own version is `version`.
/// Operations before the first number stay on that one. The second number is the first operation
/// that has not ended.
fn successor(
    new: DriverRow,
    before: Option<&DriverRow>,
    version: String,
    (until, oldest): (OperationId, Option<OperationId>),
) -> DriverRow {
    let Some(before) = before else { return new };
    if before.digest == new.digest {
        let (earlier, on_trial) = (before.earlier.clone(), before.on_trial);
        return DriverRow { earlier, on_trial, ..new };
    }
    let needed = |earlier: &&EarlierDriver| {
        until > NOBODY && oldest.is_some_and(|oldest| oldest < earlier.until)
    };
    let mut earlier = vec![earlier(before, version, until, None)];
    earlier.extend(before.earlier.iter().filter(needed).take(EARLIER_MAX - 1).cloned());
    DriverRow { earlier, on_trial: true, ..new }
}

fn earlier(
    row: &DriverRow,
    version: String,
    until: OperationId,
    taken_back: Option<String>,
) -> EarlierDriver {
    EarlierDriver {
        version,
        file: row.file.clone(),
        digest: row.digest.clone(),
        grants: row.grants.clone(),
        config: row.config.clone(),
        added: row.added,
        until,
        taken_back,
    }
}

/// The row of an earlier file, as it is loaded.
pub(crate) fn as_row(name: &DriverName, earlier: &EarlierDriver) -> DriverRow {
    DriverRow {
        name: name.clone(),
        file: earlier.file.clone(),
        digest: earlier.digest.clone(),
        grants: earlier.grants.clone(),
        config: earlier.config.clone(),
        enabled: true,
        added: earlier.added,
        on_trial: false,
        earlier: Vec::new(),
    }
}

/// The row with the file before back in its place, at `now`. `version` is that of the file that is
/// taken back, and `why` the reason. None if there is no file before.
fn back(row: &DriverRow, version: String, why: &str, now: Timestamp) -> Option<DriverRow> {
    let (first, others) = row.earlier.split_first()?;
    let taken = earlier(row, version, NOBODY, Some(why.to_owned()));
    let earlier = std::iter::once(taken).chain(others.iter().cloned()).collect();
    let before = DriverRow { added: now, ..as_row(&row.name, first) };
    Some(DriverRow { earlier, enabled: row.enabled, ..before })
}

/// A driver that is loaded, with the row that the store is to keep.
struct Put {
    entry: DriverEntry,
    row: DriverRow,
    /// Whether it has another file than the driver before.
    other_file: bool,
    /// Whether operations in hand go on with it.
    at_once: bool,
}

impl Put {
    /// The driver enters the registry with the commit, not after it. So the store and this process
    /// always agree on which driver has the name.
    async fn commit(self, app: &Shared, by: &str) -> Handled<()> {
        let (change, known) = (ResourceChange::DriverPut(self.row.clone()), Arc::clone(app));
        let then = move || {
            let since = (self.row.on_trial && self.other_file).then(now);
            // Operations that have begun since the row was made have begun on the file before.
            let from = known.store().next_operation_id();
            if !self.other_file {
                known.registry.insert(self.entry);
            } else if self.at_once {
                known.registry.replace_all(self.entry);
            } else {
                known.registry.succeed(self.entry, from);
            }
            known.engine.driver_changed(&self.row.name, from, since);
        };
        app.engine.change_then(change, by, then).await.map_err(|err| named::refused(app, err))
    }
}

/// Puts the file before back in its place, for all operations. Calls in flight end on the file that
/// is taken back.
pub(crate) async fn put_back(app: &Shared, name: &DriverName, by: &str, why: &str) -> Handled<()> {
    let _alone = app.loader.adding.lock().await;
    let row = app.store().read()?.driver(name)?.ok_or_else(|| no_earlier(name))?;
    let (version, kinds) =
        app.registry.get(name).map(|(info, kinds)| (info.version, kinds)).unwrap_or_default();
    let next = back(&row, version, why, now()).ok_or_else(|| no_earlier(name))?;
    let entry = app.loader.load_row(&next).await?;
    let new = entry.kinds();
    if !kinds.iter().all(|kind| new.contains(kind)) {
        let (is, new) = (kinds.join(" and "), new.join(" and "));
        return Err(DriverProblem::OtherKind { driver: name.clone(), is, new }.into());
    }
    let (known, change) = (Arc::clone(app), ResourceChange::DriverPut(next));
    let (driver, of) = (name.clone(), name.clone());
    let then = move || {
        known.registry.insert(entry);
        known.engine.driver_changed(&driver, NOBODY, None);
    };
    app.engine.change_then(change, by, then).await.map_err(|err| named::refused(app, err))?;
    let told = EventKind::Resource {
        resource: "driver".to_owned(),
        name: of.to_string(),
        change: "taken back".to_owned(),
        detail: format!("the file before is the driver again: {why}"),
    };
    app.engine.tell(told).await;
    Ok(())
}

fn no_earlier(name: &DriverName) -> ApiError {
    let detail = format!("driver {name} has no earlier file that could be put back");
    ApiError::new(StatusCode::CONFLICT, code::NO_EARLIER_FILE, detail)
        .hint("add the file with `ostler driver add --replace`")
}

/// Puts files back that fare badly on trial. Runs until the daemon ends.
pub(crate) async fn watch(app: Shared) {
    loop {
        let (driver, spike) = tokio::select! {
            biased;
            () = app.stopping.cancelled() => return,
            found = app.engine.next_spike() => found,
        };
        let why = in_words(spike);
        match put_back(&app, &driver, "ostlerd", &why).await {
            Ok(()) => tracing::warn!(%driver, why, "the file before is the driver again"),
            Err(problem) => tracing::error!(
                %driver, why, problem = problem.0.detail,
                "the new file of the driver fares badly, and the file before could not be put back"
            ),
        }
    }
}

fn in_words(spike: Spike) -> String {
    match spike {
        Spike::Crashes { crashed, of } => {
            format!("{crashed} of the last {of} calls of the new file crashed")
        }
        Spike::Failures { failed, of, before, before_of } => format!(
            "{failed} of the last {of} calls of the new file failed; of the file before, {before} \
             of the last {before_of} did"
        ),
    }
}

/// Loads the earlier files that operations of the last process stay on. To be called before these
/// operations go on.
pub(crate) async fn keep_earlier(
    loader: &Loader,
    registry: &Registry,
    row: &DriverRow,
    oldest: Option<OperationId>,
) {
    for earlier in &row.earlier {
        if oldest.is_none_or(|oldest| oldest >= earlier.until) {
            continue;
        }
        match loader.load_row(&as_row(&row.name, earlier)).await {
            Ok(entry) => registry.keep_earlier(entry, earlier.until),
            Err(problem) => tracing::error!(
                driver = %row.name, version = earlier.version, error = problem.words(),
                "an earlier file of the driver is not loaded: operations that began with it go on \
                 with the file that is in place"
            ),
        }
    }
}

/// Goes on with the trials of the last process.
pub(crate) fn go_on(engine: &Engine, rows: &[DriverRow]) {
    for row in rows.iter().filter(|row| row.on_trial && now().since(row.added) < TRIAL) {
        let from = row.earlier.first().map_or(NOBODY, |earlier| earlier.until);
        engine.driver_changed(&row.name, from, Some(row.added));
    }
}

#[cfg(test)]
#[path = "swap_tests.rs"]
mod tests;
