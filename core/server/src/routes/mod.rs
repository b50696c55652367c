//! All routes. One line serves a route and puts it into the OpenAPI document. A handler converts
//! the request, makes one call, and converts the answer.

mod action_body;
mod actions;
mod admin;
mod console;
mod datastores;
mod driver_files;
mod drivers;
mod events;
mod health;
mod hosts;
mod images;
mod operations;
mod restored;
mod secrets;
mod tokens;
mod vms;

pub(crate) mod idempotent_add;
pub(crate) mod lookup;

use crate::app::{App, Shared};
use crate::auth::authorise;
use crate::metrics::measure;
use crate::params::{Known, only_known};
use crate::problem::ApiError;
use axum::body::Bytes;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router, middleware};
use ostler_api::{Problem, code};
use std::sync::Arc;
use utoipa::openapi::{InfoBuilder, OpenApi, OpenApiBuilder};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Routes that need a token.
fn guarded() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(document())
        .routes(routes!(vms::list, vms::create))
        .routes(routes!(vms::show))
        .routes(routes!(vms::why))
        .routes(routes!(vms::operations))
        .routes(routes!(vms::snapshots))
        .routes(routes!(vms::counters))
        .routes(routes!(console::console_log))
        .routes(routes!(actions::act))
        .routes(routes!(operations::show))
        .routes(routes!(operations::calls))
        .routes(routes!(hosts::list, hosts::add))
        .routes(routes!(hosts::show, hosts::change, hosts::remove))
        .routes(routes!(hosts::adopt))
        .routes(routes!(hosts::bind, hosts::unbind))
        .routes(routes!(secrets::of_host))
        .routes(routes!(secrets::set_of_host, secrets::remove_of_host))
        .routes(routes!(datastores::list, datastores::add))
        .routes(routes!(datastores::show, datastores::remove))
        .routes(routes!(images::list, images::add))
        .routes(routes!(images::show, images::remove))
        .routes(routes!(drivers::list, drivers::add))
        .routes(routes!(driver_files::add))
        .routes(routes!(drivers::show, drivers::remove))
        .routes(routes!(drivers::bind, drivers::unbind))
        .routes(routes!(drivers::roll_back))
        .routes(routes!(secrets::of_driver))
        .routes(routes!(secrets::set_of_driver, secrets::remove_of_driver))
        .routes(routes!(events::watch))
        .routes(routes!(tokens::list, tokens::add))
        .routes(routes!(tokens::remove))
        .routes(routes!(admin::backup))
        .routes(routes!(admin::check))
        .routes(routes!(restored::show))
        .routes(routes!(restored::accept))
        .routes(routes!(admin::version))
        .routes(routes!(health::metrics))
}

/// Routes that need no token. They tell only whether the daemon works.
fn open() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(health::healthz)).routes(routes!(health::readyz))
}

fn document() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Ostler")
        .version("v1")
        .description(Some(
            "Keeps guests on any host. The rules that hold for all routes are in docs/api.md.",
        ))
        .build();
    let mut document = OpenApiBuilder::new().info(info).build();
    let components = document.components.get_or_insert_default();
    components.schemas.insert(Problem::name().into_owned(), Problem::schema());
    let mut more = Vec::new();
    Problem::schemas(&mut more);
    components.schemas.extend(more);
    document
}

/// The OpenAPI document.
#[must_use]
pub fn openapi() -> OpenApi {
    guarded().merge(open()).into_openapi()
}

/// Joins the lines of each paragraph in the texts of a JSON document. The texts are docstrings, which
/// are broken where the source is: without this, the document would change with the width of the
/// source. Paragraphs and items of lists stay apart.
pub(crate) fn flowing(json: &str) -> String {
    const BREAK: &str = r"\n";
    let mut joined = String::with_capacity(json.len());
    let mut rest = json;
    while let Some((before, escape)) = rest.find('\\').and_then(|at| rest.split_at_checked(at)) {
        let Some((escape, after)) = escape.split_at_checked(BREAK.len()) else { break };
        joined.push_str(before);
        let apart = joined.ends_with(BREAK) || [BREAK, "- "].iter().any(|x| after.starts_with(x));
        joined.push_str(if escape == BREAK && !apart { " " } else { escape });
        rest = after;
    }
    joined + rest
}

/// The whole service.
pub(crate) fn router(app: Arc<App>) -> Router {
    let document = openapi();
    let parameters = middleware::from_fn_with_state(Known::of(&document), only_known);
    let text = serde_json::to_string(&document).unwrap_or_default();
    let text = Bytes::from(flowing(&text));
    // The layer that is added last runs first: the token is checked before the parameters.
    let guarded = Router::from(guarded())
        .route_layer(parameters.clone())
        .route_layer(middleware::from_fn_with_state(Arc::clone(&app), authorise));
    let open =
        Router::from(open()).route("/v1/openapi.json", get(serve_document)).route_layer(parameters);
    guarded
        .merge(open)
        .fallback(nothing_here)
        .method_not_allowed_fallback(not_that_way)
        .layer(middleware::from_fn_with_state(Arc::clone(&app.metrics), measure))
        .layer(Extension(Document(text)))
        .with_state(app)
}

/// The OpenAPI document as it is sent. It is written once, so that a client that asks for it again
/// and again costs no memory.
#[derive(Clone)]
struct Document(Bytes);

async fn serve_document(Extension(Document(text)): Extension<Document>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

async fn nothing_here(uri: Uri) -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        code::NOT_FOUND,
        format!("there is no route {}", uri.path()),
    )
    .hint("GET /v1/openapi.json lists all routes")
}

async fn not_that_way(method: Method, uri: Uri) -> ApiError {
    let detail = format!("{} does not take {method}", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, code::METHOD_NOT_ALLOWED, detail)
        .hint("GET /v1/openapi.json lists what each route takes")
}
