//! `/healthz`, `/readyz` and `/metrics`.

use crate::app::Shared;
use crate::metrics::Asked;
use crate::problem::{ApiError, Handled};
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use ostler_api::Health;

/// Whether the process serves at all.
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, body = Health)))]
pub(crate) async fn healthz() -> Json<Health> {
    Json(Health { ok: true, detail: "alive".to_owned() })
}

/// Whether requests can be served: not while the store is read-only, nor while the daemon ends.
#[utoipa::path(
    get, path = "/readyz", tag = "health",
    responses(
        (status = 200, body = Health),
        (status = 503, body = Health, description = "Not ready; `detail` says why"),
    ),
)]
pub(crate) async fn readyz(State(app): State<Shared>) -> (StatusCode, Json<Health>) {
    let trouble = if app.stopping.is_cancelled() {
        Some("the daemon ends".to_owned())
    } else {
        app.store_trouble()
    };
    match trouble {
        None => (StatusCode::OK, Json(Health { ok: true, detail: "ready".to_owned() })),
        Some(detail) => (StatusCode::SERVICE_UNAVAILABLE, Json(Health { ok: false, detail })),
    }
}

/// Figures for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "health",
    responses(
        (status = 200, body = String, content_type = "application/openmetrics-text"),
        ApiError,
    ),
)]
pub(crate) async fn metrics(State(app): State<Shared>) -> Handled<Response> {
    let text = app
        .reading(|app, reader| {
            let asked = Asked { engine: &app.engine, drivers: &app.registry };
            app.metrics.render(asked, reader)
        })
        .await?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}
