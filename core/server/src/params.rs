//! Query parameters that a route does not take are refused, before anything is done.
//!
//! A parameter must not be ignored: `?dry_run=true` on a route that does not know it would change
//! things. The OpenAPI document says which parameters a route takes, and the line that serves a
//! route also puts it into the document. So a new route needs no code here. A route that forgets to
//! declare its parameters refuses them, and its first test shows that.

use crate::problem::{ApiError, Handled};
use axum::extract::{MatchedPath, Query, Request, State};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ostler_api::code;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::{OpenApi, PathItem, RefOr};

/// How many characters of an unknown name the answer repeats.
const TOLD_MAX: usize = 64;

/// The query parameters of every route, by path and method.
pub(crate) struct Known(BTreeMap<String, Vec<(Method, Vec<String>)>>);

impl Known {
    /// The parameters that the document lists.
    pub(crate) fn of(document: &OpenApi) -> Arc<Self> {
        let told = document.paths.paths.iter().map(|(path, item)| (path.clone(), methods(item)));
        Arc::new(Self(told.collect()))
    }

    fn of_route<'a>(&'a self, path: &str, method: &Method) -> &'a [String] {
        // A HEAD is served as the GET of the same path.
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let methods = self.0.get(path).map_or(&[][..], Vec::as_slice);
        methods.iter().find(|(known, _)| known == method).map_or(&[], |(_, names)| names)
    }

    fn check(&self, path: &str, method: &Method, uri: &Uri) -> Handled<()> {
        if uri.query().is_none_or(str::is_empty) {
            return Ok(());
        }
        let Query(given) = Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(|err| {
            ApiError::new(
                StatusCode::BAD_REQUEST,
                code::INVALID,
                format!("the parameters are wrong: {err}"),
            )
        })?;
        let known = self.of_route(path, method);
        match given.iter().map(|(name, _)| name).find(|name| !known.contains(name)) {
            Some(name) => Err(unknown(name, known, path, method)),
            None => Ok(()),
        }
    }
}

fn methods(item: &PathItem) -> Vec<(Method, Vec<String>)> {
    let served = [
        (Method::GET, &item.get),
        (Method::PUT, &item.put),
        (Method::POST, &item.post),
        (Method::DELETE, &item.delete),
        (Method::PATCH, &item.patch),
    ];
    served
        .into_iter()
        .filter_map(|(method, operation)| Some((method, names(operation.as_ref()?))))
        .collect()
}

fn names(operation: &Operation) -> Vec<String> {
    let query = |parameter: &RefOr<Parameter>| match parameter {
        RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Query => {
            Some(parameter.name.clone())
        }
        RefOr::T(_) | RefOr::Ref(_) => None,
    };
    operation.parameters.iter().flatten().filter_map(query).collect()
}

fn unknown(name: &str, known: &[String], path: &str, method: &Method) -> ApiError {
    let told: String = name.chars().take(TOLD_MAX).collect();
    let takes = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    let error = ApiError::invalid(
        &told,
        format!("{method} {path} does not take the parameter {told:?}; it takes: {takes}"),
    );
    match ostler_api::nearest(&told, known.iter().map(String::as_str)) {
        Some(near) => error.hint(format!("did you mean {near}?")),
        None => error.hint("leave it out; GET /v1/openapi.json lists what each route takes"),
    }
}

/// Lets a request through if its route takes all its parameters.
pub(crate) async fn only_known(
    State(known): State<Arc<Known>>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    match known.check(path, request.method(), request.uri()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &Method, path: &str, uri: &str) -> Handled<()> {
        Known::of(&crate::openapi()).check(path, method, &uri.parse().expect("a URI"))
    }

    #[test]
    fn what_a_route_takes_is_what_its_document_says() {
        assert!(check(&Method::GET, "/v1/vms", "/v1/vms?state=running&limit=3").is_ok());
        assert!(check(&Method::HEAD, "/v1/vms", "/v1/vms?state=running").is_ok());
        assert!(check(&Method::GET, "/v1/vms", "/v1/vms?").is_ok());
        let near = check(&Method::GET, "/v1/vms", "/v1/vms?stat=running").expect_err("refused");
        assert_eq!(near.0.hint.as_deref(), Some("did you mean state?"));
        assert!(
            check(&Method::POST, "/v1/vms", "/v1/vms?state=running").is_err(),
            "a parameter of another method"
        );
        assert!(check(&Method::GET, "/healthz", "/healthz?a").is_err());
        assert!(check(&Method::GET, "/not/in/the/document", "/not/in/the/document?a=1").is_err());
    }
}
