//! `/v1/drivers/{driver}/secrets` and `/v1/hosts/{host}/secrets`: secrets of drivers. A value goes
//! in, and no answer has it.

use crate::app::{App, Shared};
use crate::auth::Caller;
use crate::clock::now;
use crate::convert::{Unfit, named, parse, time};
use crate::extract::Body;
use crate::problem::{ApiError, Handled, Thing};
use crate::routes::lookup;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use ostler_api::{NewSecret, Secret, code};
use ostler_driver::{DriverOrigin, DriverSecrets};
use ostler_model::{DriverName, HostId, SecretKey, SecretName, SecretValue};
use ostler_store::{ResourceChange, SecretRow};

/// The largest value, in bytes: a private key with its certificates has some KiB.
const VALUE_MAX: usize = 16 * 1024;
/// The most secrets of a driver, and the most for one host.
const EACH_MAX: usize = 64;

/// Whose secrets a request is about.
struct Whose {
    driver: DriverName,
    host: Option<HostId>,
}

impl Whose {
    /// A driver's, for all its hosts. A driver that is not there any more may still have some.
    fn of_driver(app: &App, name: &str) -> Handled<Self> {
        let (loaded, left_out) = (app.registry.list(), app.registry.left_out());
        let known = || {
            let loaded = loaded.iter().map(|(info, _)| &info.name);
            loaded.chain(left_out.iter().map(|driver| &driver.info.name))
        };
        let missing = || ApiError::missing(Thing::Driver, name, known().map(DriverName::as_str));
        let driver: DriverName = name.parse().map_err(|_| missing())?;
        let is_known = known().any(|known| *known == driver);
        if is_known || !app.store().read()?.secrets_of(&driver, None)?.is_empty() {
            Ok(Self { driver, host: None })
        } else {
            Err(missing())
        }
    }

    /// A host's, for its own driver.
    fn of_host(app: &App, which: &str) -> Handled<Self> {
        let host = lookup::host(&app.store().read()?, which)?;
        match host.hypervisor {
            Some(hypervisor) => Ok(Self { driver: hypervisor.driver, host: Some(host.id) }),
            None => {
                let why = format!("host {} has no driver, and so no secrets", host.name);
                Err(ApiError::unusable("host", &why))
            }
        }
    }

    fn key(self, name: &str) -> Handled<SecretKey> {
        let name: SecretName = parse("name", name)?;
        Ok(SecretKey { driver: self.driver, host: self.host, name })
    }
}

/// The secrets of a driver by its manifest. None if nothing is known of it.
fn known_of(app: &App, driver: &DriverName) -> Handled<Option<DriverSecrets>> {
    let left_out = || app.registry.left_out().into_iter().find(|it| it.info.name == *driver);
    let info = app.registry.get(driver).map(|(info, _)| info);
    match info.or_else(|| left_out().map(|it| it.info)).map(|info| info.origin) {
        Some(DriverOrigin::Component { secrets, .. }) => Ok(Some(secrets)),
        Some(DriverOrigin::BuiltIn) => {
            let why = format!("driver {driver} is built in and reads no secrets");
            Err(ApiError::unusable("driver", &why))
        }
        None => Ok(None),
    }
}

/// Refuses a name that the driver would never read, as its manifest says.
fn is_read(driver: &DriverName, known: &DriverSecrets, name: &SecretName) -> Result<(), Unfit> {
    let names = || known.reads.iter().map(|(name, _)| name.as_str());
    if known.reads.is_empty() || names().any(|known| known == name.as_str()) {
        return Ok(());
    }
    let listed = names().collect::<Vec<_>>().join(", ");
    let hint = ostler_api::nearest(name.as_str(), names());
    Err(Unfit {
        hint: hint.map(|near| format!("did you mean {near}?")),
        ..Unfit::new("name", format!("driver {driver} reads no secret {name}; it reads: {listed}"))
    })
}

/// Refuses a value that is empty or too large. Its text is not told.
fn fits(value: &str) -> Result<(), Unfit> {
    match value.len() {
        0 => Err(Unfit::new("value", "it is empty; DELETE removes a secret")),
        1..=VALUE_MAX => Ok(()),
        length => {
            Err(Unfit::new("value", format!("it has {length} bytes, at most {VALUE_MAX} are kept")))
        }
    }
}

async fn change(app: &App, change: ResourceChange, caller: &Caller) -> Handled<StatusCode> {
    let changed = app.engine.change(change, &caller.name).await;
    changed.map_err(|err| named::refused(app, err))?;
    Ok(StatusCode::NO_CONTENT)
}

async fn set(
    app: &App,
    whose: Whose,
    name: &str,
    new: NewSecret,
    by: &Caller,
) -> Handled<StatusCode> {
    let key = whose.key(name)?;
    if let Some(known) = known_of(app, &key.driver)? {
        is_read(&key.driver, &known, &key.name)?;
    }
    fits(&new.value)?;
    let others = app.store().read()?.secrets_of(&key.driver, key.host)?;
    if others.len() >= EACH_MAX && others.iter().all(|other| other.key != key) {
        let detail = format!("{EACH_MAX} secrets are set already, which is the most");
        return Err(Unfit::new("name", detail).into());
    }
    let row = SecretRow { key, value: SecretValue::new(new.value), set: now() };
    change(app, ResourceChange::SecretPut(row), by).await
}

async fn remove(app: &App, whose: Whose, name: &str, by: &Caller) -> Handled<StatusCode> {
    // A text that is no name is the name of nothing.
    let missing = || {
        ApiError::new(StatusCode::NOT_FOUND, code::NOT_FOUND, format!("there is no secret {name}"))
    };
    let key = whose.key(name).map_err(|_| missing())?;
    change(app, ResourceChange::SecretRemove(key), by).await
}

fn list(app: &App, whose: &Whose) -> Handled<Json<Vec<Secret>>> {
    let told = |row: SecretRow| Secret { name: row.key.name.into(), set: time(row.set) };
    let rows = app.store().read()?.secrets_of(&whose.driver, whose.host)?;
    Ok(Json(rows.into_iter().map(told).collect()))
}

/// The secrets that are set for all hosts of a driver, by name and without their values.
#[utoipa::path(
    get, path = "/v1/drivers/{driver}/secrets", tag = "drivers",
    params(("driver" = String, Path, description = "Name")),
    responses((status = 200, body = [Secret]), ApiError)
)]
pub(crate) async fn of_driver(
    State(app): State<Shared>,
    Path(driver): Path<String>,
) -> Handled<Json<Vec<Secret>>> {
    list(&app, &Whose::of_driver(&app, &driver)?)
}

/// Sets a secret for all hosts of a driver. The driver's next call reads it.
#[utoipa::path(
    put, path = "/v1/drivers/{driver}/secrets/{name}", tag = "drivers", request_body = NewSecret,
    params(
        ("driver" = String, Path, description = "Name of the driver"),
        ("name" = String, Path, description = "Name of the secret"),
    ),
    responses((status = 204, description = "It is set"), ApiError),
)]
pub(crate) async fn set_of_driver(
    State(app): State<Shared>,
    caller: Caller,
    Path((driver, name)): Path<(String, String)>,
    body: Body<NewSecret>,
) -> Handled<StatusCode> {
    set(&app, Whose::of_driver(&app, &driver)?, &name, body.value, &caller).await
}

/// Removes a secret of a driver. Those of its hosts stay.
#[utoipa::path(
    delete, path = "/v1/drivers/{driver}/secrets/{name}", tag = "drivers",
    params(
        ("driver" = String, Path, description = "Name of the driver"),
        ("name" = String, Path, description = "Name of the secret"),
    ),
    responses((status = 204, description = "It is gone"), ApiError)
)]
pub(crate) async fn remove_of_driver(
    State(app): State<Shared>,
    caller: Caller,
    Path((driver, name)): Path<(String, String)>,
) -> Handled<StatusCode> {
    remove(&app, Whose::of_driver(&app, &driver)?, &name, &caller).await
}

/// The secrets that are set for one host, by name and without their values.
#[utoipa::path(
    get, path = "/v1/hosts/{host}/secrets", tag = "hosts",
    params(("host" = String, Path, description = "Id or name")),
    responses((status = 200, body = [Secret]), ApiError)
)]
pub(crate) async fn of_host(
    State(app): State<Shared>,
    Path(host): Path<String>,
) -> Handled<Json<Vec<Secret>>> {
    list(&app, &Whose::of_host(&app, &host)?)
}

/// Sets a secret for one host. It comes before the secret of that name of the host's driver. The
/// driver's next call for the host reads it.
#[utoipa::path(
    put, path = "/v1/hosts/{host}/secrets/{name}", tag = "hosts", request_body = NewSecret,
    params(
        ("host" = String, Path, description = "Id or name of the host"),
        ("name" = String, Path, description = "Name of the secret"),
    ),
    responses((status = 204, description = "It is set"), ApiError),
)]
pub(crate) async fn set_of_host(
    State(app): State<Shared>,
    caller: Caller,
    Path((host, name)): Path<(String, String)>,
    body: Body<NewSecret>,
) -> Handled<StatusCode> {
    set(&app, Whose::of_host(&app, &host)?, &name, body.value, &caller).await
}

/// Removes a secret of one host. The driver's own of that name counts again.
#[utoipa::path(
    delete, path = "/v1/hosts/{host}/secrets/{name}", tag = "hosts",
    params(
        ("host" = String, Path, description = "Id or name of the host"),
        ("name" = String, Path, description = "Name of the secret"),
    ),
    responses((status = 204, description = "It is gone"), ApiError)
)]
pub(crate) async fn remove_of_host(
    State(app): State<Shared>,
    caller: Caller,
    Path((host, name)): Path<(String, String)>,
) -> Handled<StatusCode> {
    remove(&app, Whose::of_host(&app, &host)?, &name, &caller).await
}
