//! Turns errors of the engine and the store into problems: HTTP status, code and hint. `drivers`
//! does the same for drivers that cannot be loaded.
//!
//! **Invariant:** the matches are exhaustive. A new error of the engine or the store does not
//! compile until somebody has written here what a client gets.

use crate::unfit::Unfit;
use crate::words::{self, Names};
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ostler_api::{Candidate, Misfit, Problem, code};
use ostler_engine::EngineError;
use ostler_model::{Hint, Refusal, RefusalKind, ResourceRefused, Verb, VmId};
use ostler_store::{BackupError, CommitError, ReadError};
use std::collections::BTreeMap;
use std::error::Error;
use utoipa::openapi::{ContentBuilder, RefOr, ResponseBuilder, response::Response as DocResponse};

/// A client that got status 429 or 503 may try again after so many seconds.
const RETRY_AFTER: &str = "1";

/// The longest text of a problem. A component or a request may have made a text of megabytes: it is
/// cut to its beginning.
const TEXT_MAX: usize = 4096;

fn shorten(text: &mut String) {
    if text.len() > TEXT_MAX {
        text.truncate(text.floor_char_boundary(TEXT_MAX));
        text.push_str("...");
    }
}

/// A request that was not served. Boxed, because it is large and rare.
#[derive(Debug)]
pub(crate) struct ApiError(pub(crate) Box<Problem>);

/// The result of every handler.
pub(crate) type Handled<T> = Result<T, ApiError>;

/// A kind of things that requests name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thing {
    Vm,
    Operation,
    Host,
    Datastore,
    Image,
    Driver,
}

impl Thing {
    const fn word(self) -> &'static str {
        match self {
            Self::Vm => "vm",
            Self::Operation => "operation",
            Self::Host => "host",
            Self::Datastore => "datastore",
            Self::Image => "image",
            Self::Driver => "driver",
        }
    }

    /// Where a person sees which there are.
    const fn list(self) -> Hint {
        match self {
            Self::Vm => Hint::ListVms,
            Self::Operation => Hint::ListOperations,
            Self::Host => Hint::ListHosts,
            Self::Datastore => Hint::ListDatastores,
            Self::Image => Hint::ListImages,
            Self::Driver => Hint::ListDrivers,
        }
    }
}

impl ApiError {
    /// A problem of this status and code.
    pub(crate) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self(Box::new(Problem::new(
            status.as_u16(),
            status.canonical_reason().unwrap_or("Problem"),
            code,
            detail,
        )))
    }

    /// The same problem with a hint: what the client can do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// The same problem with a hint in words, and as advice for programs. `about` is the VM and the
    /// verb.
    pub(crate) fn advise(mut self, hint: &Hint, about: Option<(VmId, Verb)>) -> Self {
        self.0.advice = Some(words::advice(hint, about));
        self.hint(words::hint(hint, about.map(|(_, verb)| verb)))
    }

    /// The same problem with the field of the input that is wrong.
    pub(crate) fn field(mut self, field: impl Into<String>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    /// The same problem, for an input that is only a part of the whole input.
    pub(crate) fn inside(mut self, part: &str) -> Self {
        let field = self.0.field.take().filter(|field| !field.is_empty());
        self.field(field.map_or_else(|| part.to_owned(), |field| format!("{part}.{field}")))
    }

    /// The same with a name that there is and that may be meant, told before the advice.
    pub(crate) fn near(mut self, near: Option<&str>) -> Self {
        let Some(near) = near else { return self };
        if let Some(advice) = &mut self.0.advice {
            advice.near = Some(near.to_owned());
        }
        let hint = self.0.hint.take().map_or_else(String::new, |hint| format!(" {hint}"));
        self.hint(format!("did you mean {near}?{hint}"))
    }

    /// No such thing.
    pub(crate) fn not_found(what: Thing, which: &str) -> Self {
        let detail = format!("there is no {} {which}", what.word());
        Self::new(StatusCode::NOT_FOUND, code::NOT_FOUND, detail).advise(&what.list(), None)
    }

    /// No such thing. If a known name is similar, the hint names it.
    pub(crate) fn missing<'a>(
        what: Thing,
        which: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        Self::not_found(what, which).near(ostler_api::nearest(which, known))
    }

    /// A name that means several things.
    pub(crate) fn ambiguous(what: Thing, name: &str, candidates: Vec<Candidate>) -> Self {
        let detail = format!("{} {}s are called {name}", candidates.len(), what.word());
        let mut error = Self::new(StatusCode::CONFLICT, code::AMBIGUOUS, detail)
            .hint("use the id of the one you mean");
        error.0.candidates = candidates;
        error
    }

    /// A parameter or header that makes no sense.
    pub(crate) fn invalid(field: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code::INVALID, detail).field(field)
    }

    /// A thing that the request names is not there or cannot be used.
    pub(crate) fn unusable(field: &str, why: &dyn std::fmt::Display) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code::UNUSABLE, why.to_string()).field(field)
    }

    /// A defect, or a disk that fails. The log gets the error with all its causes.
    fn internal(status: StatusCode, code: &str, error: &dyn Error) -> Self {
        tracing::error!(error = chain(error), "a request could not be served");
        Self::new(status, code, error.to_string())
    }
}

/// An error with all its causes.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

impl IntoResponse for ApiError {
    fn into_response(mut self) -> Response {
        shorten(&mut self.0.detail);
        self.0.hint.iter_mut().chain(&mut self.0.field).for_each(shorten);
        let status =
            StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&*self.0)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"ostler\""),
            );
        }
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
        }
        response
    }
}

impl utoipa::IntoResponses for ApiError {
    fn responses() -> BTreeMap<String, RefOr<DocResponse>> {
        let problem = |about: &str| {
            let schema = utoipa::openapi::Ref::from_schema_name("Problem");
            let content = ContentBuilder::new().schema(Some(schema)).build();
            RefOr::T(
                ResponseBuilder::new()
                    .description(about)
                    .content("application/problem+json", content)
                    .build(),
            )
        };
        let all = [
            ("400", "The request makes no sense: `malformed`, `invalid`"),
            ("401", "No good token: `unauthenticated`"),
            ("403", "The token may not do that: `forbidden`"),
            ("404", "No such thing: `not-found`"),
            (
                "409",
                "Refused as things are: `ambiguous-name`, `exists`, `in-use`, `busy`, \
                 `wrong-state`, ...",
            ),
            ("412", "Another version: `version-mismatch`"),
            ("413", "The body is too large: `too-large`"),
            (
                "422",
                "Understood, and not possible: `invalid`, `unusable`, `bad-request`, \
                 `no-such-file`, `format-mismatch`, ...",
            ),
            ("429", "Too much at once: `overloaded`"),
            ("500", "A defect: `internal`"),
            ("503", "Not now: `shutting-down`, `store-failed`, `timeout`"),
        ];
        all.into_iter().map(|(status, about)| (status.to_owned(), problem(about))).collect()
    }
}

/// Errors about hosts, images or VMs. `names` looks up their names.
impl ApiError {
    /// Why the engine did not do it.
    pub(crate) fn engine(names: &dyn Names, error: EngineError) -> Self {
        match error {
            EngineError::NoSuchVm(id) => Self::not_found(Thing::Vm, &id.to_string()),
            EngineError::NoSuchOperation(id) => Self::new(
                StatusCode::NOT_FOUND,
                code::NOT_FOUND,
                format!("there is no operation {id}"),
            ),
            EngineError::Refused(refusal) => Self::refused(names, &refusal),
            EngineError::InvalidSpec(err) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, code::INVALID, err.problem)
                    .field(format!("spec.{}", err.field))
            }
            EngineError::Unusable(why) => {
                let error = Self::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    code::UNUSABLE,
                    words::unusable(names, &why),
                );
                match why.hint() {
                    Some(hint) => error.advise(&hint, None),
                    None => error,
                }
            }
            EngineError::Taken(refused) => {
                Self::new(StatusCode::CONFLICT, code::EXISTS, words::claim(names, &refused))
            }
            EngineError::Resource(refused) => Self::resource(names, &refused),
            EngineError::IdempotencyConflict { .. } => {
                Self::new(StatusCode::CONFLICT, code::IDEMPOTENCY_CONFLICT, error.to_string())
            }
            EngineError::Overloaded { .. } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, code::OVERLOADED, error.to_string())
            }
            EngineError::Store(err) => err.into(),
            EngineError::Read(err) => err.into(),
            EngineError::ShuttingDown => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, code::SHUTTING_DOWN, error.to_string())
            }
            EngineError::Crashed => {
                Self::internal(StatusCode::INTERNAL_SERVER_ERROR, code::INTERNAL, &error)
            }
        }
    }

    /// Why a request about a VM is refused.
    pub(crate) fn refused(names: &dyn Names, refusal: &Refusal) -> Self {
        let status = match refusal.kind {
            RefusalKind::VersionMismatch => StatusCode::PRECONDITION_FAILED,
            RefusalKind::BadRequest => StatusCode::UNPROCESSABLE_ENTITY,
            RefusalKind::WrongState
            | RefusalKind::Busy
            | RefusalKind::NoHost
            | RefusalKind::NoCapacity
            | RefusalKind::ImageNotReady
            | RefusalKind::NotAbsent
            | RefusalKind::Contradicted
            | RefusalKind::CannotAsk
            | RefusalKind::NotAble
            | RefusalKind::NothingToRecover
            | RefusalKind::NotFenced
            | RefusalKind::Rules => StatusCode::CONFLICT,
        };
        let (hint, advice) = words::of_refusal(refusal);
        let mut error = Self::new(status, refusal.kind.into(), words::refusal(names, refusal));
        error.0.advice = Some(advice);
        error.hint(hint)
    }

    /// Why the change of a resource is refused.
    pub(crate) fn resource(names: &dyn Names, refused: &ResourceRefused) -> Self {
        let (status, code) = match refused {
            ResourceRefused::NameTaken { .. } | ResourceRefused::SameHypervisor { .. } => {
                (StatusCode::CONFLICT, code::EXISTS)
            }
            ResourceRefused::InUse { .. } => (StatusCode::CONFLICT, code::IN_USE),
            ResourceRefused::NotFound { .. } => (StatusCode::NOT_FOUND, code::NOT_FOUND),
            ResourceRefused::FileTaken { .. } => (StatusCode::CONFLICT, code::FILE_TAKEN),
            ResourceRefused::UuidTaken { .. } => (StatusCode::CONFLICT, code::EXISTS),
        };
        Self::new(status, code, words::resource_refused(names, refused))
    }
}

impl From<CommitError> for ApiError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::ReadOnly { .. } | CommitError::Failed { .. } | CommitError::Row { .. } => {
                Self::internal(StatusCode::SERVICE_UNAVAILABLE, code::STORE, &error)
                    .hint("GET /readyz says more")
            }
            CommitError::NotInCharge { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, code::STORE, error.to_string())
            }
            CommitError::Malformed { .. } => {
                Self::internal(StatusCode::INTERNAL_SERVER_ERROR, code::INTERNAL, &error)
            }
            CommitError::Closed => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, code::SHUTTING_DOWN, error.to_string())
            }
        }
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Storage { .. } | ReadError::Row(_) => {
                Self::internal(StatusCode::SERVICE_UNAVAILABLE, code::STORE, &error)
                    .hint("GET /readyz says more")
            }
        }
    }
}

impl From<BackupError> for ApiError {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::Exists { .. } | BackupError::InUse { .. } => {
                Self::new(StatusCode::CONFLICT, code::EXISTS, error.to_string())
            }
            BackupError::File { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, code::UNUSABLE, chain(&error))
            }
            BackupError::Open { .. }
            | BackupError::Storage { .. }
            | BackupError::Read { .. }
            | BackupError::Broken { .. }
            | BackupError::Unreadable { .. } => {
                Self::internal(StatusCode::INTERNAL_SERVER_ERROR, code::STORE, &error)
            }
        }
    }
}

impl From<Unfit> for ApiError {
    fn from(unfit: Unfit) -> Self {
        let error = Self::new(StatusCode::UNPROCESSABLE_ENTITY, code::INVALID, unfit.to_string())
            .field(unfit.field);
        match unfit.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

impl From<Misfit> for ApiError {
    fn from(misfit: Misfit) -> Self {
        let error = Self::new(StatusCode::BAD_REQUEST, code::INVALID, misfit.to_string())
            .field(misfit.path.clone());
        match misfit.hint() {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::NoNames;
    use ostler_model::{Cause, OperationId};
    use strum::IntoEnumIterator;

    fn status_of(error: EngineError) -> (u16, String) {
        let problem = ApiError::engine(&NoNames, error).0;
        (problem.status, problem.code)
    }

    #[test]
    fn every_error_of_the_engine_has_its_status() {
        let conflict = EngineError::IdempotencyConflict { key: "k".to_owned() };
        assert_eq!(status_of(EngineError::NoSuchVm(VmId(7))), (404, "not-found".to_owned()));
        assert_eq!(
            status_of(EngineError::NoSuchOperation(OperationId(7))),
            (404, "not-found".to_owned())
        );
        assert_eq!(status_of(conflict), (409, "idempotency-conflict".to_owned()));
        assert_eq!(
            status_of(EngineError::Overloaded { vm: VmId(7), waiting: 9 }),
            (429, "overloaded".to_owned())
        );
        assert_eq!(status_of(EngineError::ShuttingDown), (503, "shutting-down".to_owned()));
        assert_eq!(status_of(EngineError::Crashed), (500, "internal".to_owned()));
        let read_only = CommitError::ReadOnly { why: "disk full".to_owned() };
        assert_eq!(status_of(EngineError::Store(read_only)), (503, "store-failed".to_owned()));
    }

    #[tokio::test]
    async fn a_text_of_megabytes_is_told_at_its_beginning() {
        let long = "ä".repeat(1024 * 1024);
        let error = ApiError::new(StatusCode::BAD_REQUEST, code::INVALID, long.clone())
            .hint(long.clone())
            .field(long);
        let body = axum::body::to_bytes(error.into_response().into_body(), usize::MAX)
            .await
            .expect("a body");
        let problem: Problem = serde_json::from_slice(&body).expect("a problem");
        assert!(problem.detail.starts_with('ä') && problem.detail.ends_with("..."));
        assert!(body.len() < 4 * TEXT_MAX, "{}", body.len());
    }

    #[test]
    fn every_refusal_has_its_own_code() {
        for kind in RefusalKind::iter() {
            let (vm, cause, hint) = (VmId(7), Cause::NoHostNamed, Hint::Fence);
            let problem =
                ApiError::refused(&NoNames, &Refusal { kind, verb: Verb::Resume, vm, cause, hint })
                    .0;
            assert_eq!(problem.code, kind.to_string());
            assert_eq!(problem.kind, format!("urn:ostler:problem:{kind}"));
            assert!(matches!(problem.status, 409 | 412 | 422), "{kind}");
            assert!(
                problem.hint.is_some_and(|hint| hint.starts_with("make sure that the host is off"))
            );
            let advice = problem.advice.expect("for programs");
            assert_eq!(
                (advice.code.as_str(), advice.vm, advice.verb.as_deref()),
                ("fence", Some(7), Some("resume"))
            );
        }
    }
}
