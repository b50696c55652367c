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
use ostler_engine::{Engine, Spike, TRIAL, TakeBack, oldest_operation};
use ostler_model::{DriverName, EventKind, Host, OperationId, Timestamp};
use ostler_store::{Commit, DriverRow, EarlierDriver, Reader, ResourceChange};
use std::sync::Arc;
use std::time::Duration;

/// How often it is tried to put a file back, and the wait between two tries.
const TRIES: u32 = 5;
const TRY_AGAIN: Duration = Duration::from_secs(1);

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
    let oldest = app.reading(|_, reader| Ok(oldest_operation(reader)?)).await?;
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
    let stay = |earlier: &EarlierDriver| {
        let until = if until == NOBODY { NOBODY } else { earlier.until };
        EarlierDriver { until, ..earlier.clone() }
    };
    if before.digest == new.digest {
        let earlier = before.earlier.iter().map(stay).collect();
        return DriverRow { earlier, on_trial: before.on_trial, added: before.added, ..new };
    }
    // While the file before is on trial itself, the one before it is the last that was proven.
    let proven = usize::from(is_on_trial(before));
    let needed = |(at, earlier): &(usize, EarlierDriver)| {
        *at < proven || oldest.is_some_and(|oldest| oldest < earlier.until)
    };
    let older = before.earlier.iter().map(stay).enumerate().filter(needed);
    let mut earlier = vec![earlier(before, version, until, None)];
    earlier.extend(older.map(|(_, earlier)| earlier).take(EARLIER_MAX - 1));
    DriverRow { earlier, on_trial: true, ..new }
}

/// Whether a file may still be taken back by itself.
fn is_on_trial(row: &DriverRow) -> bool {
    row.on_trial && now().since(row.added) < TRIAL
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
        on_trial: is_on_trial(row),
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

/// Who asks for a file to be taken back.
enum Asked<'a> {
    /// An operator, for the file in place, whichever it is.
    By(&'a str),
    /// The daemon: for the file of this digest, and this reason.
    Daemon { file: &'a str, why: &'a str },
}

/// The row with an earlier file back in its place, at `now`. `version` is that of the file that is
/// taken back. None if there is no such file. A file that was on trial itself goes on trial again.
fn back(row: &DriverRow, version: String, asked: &Asked<'_>, now: Timestamp) -> Option<DriverRow> {
    let (at, why) = match asked {
        Asked::By(who) => (0, format!("{who} took it back")),
        // A file that was taken back does not come back by itself.
        Asked::Daemon { why, .. } => {
            let at = row.earlier.iter().position(|earlier| earlier.taken_back.is_none())?;
            (at, (*why).to_owned())
        }
    };
    let mut others = row.earlier.clone();
    let first = if at < others.len() { others.remove(at) } else { return None };
    let taken = earlier(row, version, NOBODY, Some(why));
    let earlier = std::iter::once(taken).chain(others).collect();
    let before = DriverRow { added: now, on_trial: first.on_trial, ..as_row(&row.name, &first) };
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
        let (tell, told) = tokio::sync::oneshot::channel();
        let (row, stay) = (self.row.clone(), self.other_file && !self.at_once);
        let then = move || {
            // Operations that have begun since the row was made have begun on the file before.
            let from = if self.at_once { NOBODY } else { known.store().next_operation_id() };
            match (self.at_once, self.other_file) {
                (true, _) => known.registry.replace_all(self.entry),
                (false, true) => known.registry.succeed(self.entry, from),
                (false, false) => known.registry.insert(self.entry),
            }
            if self.other_file {
                let since = is_on_trial(&self.row).then_some(self.row.added);
                known.engine.driver_changed(&self.row.name, &self.row.digest, from, since);
            } else {
                known.engine.probe_hosts_of(&self.row.name);
            }
            // If nobody waits for the number any more, the one in the store is a little lower.
            let _ = tell.send(from);
        };
        app.engine.change_then(change, by, then).await.map_err(|err| named::refused(app, err))?;
        match told.await {
            Ok(from) if stay => keep_number(app, row, from).await,
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// Writes down the first operation of the new file as it was in the end, for the next start.
async fn keep_number(app: &Shared, mut row: DriverRow, from: OperationId) -> Handled<()> {
    if let Some(before) = row.earlier.first_mut()
        && before.until != from
    {
        before.until = from;
        let resources = vec![ResourceChange::DriverPut(row)];
        app.store().commit(Commit { resources, ..Commit::default() }).await?;
    }
    Ok(())
}

/// Takes the file in place back: an operator asks for it.
pub(crate) async fn roll_back(app: &Shared, name: &DriverName, by: &str) -> Handled<()> {
    put_back(app, name, by, &Asked::By(by)).await.map(drop)
}

/// Puts an earlier file back in its place, for the operations of the file in place. Calls in flight
/// end on the file that is taken back. Answers whether there was something to take back.
async fn put_back(app: &Shared, name: &DriverName, by: &str, asked: &Asked<'_>) -> Handled<bool> {
    let _alone = app.loader.adding.lock().await;
    let row = app.store().read()?.driver(name)?.ok_or_else(|| no_earlier(name))?;
    if let Asked::Daemon { file, .. } = asked
        && row.digest != **file
    {
        return Ok(false);
    }
    let info = app.registry.get(name).map(|(info, _)| info);
    let version = info.map(|info| info.version).unwrap_or_default();
    let next = back(&row, version, asked, now()).ok_or_else(|| no_earlier(name))?;
    let why = next.earlier.first().and_then(|taken| taken.taken_back.clone()).unwrap_or_default();
    let entry = app.loader.load_row(&next).await?;
    let (used, kinds) = (kinds_in_use(&app.store().read()?, name)?, entry.kinds());
    if !used.iter().all(|kind| kinds.contains(kind)) {
        let (is, new) = (used.join(" and "), kinds.join(" and "));
        return Err(DriverProblem::OtherKind { driver: name.clone(), is, new }.into());
    }
    let (known, change) = (Arc::clone(app), ResourceChange::DriverPut(next.clone()));
    let then = move || {
        known.registry.insert(entry);
        let since = is_on_trial(&next).then_some(next.added);
        known.engine.driver_changed(&next.name, &next.digest, NOBODY, since);
    };
    app.engine.change_then(change, by, then).await.map_err(|err| named::refused(app, err))?;
    tell(app, name, "taken back", format!("the file before is the driver again: {why}")).await;
    Ok(true)
}

/// The kinds of a driver that hosts, datastores and bindings of rules use.
fn kinds_in_use(reader: &Reader, name: &DriverName) -> Handled<Vec<&'static str>> {
    let hosts = reader.hosts()?;
    let drives = |host: &Host| host.hypervisor.as_ref().is_some_and(|of| of.driver == *name);
    let rules = hosts.iter().any(|host| host.rules.as_ref() == Some(name))
        || reader.rules()?.iter().any(|binding| binding.rules == *name);
    let used = [
        ("hypervisor", hosts.iter().any(drives)),
        ("transfer", reader.datastores()?.iter().any(|store| store.driver == *name)),
        ("snapshot-rules", rules),
    ];
    Ok(used.into_iter().filter(|(_, used)| *used).map(|(kind, _)| kind).collect())
}

async fn tell(app: &Shared, name: &DriverName, change: &str, detail: String) {
    let (resource, name, change) = ("driver".to_owned(), name.to_string(), change.to_owned());
    app.engine.tell(EventKind::Resource { resource, name, change, detail }).await;
}

fn no_earlier(name: &DriverName) -> ApiError {
    let detail = format!("driver {name} has no earlier file that could be put back");
    ApiError::new(StatusCode::CONFLICT, code::NO_EARLIER_FILE, detail)
        .hint("add the file with `ostler driver add --replace`")
}

/// Takes files back that fare badly on trial. Runs until the daemon ends.
pub(crate) async fn watch(app: Shared) {
    loop {
        let found = tokio::select! {
            biased;
            () = app.stopping.cancelled() => return,
            found = app.engine.next_spike() => found,
        };
        // A task of its own: a panic costs one file, and not all later ones.
        let (task, driver) = (Arc::clone(&app), found.driver.clone());
        if tokio::spawn(async move { take_back(&task, &found).await }).await.is_err() {
            tracing::error!(%driver, "taking a file of the driver back panicked");
        }
        app.engine.driver_stays(&driver);
    }
}

async fn take_back(app: &Shared, found: &TakeBack) {
    let (driver, why) = (&found.driver, in_words(found.why));
    let asked = Asked::Daemon { file: &found.file, why: &why };
    let mut tries = 1;
    let problem = loop {
        match put_back(app, driver, "ostlerd", &asked).await {
            Ok(true) => return tracing::warn!(%driver, why, "the file before is the driver again"),
            // An operator was faster.
            Ok(false) => return,
            Err(problem) if tries == TRIES || app.stopping.is_cancelled() => break problem,
            Err(_) => tries += 1,
        }
        tokio::time::sleep(TRY_AGAIN).await;
    };
    let problem = &problem.0.detail;
    tracing::error!(%driver, why, problem, "a file of the driver fares badly, and stays");
    let detail = format!("{why}; the file before could not be put back: {problem}");
    tell(app, driver, "not taken back", detail).await;
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
    for row in rows.iter().filter(|row| is_on_trial(row)) {
        let from = row.earlier.first().map_or(NOBODY, |earlier| earlier.until);
        engine.driver_changed(&row.name, &row.digest, from, Some(row.added));
    }
}

#[cfg(test)]
#[path = "swap_tests.rs"]
mod tests;
