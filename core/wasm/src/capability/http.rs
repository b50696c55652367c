//! `http`: requests to the endpoints of the manifest, through `wasi:http`. Needs the grant `http`,
//! and for each endpoint the grant of that endpoint's name.
//!
//! A request names an endpoint where a URL has its machine (`http://NAME/path`). The operator's
//! settings say where it goes, so a component can name no other machine, and an answer that
//! redirects elsewhere leads nowhere. A connection ends with its answer, and at the latest with the
//! call.

use super::bounds::Budget;
use super::{Env, Flight, State, error, refused};
use crate::bindings::ostler::driver::types::{Error, ErrorKind};
use crate::endpoint::{Endpoint, Login};
use crate::http::{Answer, NoConnection, Proof, Server, Target, connect, speak};
use crate::recorder::Answered;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{AUTHORIZATION, HOST, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, Uri};
use std::error::Error as _;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn};
use wasmtime_wasi_http::p2::bindings::http::types::{self as wit, HostOutgoingRequest as _};
use wasmtime_wasi_http::{
    Error as HttpError, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks,
    WasiHttpView,
};

/// The most requests of a call that are open at once.
const OPEN_MAX: usize = 8;
/// The most bytes that a call may send and receive in all: an inventory of a thousand VMs is some
/// MiB, and a guest has 128 MiB of memory.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// The most bytes of the headers of a request. Requests are kept on the host's side, and a call may
/// have 256 of them.
const FIELDS_MAX: usize = 64 * 1024;
/// The most bytes of a body that wait to be sent, twice for each request.
const PIECE_MAX: usize = 64 * 1024;
/// The longest name of a method, and of an endpoint or scheme, in a request.
const WORD_MAX: usize = 64;
/// How long a connection may take, unless the guest says less.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// The value of the header `authorization` that stands for the endpoint's login.
const LOGIN: &str = "{login}";

/// The bounds on the requests of one call.
pub(crate) fn budget() -> Budget {
    Budget::new("request", OPEN_MAX, BYTES_MAX)
}

/// The part of a store that belongs to `wasi:http`.
pub(crate) struct Requests {
    context: WasiHttpCtx,
    hooks: Hooks,
}

struct Hooks(Arc<Env>);

impl Requests {
    pub(crate) fn new(env: Arc<Env>) -> Self {
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(FIELDS_MAX);
        Self { context, hooks: Hooks(env) }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            hooks: &mut self.requests.hooks,
            table: &mut self.table,
            ctx: &mut self.requests.context,
        }
    }
}

/// The end of a connection, as `wasi:http` waits for it.
type Ended = Box<dyn Future<Output = Result<(), HttpError>> + Send>;

impl WasiHttpHooks for Hooks {
    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        PIECE_MAX
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Ended,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Ended), HttpError>> + Send> {
        let env = Arc::clone(&self.0);
        Box::new(async move {
            let traced = env.traced(request.method(), request.uri());
            let named = env.cut.is_some().then(|| format!("http.request {traced}"));
            let flight = Flight::begin(&env, "http.request", traced);
            let asked = Box::pin(env.sent(request, options.unwrap_or_default()));
            let answer = env.reach(|| named.unwrap_or_default(), asked).await;
            let answer = answer.unwrap_or_else(|ends| {
                Err(error(ErrorKind::Unknown, "cassette", ends.to_string()))
            });
            flight.end(&answer, |(answer, _)| status(answer));
            let (answer, connection) = answer.map_err(told_guest)?;
            let ended: Ended = Box::new(async move {
                if let Some(connection) = connection {
                    connection.await;
                }
                Ok(())
            });
            Ok((answer, ended))
        })
    }
}

/// The status of an answer. Its body is the driver's.
fn status(answer: &Response<WasiBody>) -> Answered {
    let (code, failed) = (answer.status().as_str().to_owned(), !answer.status().is_success());
    Answered { code, detail: None, failed }
}

/// The error as a guest gets it. `wasi:http` has no place for a code beside a text.
fn told_guest(error: Error) -> HttpError {
    HttpError::InternalError(Some(format!("{}: {}", error.code, error.detail)))
}

/// A request that may be sent, and where to.
struct Prepared {
    target: Target,
    proof: Proof,
    request: Request<Measured<WasiBody>>,
}

/// What the guest waits for.
#[derive(Clone, Copy)]
struct Patience {
    connect: Duration,
    first_byte: Duration,
    between_bytes: Duration,
}

impl From<RequestOptions> for Patience {
    fn from(options: RequestOptions) -> Self {
        Self {
            connect: options.connect_timeout.unwrap_or(CONNECT_WITHIN).min(CONNECT_WITHIN),
            first_byte: options.first_byte_timeout.unwrap_or(Duration::MAX),
            between_bytes: options.between_bytes_timeout.unwrap_or(Duration::MAX),
        }
    }
}

impl Env {
    /// A request for the flight recorder, without its query, which may hold a token.
    fn traced(&self, method: &Method, uri: &Uri) -> String {
        let endpoint = uri.authority().map_or("", |authority| authority.as_str());
        self.told(&format!("{method} {endpoint} {}", uri.path()))
    }

    /// Sends one request. The connection works until its handle is dropped.
    pub(super) async fn request(
        self: &Arc<Self>,
        request: Request<WasiBody>,
        options: RequestOptions,
    ) -> Result<(Response<WasiBody>, AbortOnDropJoinHandle<()>), Error> {
        let (parts, body) = request.into_parts();
        let endpoint = self.endpoint(&parts.uri)?;
        let place = self.requests.open()?;
        let patience = Patience::from(options);
        let Prepared { target, proof, request } = self.prepared(endpoint, parts, body)?;
        let network = &self.side.network;
        let stream = self
            .within(patience.connect, connect(&target.server, &proof, network))
            .await?
            .ok_or_else(|| error(ErrorKind::Retry, "unreachable", "no connection in time"))??;
        // The error of the request's own body says more than that the request ended with it.
        let lost = |problem: &hyper::Error| {
            let own = problem.source().and_then(|own| own.downcast_ref::<BodyError>());
            own.map_or_else(
                || error(ErrorKind::Unknown, "lost", Causes(problem).to_string()),
                |BodyError(own)| own.clone(),
            )
        };
        let (mut requests, connection) = speak(stream).await.map_err(|error| lost(&error))?;
        let connection = spawn(async move {
            // The connection may be open for longer than its answer is read.
            let _place = place;
            if let Err(error) = connection.await {
                tracing::debug!("a connection of a driver ended: {error}");
            }
        });
        let sent = requests.send_request(request);
        let answer: Answer = self
            .within(patience.first_byte, sent)
            .await
            .map_err(|_| interrupted())?
            .ok_or_else(|| error(ErrorKind::Unknown, "timeout", "no answer in time"))?
            .map_err(|error| lost(&error))?;
        let measured = |body| {
            Measured::new(body, Arc::clone(self), patience.between_bytes)
                .map_err(|BodyError(error)| told_guest(error))
                .boxed_unsync()
        };
        Ok((answer.map(measured), connection))
    }

    /// The endpoint that a request names, if the driver may ask it.
    pub(super) fn endpoint(&self, uri: &Uri) -> Result<&Endpoint, Error> {
        let name = uri.authority().map_or("", |authority| authority.as_str());
        let wanted = format!("endpoint {:?}", self.told(name));
        self.granted("http", &wanted)?;
        let endpoint = self.side.manifest.endpoint(name);
        let granted = self.side.grants.has_part("http", name);
        self.check(&format!("http:{}", self.told(name)), endpoint.is_some(), granted, &wanted)?;
        endpoint.ok_or_else(|| refused("bad-argument", format!("there is no {wanted}")))
    }

    /// The request as it is sent: to the operator's server, with the operator's login.
    fn prepared(
        self: &Arc<Self>,
        endpoint: &Endpoint,
        mut parts: Parts,
        body: WasiBody,
    ) -> Result<Prepared, Error> {
        let bad = |problem: String| refused("bad-argument", problem);
        match parts.method {
            Method::CONNECT => {
                return Err(bad("CONNECT would make a tunnel to another machine".to_owned()));
            }
            Method::TRACE => return Err(bad("TRACE would show the login".to_owned())),
            _ => {}
        }
        let (target, proof) = self.place(endpoint)?;
        parts.uri = Uri::from(target.path(parts.uri.path_and_query()).map_err(bad)?);
        let host = HeaderValue::from_str(&target.authority());
        parts.headers.insert(HOST, host.map_err(|error| bad(error.to_string()))?);
        let authorized = parts.headers.get(AUTHORIZATION);
        if authorized.is_some() && endpoint.login.is_some() && !target.is_private() {
            let detail = format!(
                "setting {:?} {}: a login is not sent over http:// to another machine; use https://",
                endpoint.url,
                self.whose()
            );
            return Err(refused("bad-endpoint", detail));
        }
        if authorized.is_some_and(|value| value == LOGIN) {
            let login = self.login(endpoint)?;
            parts.headers.insert(AUTHORIZATION, login);
        }
        let body = Measured::new(body, Arc::clone(self), Duration::MAX);
        Ok(Prepared { target, proof, request: Request::from_parts(parts, body) })
    }

    /// Where an endpoint is, and how it proves who it is: the settings of the call's host.
    fn place(&self, endpoint: &Endpoint) -> Result<(Target, Proof), Error> {
        let set = |key: &str| self.setting_used(key).filter(|value| !value.is_empty());
        let wrong = |key: &str, problem: String| {
            refused("bad-endpoint", format!("setting {key:?} {}: {problem}", self.whose()))
        };
        let key = &endpoint.url;
        let url = set(key).ok_or_else(|| {
            refused("not-configured", format!("setting {key:?} is not set {}", self.whose()))
        })?;
        let target = Target::parse(&url).map_err(|problem| wrong(key, problem))?;
        let local =
            |site: &ostler_driver::Site| site.transport == ostler_model::ExecTransport::Local;
        if matches!(target.server, Server::Unix(_)) && !local(self.site()?) {
            let detail =
                format!("setting {key:?} {}: sockets are not reached over ssh", self.whose());
            return Err(error(ErrorKind::NotHere, "not-local", detail));
        }
        // A fingerprint says more than an authority, so it counts if both are set.
        for (key, read) in [
            (&endpoint.fingerprint, Proof::certificates as fn(&str) -> Result<Proof, String>),
            (&endpoint.ca, Proof::authorities),
        ] {
            if let Some(key) = key
                && let Some(value) = set(key)
            {
                return Ok((target, read(&value).map_err(|problem| wrong(key, problem))?));
            }
        }
        Ok((target, Proof::System))
    }

    /// The value of `authorization` for the login of an endpoint.
    fn login(&self, endpoint: &Endpoint) -> Result<HeaderValue, Error> {
        let Some(login) = &endpoint.login else {
            let detail = "the endpoint has no login in the manifest";
            return Err(refused("bad-argument", detail));
        };
        let wanted = login.secret();
        let secret = self.secret(wanted.as_str())?.ok_or_else(|| self.not_set(wanted))?;
        self.handed_out(&secret);
        let text = match login {
            Login::Token { .. } => format!("Bearer {}", secret.expose()),
            Login::Password { user, .. } => {
                let name = self.setting_used(user).ok_or_else(|| {
                    let detail = format!("setting {user:?} is not set {}", self.whose());
                    refused("not-configured", detail)
                })?;
                format!("Basic {}", STANDARD.encode(format!("{name}:{}", secret.expose())))
            }
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| {
            let detail =
                format!("secret {wanted} {} has characters that no header has", self.whose());
            refused("bad-endpoint", detail)
        })?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// The driver and the host of the call, for people.
    fn whose(&self) -> String {
        match &self.site {
            Some(site) => format!("of driver {} for host {}", self.driver(), site.name),
            None => format!("of driver {}", self.driver()),
        }
    }
}

impl From<NoConnection> for Error {
    fn from(problem: NoConnection) -> Self {
        let detail = problem.to_string();
        match problem {
            NoConnection::Name { .. } | NoConnection::Connect { .. } => {
                error(ErrorKind::Retry, "unreachable", detail)
            }
            NoConnection::Socket(problem) => problem.into(),
            NoConnection::Address { .. } => refused("forbidden-address", detail),
            NoConnection::Certificate { .. } => error(ErrorKind::Retry, "certificate", detail),
            NoConnection::Tls { .. } => error(ErrorKind::Retry, "tls", detail),
        }
    }
}

/// The error of a call that was told to stop when the request was on its way.
fn interrupted() -> Error {
    let detail = "the call was told to stop; the server may still be at work";
    error(ErrorKind::Unknown, "interrupted", detail)
}

/// An error with its causes: hyper's own text says little.
struct Causes<'a>(&'a dyn std::error::Error);

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// Why a body has no end.
#[derive(Debug, thiserror::Error)]
#[error("{}: {}", .0.code, .0.detail)]
struct BodyError(Error);

/// A body whose bytes are counted. It ends with an error if the call may carry no more, if the call
/// is told to stop, and if nothing comes for too long.
struct Measured<B> {
    body: B,
    env: Arc<Env>,
    patience: Duration,
    pause: Option<Pin<Box<Sleep>>>,
    stop: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl<B> Measured<B> {
    fn new(body: B, env: Arc<Env>, patience: Duration) -> Self {
        let stop = Box::pin(env.stop().cancelled_owned());
        Self { body, env, patience, pause: None, stop }
    }

    /// Whether nothing came for too long.
    fn waited(&mut self, context: &mut Context<'_>) -> bool {
        if self.patience == Duration::MAX {
            return false;
        }
        let patience = self.patience;
        let pause = self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        pause.as_mut().poll(context).is_ready()
    }
}

impl<B> Body for Measured<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::error::Error + 'static,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(Err(problem))) => {
                let lost = error(ErrorKind::Unknown, "lost", Causes(&problem).to_string());
                return Poll::Ready(Some(Err(BodyError(lost))));
            }
            Poll::Pending if self.stop.as_mut().poll(context).is_ready() => {
                return Poll::Ready(Some(Err(BodyError(interrupted()))));
            }
            Poll::Pending if self.waited(context) => {
                let late = error(ErrorKind::Unknown, "timeout", "the rest did not come in time");
                return Poll::Ready(Some(Err(BodyError(late))));
            }
            Poll::Pending => return Poll::Pending,
        };
        self.pause = None;
        let size = frame.data_ref().map_or(0, Buf::remaining);
        let spent = self.env.requests.spend(size).map(|()| frame);
        Poll::Ready(Some(spent.map_err(BodyError)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    // Wasmtime keeps these texts for as long as the request, whatever their length.
    linker.allow_shadowing(true);
    let mut types = linker.instance("wasi:http/types@0.2.12")?;
    types.func_wrap(
        "[method]outgoing-request.set-method",
        |mut store: StoreContextMut<'_, State>, (request, method): (Resource<_>, wit::Method)| {
            if matches!(&method, wit::Method::Other(name) if name.len() > WORD_MAX) {
                return Ok((Err(()),));
            }
            store.data_mut().http().set_method(request, method).map(|set| (set,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-scheme",
        |mut store: StoreContextMut<'_, State>,
         (request, scheme): (Resource<_>, Option<wit::Scheme>)| {
            if matches!(&scheme, Some(wit::Scheme::Other(name)) if name.len() > WORD_MAX) {
                return Ok((Err(()),));
            }
            store.data_mut().http().set_scheme(request, scheme).map(|set| (set,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-authority",
        |mut store: StoreContextMut<'_, State>,
         (request, authority): (Resource<_>, Option<String>)| {
            if authority.as_ref().is_some_and(|name| name.len() > WORD_MAX) {
                return Ok((Err(()),));
            }
            store.data_mut().http().set_authority(request, authority).map(|set| (set,))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}
