//! `exec`: commands on the target host. Needs the grant `exec`, and for each command the grant of
//! that command's name. Command jobs are in `jobs`.

use super::kept::bytes;
use super::{Env, Flight, HasView, State, View, cancelled, error, refused, view};
use crate::bindings::ostler::driver::exec::{
    Argument, CommandLine, Exit, Host, JobName, JobState, add_to_linker as link,
};
use crate::bindings::ostler::driver::types::{Error, ErrorKind};
use crate::confine::Confined;
use crate::epoch::NotHeld;
use crate::own_files::Wanted;
use crate::recorder::Answered;
use crate::template::{Part, Rendered, Template};
use crate::transport::{self, Job, RunError};
use futures::future::join_all;
use ostler_driver::Site;
use ostler_model::DriverError;
use serde_json::{Value, json};
use std::sync::Arc;
use wasmtime::component::Linker;

/// How many bytes of a command's output are kept: `qemu-img info` and `xl list` write a few hundred
/// KiB at most.
const STDOUT_MAX: usize = 1024 * 1024;
/// How many bytes of its standard error are kept.
const STDERR_MAX: usize = 64 * 1024;
/// The most commands of one `run-all`. With [`OUTPUT_OF_ALL`] it bounds the memory of the answer.
const ALL_MAX: usize = 64;
/// How much output of each command of a `run-all` is kept.
const OUTPUT_OF_ALL: Output = Output { stdout: 64 * 1024, stderr: 8 * 1024 };

/// How many bytes of a failed command's standard error are recorded: its last lines.
const STDERR_RECORDED: usize = 1024;

/// The longest value of a hole, and the longest name of one: more than a path in a datastore may
/// have.
const VALUE_MAX: usize = 4096;

/// How many bytes of a command's output are kept.
#[derive(Clone, Copy)]
struct Output {
    stdout: usize,
    stderr: usize,
}

impl Host for View<'_> {
    async fn run(
        &mut self,
        command: String,
        arguments: Vec<Argument>,
        input: Vec<u8>,
    ) -> wasmtime::Result<Result<Exit, Error>> {
        let output = Output { stdout: STDOUT_MAX, stderr: STDERR_MAX };
        // The name is kept only if somebody watches the calls.
        let name = self.env.cut.is_some().then(|| self.env.told(&command));
        let run = self.env.command(None, CommandLine { command, arguments, input }, output);
        self.env.reach(|| format!("exec {}", name.unwrap_or_default()), run).await
    }

    async fn run_all(
        &mut self,
        commands: Vec<CommandLine>,
    ) -> wasmtime::Result<Result<Vec<Result<Exit, Error>>, Error>> {
        let count = commands.len();
        if count > ALL_MAX {
            let problem = format!("{count} commands at once, at most {ALL_MAX} are allowed");
            return Ok(Err(refused("bad-argument", problem)));
        }
        // The lanes of the driver at the host bound how many of them run at the same time.
        let runs = commands.into_iter().map(|line| self.env.command(None, line, OUTPUT_OF_ALL));
        let ended = self.env.reach(|| format!("exec of {count} commands"), join_all(runs)).await;
        Ok(Ok(ended.into_iter().collect::<wasmtime::Result<_>>()?))
    }

    async fn run_on(
        &mut self,
        host: String,
        line: CommandLine,
    ) -> wasmtime::Result<Result<Exit, Error>> {
        let output = Output { stdout: STDOUT_MAX, stderr: STDERR_MAX };
        let name = self.env.cut.is_some().then(|| self.env.told(&line.command));
        let run = self.env.command(Some(host), line, output);
        self.env.reach(|| format!("exec {}", name.unwrap_or_default()), run).await
    }

    async fn start(
        &mut self,
        job: JobName,
        line: CommandLine,
    ) -> wasmtime::Result<Result<JobState, Error>> {
        let name = self.env.cut.is_some().then(|| self.env.told(&line.command));
        let start = self.env.start_job(job, line);
        self.env.reach(|| format!("exec.start {}", name.unwrap_or_default()), start).await
    }

    async fn poll(&mut self, job: JobName) -> wasmtime::Result<Result<JobState, Error>> {
        self.env.reach(|| "exec.poll".to_owned(), self.env.poll_job(job)).await
    }

    async fn stop(&mut self, job: JobName) -> wasmtime::Result<Result<JobState, Error>> {
        self.env.reach(|| "exec.stop".to_owned(), self.env.stop_job(job)).await
    }
}

/// A command of a driver, checked, with its secrets and the host that it is for.
pub(super) struct Prepared {
    pub(super) site: Site,
    pub(super) rendered: Rendered,
    pub(super) input: Vec<u8>,
}

impl Env {
    /// Runs one command, and tells the flight recorder of it.
    ///
    /// # Errors
    /// The instance must end.
    async fn command(
        &self,
        host: Option<String>,
        line: CommandLine,
        output: Output,
    ) -> wasmtime::Result<Result<Exit, Error>> {
        let function = if host.is_some() { "exec.run-on" } else { "exec.run" };
        let (traced, prepared) = self.prepared_command(host.as_deref(), line);
        let flight = Flight::begin(self, function, traced);
        let answer = match prepared {
            Ok((told, prepared)) => {
                let run = Box::pin(self.run(prepared, output));
                self.taped(function, || told.unwrap_or_default(), run).await?
            }
            Err(error) => Err(error),
        };
        flight.end(&answer, |exit| self.ended(exit));
        Ok(answer)
    }

    /// The words for a command, and the command itself if the driver may run it there, with what a
    /// cassette is told of it: the marks of secrets, without their values.
    pub(super) fn prepared_command(
        &self,
        host: Option<&str>,
        line: CommandLine,
    ) -> (String, Result<(Option<Value>, Prepared), Error>) {
        let rendered = self.rendered(&line.command, line.arguments);
        let traced = rendered.as_ref().map_or_else(
            |_| format!("{:?}", self.told(&line.command)),
            |(_, rendered)| self.told(&rendered.to_string()),
        );
        let traced = match host {
            Some(host) => format!("{}: {traced}", self.told(host)),
            None => traced,
        };
        let prepared = rendered.and_then(|(template, rendered)| {
            let site = self.site_of_call(host)?;
            let told = self.tape.as_ref().map(|_| {
                let argv = rendered.to_string();
                let mut told = json!({ "argv": argv, "input": bytes(&line.input) });
                if let Some(host) = host {
                    told["host"] = host.into();
                }
                told
            });
            let input = self.filled(&site, template, line.input)?;
            Ok((told, Prepared { site, rendered, input }))
        });
        (traced, prepared)
    }

    /// How a command ended, with the end of its standard error if it failed.
    pub(super) fn ended(&self, exit: &Exit) -> Answered {
        let code = match (exit.code, exit.signal) {
            (Some(0), _) => return Answered::ok(),
            (Some(code), _) => format!("exit-{code}"),
            (None, Some(signal)) => format!("signal-{signal}"),
            (None, None) => "ended".to_owned(),
        };
        let from = exit.stderr.len().saturating_sub(STDERR_RECORDED);
        let end = exit.stderr.get(from..).unwrap_or_default();
        Answered::failed(code, self.handed.scrubbed(end, STDERR_RECORDED, from > 0).trim())
    }

    fn rendered(
        &self,
        command: &str,
        arguments: Vec<Argument>,
    ) -> Result<(&Template, Rendered), Error> {
        let name = self.told(command);
        self.granted("exec", &format!("command {name:?}"))?;
        let template = self.side.manifest.command(command);
        let granted = self.side.grants.has_part("exec", command);
        self.check(
            &format!("exec:{name}"),
            template.is_some(),
            granted,
            &format!("command {name:?}"),
        )?;
        let values = self.values(&format!("command {name:?}"), arguments)?;
        let rendered = template.map_or_else(
            || Err("no such command".to_owned()),
            |template| Ok((template, template.render(&values)?)),
        );
        rendered.map_err(|problem| refused("bad-argument", self.told(&problem)))
    }

    /// The values of the holes of `what`, within their length.
    pub(super) fn values(
        &self,
        what: &str,
        arguments: Vec<Argument>,
    ) -> Result<Vec<(String, String)>, Error> {
        if let Some(long) = arguments
            .iter()
            .find(|argument| argument.hole.len().max(argument.value.len()) > VALUE_MAX)
        {
            let hole = self.told(&long.hole);
            let problem = format!("hole {hole:?} of {what} is given more than {VALUE_MAX} bytes");
            return Err(refused("bad-argument", problem));
        }
        Ok(arguments.into_iter().map(|argument| (argument.hole, argument.value)).collect())
    }

    /// The program and the arguments of a command, with the paths of files on its host.
    pub(super) async fn argv(
        &self,
        site: &Site,
        program: String,
        arguments: Vec<Vec<Part>>,
    ) -> Result<Vec<String>, Error> {
        let services = &self.side.services;
        let mut argv = vec![program];
        for parts in arguments {
            let mut argument = String::new();
            for part in parts {
                match part {
                    Part::Text(text) => argument.push_str(&text),
                    Part::File(file) => {
                        let path = (file.datastore.as_str(), &file.path);
                        let (place, way) = self.locate(site, "a command", path, Wanted::Read)?;
                        argument
                            .push_str(&place.absolute_checked(services, way, &self.stop).await?);
                    }
                }
            }
            argv.push(argument);
        }
        Ok(argv)
    }

    async fn run(&self, prepared: Prepared, output: Output) -> Result<Exit, Error> {
        let Prepared { site, rendered, input } = prepared;
        let (via, services) = (site.transport.clone(), Arc::clone(&self.side.services));
        let job = Job {
            argv: self.argv(&site, rendered.program, rendered.argv).await?,
            input,
            stdout_max: output.stdout,
            stderr_max: output.stderr,
            time_limit: rendered.time_limit,
            limits: Some(rendered.limits),
            reach: Some(Confined { own: self.own.roots(&site), reach: rendered.reach }.on(&site)),
            charge: self.charge_at(&site),
        };
        let ran = self
            .work(|stop| async move { services.transports.run(&via, job, &stop).await })
            .await?;
        let transport::Exit { code, signal, stdout, stderr, truncated } = ran?;
        Ok(Exit { code, signal, stdout, stderr, truncated })
    }
}

impl From<NotHeld> for Error {
    fn from(problem: NotHeld) -> Self {
        let detail = problem.to_string();
        match problem {
            NotHeld::Superseded { .. } => error(ErrorKind::Stale, DriverError::EPOCH, detail),
            NotHeld::Busy(_) => error(ErrorKind::Retry, "epoch-busy", detail),
        }
    }
}

impl From<RunError> for Error {
    fn from(problem: RunError) -> Self {
        let detail = problem.to_string();
        match problem {
            RunError::Cancelled => cancelled(),
            RunError::Unreachable(_) => error(ErrorKind::Retry, "host-unreachable", detail),
            RunError::Lost { .. } => error(ErrorKind::Unknown, "connection-lost", detail),
            RunError::TooLong { .. } => error(ErrorKind::Unknown, "command-timeout", detail),
            RunError::NoProgram(_) | RunError::NoTimeout => {
                error(ErrorKind::NotHere, "no-program", detail)
            }
            RunError::NotHeld(problem) => problem.into(),
            RunError::NotConfined(_) => error(ErrorKind::Retry, "not-confined", detail),
            RunError::Invalid(_) => refused("bad-argument", detail),
        }
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    link::<State, HasView>(linker, view)
}
