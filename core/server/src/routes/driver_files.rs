//! `/v1/driver-files`: clients on other machines send the file of a driver before they add it.

use crate::app::Shared;
use crate::problem::{ApiError, Handled, chain};
use crate::uploads::UploadProblem;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ostler_api::{COMPONENT_TYPE, DriverFile, SIGNATURE_HEADER, code};
use ostler_wasm::SIGNATURE_MAX;

/// Receives the file of a component, for a `POST /v1/drivers` that names its `path`. The body is
/// the component itself. Nothing of it is loaded, and nothing is changed. Only the newest files
/// stay: send it again if it is gone.
#[utoipa::path(
    post, path = "/v1/driver-files", tag = "drivers",
    request_body(content = Vec<u8>, content_type = "application/wasm",
        description = "The component"),
    params(("Ostler-Signature" = Option<String>, Header,
        description = "The text of the signature that lies beside it, in base64")),
    responses((status = 201, body = DriverFile), ApiError),
)]
pub(crate) async fn add(
    State(app): State<Shared>,
    headers: HeaderMap,
    body: Body,
) -> Handled<(StatusCode, Json<DriverFile>)> {
    let declared = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if declared != Some(COMPONENT_TYPE) {
        let detail = format!("the body's content type is {:?}", declared.unwrap_or_default());
        let error = ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, code::MALFORMED, detail);
        return Err(error.hint("send the component, with Content-Type: application/wasm"));
    }
    let signature = signature(&headers)?;
    let Some(_place) = app.uploads.place() else {
        let detail = "other components are being received already";
        return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, code::OVERLOADED, detail)
            .hint("send it again in a moment"));
    };
    let received = app.uploads.receive(body.into_data_stream(), signature).await?;
    let path = received.path.display().to_string();
    Ok((StatusCode::CREATED, Json(DriverFile { path, size: received.size })))
}

/// The text of the signature beside the component, if one was sent.
fn signature(headers: &HeaderMap) -> Handled<Option<Vec<u8>>> {
    let Some(value) = headers.get(SIGNATURE_HEADER) else { return Ok(None) };
    let text = STANDARD.decode(value.as_bytes()).ok().filter(|text| text.len() <= SIGNATURE_MAX);
    text.map(Some).ok_or_else(|| {
        let detail = format!("{SIGNATURE_HEADER} must be base64 of at most {SIGNATURE_MAX} bytes");
        ApiError::invalid(SIGNATURE_HEADER, detail)
    })
}

impl From<UploadProblem> for ApiError {
    fn from(problem: UploadProblem) -> Self {
        let detail = chain(&problem);
        match problem {
            UploadProblem::TooLarge => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, code::TOO_LARGE, detail)
            }
            UploadProblem::TooSlow => Self::new(StatusCode::REQUEST_TIMEOUT, code::TIMEOUT, detail),
            UploadProblem::Broken(_) => Self::new(StatusCode::BAD_REQUEST, code::MALFORMED, detail),
            UploadProblem::File { .. } => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, code::STORE, detail)
                    .hint("is there room on the disk of the data directory?")
            }
        }
    }
}
