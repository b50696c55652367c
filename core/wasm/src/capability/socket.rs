//! `socket`: streams to local sockets of the target host. Needs the grant `socket`, and for each
//! socket the grant of that socket's name.
//!
//! A connection lives in the call's table of resources, so it is closed at the latest when the call
//! ends. Nothing waits longer than the call.

use super::bounds::Budget;
use super::{Env, HasView, State, View, error, refused, view};
use crate::bindings::ostler::driver::exec::Argument;
use crate::bindings::ostler::driver::socket::{Host, HostConnection, add_to_linker as link};
use crate::bindings::ostler::driver::types::{Error, ErrorKind};
use crate::epoch::hold_here;
use crate::files::{SocketError, connect_file, connect_fixed};
use crate::own_files::Wanted;
use crate::template::Reached;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::OwnedSemaphorePermit;
use wasmtime::component::{Linker, Resource};

/// The most open connections of a call, as the contract says.
const OPEN_MAX: usize = 8;
/// The most bytes that one read answers, as the contract says.
const READ_MAX: usize = 64 * 1024;
/// The most bytes that a call may read and write in all: a monitor's answers about thousands of
/// domains are a few MiB.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// The bounds on the sockets of one call.
pub(crate) fn budget() -> Budget {
    Budget::new("connection", OPEN_MAX, BYTES_MAX)
}

/// An open connection.
#[allow(unreachable_pub, reason = "generated bindings that name it are public to their module")]
pub struct Connection {
    /// None: a cassette answers.
    stream: Option<UnixStream>,
    _permit: OwnedSemaphorePermit,
}

impl Host for View<'_> {
    async fn connect(
        &mut self,
        name: String,
        arguments: Vec<Argument>,
    ) -> wasmtime::Result<Result<Resource<Connection>, Error>> {
        let (begun, env) = (Instant::now(), Arc::clone(self.env));
        let reached = env.reached(&name, arguments);
        let traced = reached.as_ref().map_or_else(
            |_| format!("{:?}", env.told(&name)),
            |reached| env.told(&reached.to_string()),
        );
        let answer = match reached {
            Ok(reached) => {
                let connect = env.connected(reached);
                env.reach(|| format!("socket.connect {traced}"), connect).await?
            }
            Err(error) => Err(error),
        };
        env.flight("socket.connect", &traced, begun, &answer);
        match answer {
            Ok(connection) => Ok(Ok(self.table.push(connection)?)),
            Err(error) => Ok(Err(error)),
        }
    }
}

impl HostConnection for View<'_> {
    async fn write(
        &mut self,
        connection: Resource<Connection>,
        bytes: Vec<u8>,
    ) -> wasmtime::Result<Result<(), Error>> {
        let env = self.env;
        if let Err(error) = env.sockets.spend(bytes.len()) {
            return Ok(Err(error));
        }
        let stream = self.table.get_mut(&connection)?.stream.as_mut();
        let with = || json!({ "data": super::kept::bytes(&bytes) });
        let write = env.taped("socket.write", with, async {
            let stream = stream.ok_or_else(no_stream)?;
            match env.within(Duration::MAX, stream.write_all(&bytes)).await? {
                Some(Ok(())) => Ok(()),
                Some(Err(problem)) => Err(lost(&problem)),
                None => Err(error(
                    ErrorKind::Unknown,
                    "timeout",
                    "the peer did not take what was sent before the call's deadline",
                )),
            }
        });
        env.reach(|| "socket.write".to_owned(), write).await
    }

    async fn read(
        &mut self,
        connection: Resource<Connection>,
        max: u32,
        wait_ms: u64,
    ) -> wasmtime::Result<Result<Vec<u8>, Error>> {
        if max == 0 {
            return Ok(Err(refused("bad-argument", "a read of no bytes would say nothing")));
        }
        let env = self.env;
        let stream = self.table.get_mut(&connection)?.stream.as_mut();
        let read = env.taped("socket.read", || json!({ "max": max }), async {
            let stream = stream.ok_or_else(no_stream)?;
            let mut bytes = vec![0; READ_MAX.min(max as usize)];
            let wait = Duration::from_millis(wait_ms);
            match env.within(wait, stream.read(&mut bytes)).await? {
                None => Ok(Vec::new()),
                Some(Ok(0)) => {
                    Err(error(ErrorKind::Gone, "closed", "the peer has closed the connection"))
                }
                Some(Ok(count)) => {
                    env.sockets.spend(count)?;
                    bytes.truncate(count);
                    Ok(bytes)
                }
                Some(Err(problem)) => Err(lost(&problem)),
            }
        });
        env.reach(|| "socket.read".to_owned(), read).await
    }

    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}

impl Env {
    fn reached(&self, socket: &str, arguments: Vec<Argument>) -> Result<Reached, Error> {
        let wanted = format!("socket {:?}", self.told(socket));
        self.granted("socket", &wanted)?;
        let template = self.side.manifest.socket(socket);
        let granted = self.side.grants.has_part("socket", socket);
        self.check(&format!("socket:{}", self.told(socket)), template.is_some(), granted, &wanted)?;
        let values = self.values(&wanted, arguments)?;
        let rendered = template
            .map_or_else(|| Err("no such socket".to_owned()), |template| template.render(&values));
        rendered.map_err(|problem| refused("bad-argument", self.told(&problem)))
    }

    /// Connects. The connection that a cassette answers has no stream.
    async fn connected(&self, reached: Reached) -> wasmtime::Result<Result<Connection, Error>> {
        let (mut made, to) = (None, self.tape.as_ref().map(|_| reached.to_string()));
        let connect = async {
            made = Some(self.connect(reached).await?);
            Ok(())
        };
        let with = || json!({ "to": to });
        let answer: Result<(), Error> = self.taped("socket.connect", with, connect).await?;
        Ok(answer.and_then(|()| match made {
            Some(connection) => Ok(connection),
            None => Ok(Connection { stream: None, _permit: self.sockets.open()? }),
        }))
    }

    async fn connect(&self, reached: Reached) -> Result<Connection, Error> {
        let site = self.site()?;
        let permit = self.sockets.open()?;
        if site.transport != ostler_model::ExecTransport::Local {
            let detail = format!("sockets of host {} are not reached over ssh", site.name);
            return Err(error(ErrorKind::NotHere, "not-local", detail));
        }
        hold_here(self.charge.clone()).await?;
        let stream = match reached {
            Reached::Fixed(path) => self.within(Duration::MAX, connect_fixed(&path)).await,
            Reached::File(file) => {
                let path = (file.datastore.as_str(), &file.path);
                let (place, way) =
                    self.locate(self.site()?, "socket.connect", path, Wanted::Read)?;
                self.within(Duration::MAX, connect_file(place, way)).await
            }
        };
        match stream? {
            Some(stream) => Ok(Connection { stream: Some(stream?), _permit: permit }),
            None => Err(error(ErrorKind::Retry, "timeout", "no connection before the deadline")),
        }
    }
}

/// No answer of a cassette comes from here: the connection is the cassette's.
fn no_stream() -> Error {
    error(ErrorKind::Gone, "closed", "the connection is played back")
}

/// The error for a connection that broke. The peer is gone, and may have acted upon what it got.
fn lost(problem: &std::io::Error) -> Error {
    error(ErrorKind::Gone, "closed", problem.to_string())
}

impl From<SocketError> for Error {
    fn from(problem: SocketError) -> Self {
        let detail = problem.to_string();
        match problem {
            SocketError::File(problem) => problem.into(),
            SocketError::Absent(_) => error(ErrorKind::Gone, "no-socket", detail),
            SocketError::Refused(..) => error(ErrorKind::Retry, "refused", detail),
            SocketError::Busy(_) => error(ErrorKind::Retry, "busy", detail),
            SocketError::NoAccess(_) => refused("no-access", detail),
            SocketError::NoSocket(_) => refused("wrong-kind", detail),
        }
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    link::<State, HasView>(linker, view)
}
