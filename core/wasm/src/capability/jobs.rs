//! Command jobs of `exec`: commands that go on when their call ends, and when the daemon does. They
//! need the same grants as commands.

use super::exec::Prepared;
use super::{Env, Flight, error, refused};
use crate::bindings::ostler::driver::exec::{CommandLine, Exit, JobName, JobRunning, JobState};
use crate::bindings::ostler::driver::types::{Error, ErrorKind};
use crate::confine::Confined;
use crate::jobs::{self, JobError, JobKey, Jobs, Line};
use crate::recorder::Answered;
use crate::template::name_ok;
use crate::transport;
use ostler_driver::Site;
use serde_json::json;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The request about a job.
#[derive(Clone, Copy)]
enum Verb {
    Poll,
    Stop,
}

impl Env {
    pub(super) async fn start_job(
        &self,
        job: JobName,
        line: CommandLine,
    ) -> wasmtime::Result<Result<JobState, Error>> {
        let (traced, prepared) = self.prepared_command(job.host.as_deref(), line);
        let traced = format!("{:?}: {traced}", self.told(&job.name));
        let flight = Flight::begin(self, "exec.start", traced);
        let answer = match prepared {
            Ok((told, prepared)) => {
                let with = || {
                    let mut told = told.unwrap_or_default();
                    told["job"] = job.name.clone().into();
                    told
                };
                let begun = Box::pin(self.begin_job(&job, prepared));
                self.taped("exec.start", with, begun).await?
            }
            Err(error) => Err(error),
        };
        flight.end(&answer, |state| self.answered(state));
        Ok(answer)
    }

    async fn begin_job(&self, job: &JobName, prepared: Prepared) -> Result<JobState, Error> {
        let Prepared { site, rendered, input } = prepared;
        let key = self.job_key(&site, job)?;
        let line = Line {
            argv: self.argv(&site, rendered.program, rendered.argv).await?,
            input,
            time_limit: rendered.time_limit,
            limits: rendered.limits,
            reach: Confined { own: self.own.roots(&site), reach: rendered.reach }.on(&site),
        };
        let charge = self.charge_at(&site);
        let (via, services) = (site.transport, Arc::clone(&self.side.services));
        let state = self
            .work(|stop| async move {
                let (transports, folder) = (&services.transports, services.jobs_folder.as_str());
                Jobs { transports, via: &via, folder, charge, stop: &stop }.start(&key, &line).await
            })
            .await?;
        Ok(state?.into())
    }

    pub(super) async fn poll_job(&self, job: JobName) -> wasmtime::Result<Result<JobState, Error>> {
        self.ask_job("exec.poll", job, Verb::Poll, &self.stop).await
    }

    /// Is done even after the cancel: a call that was told to stop ends its jobs.
    pub(super) async fn stop_job(&self, job: JobName) -> wasmtime::Result<Result<JobState, Error>> {
        self.ask_job("exec.stop", job, Verb::Stop, &CancellationToken::new()).await
    }

    async fn ask_job(
        &self,
        function: &'static str,
        job: JobName,
        verb: Verb,
        stop: &CancellationToken,
    ) -> wasmtime::Result<Result<JobState, Error>> {
        let traced = match &job.host {
            Some(host) => format!("{}: {:?}", self.told(host), self.told(&job.name)),
            None => format!("{:?}", self.told(&job.name)),
        };
        let flight = Flight::begin(self, function, traced);
        let told = || json!({ "job": job.name, "host": job.host });
        let asked = Box::pin(self.asked_job(&job, verb, stop));
        let answer = self.taped(function, told, asked).await?;
        flight.end(&answer, |state| self.answered(state));
        Ok(answer)
    }

    async fn asked_job(
        &self,
        job: &JobName,
        verb: Verb,
        stop: &CancellationToken,
    ) -> Result<JobState, Error> {
        self.granted("exec", &format!("command job {:?}", self.told(&job.name)))?;
        let site = self.site_of_call(job.host.as_deref())?;
        let key = self.job_key(&site, job)?;
        let charge = self.charge_at(&site);
        let (via, services) = (site.transport, Arc::clone(&self.side.services));
        let state = self
            .work_until(stop, |stop| async move {
                let (transports, folder) = (&services.transports, services.jobs_folder.as_str());
                let jobs = Jobs { transports, via: &via, folder, charge, stop: &stop };
                match verb {
                    Verb::Poll => jobs.poll(&key).await,
                    Verb::Stop => jobs.stop(&key).await,
                }
            })
            .await?;
        Ok(state?.into())
    }

    fn job_key(&self, site: &Site, job: &JobName) -> Result<JobKey, Error> {
        let control = self.control.as_ref().ok_or_else(|| {
            let detail = format!("{} is a look: only calls for an effect have jobs", self.name);
            refused("no-effect", detail)
        })?;
        if !name_ok(&job.name) {
            let detail = format!(
                "the name {:?} of a job must be 1 to 63 lower-case letters, digits and dashes",
                self.told(&job.name)
            );
            return Err(refused("bad-argument", detail));
        }
        Ok(JobKey::new(self.driver(), &control.context, site.id, &job.name))
    }

    /// The words for the flight recorder about a job.
    fn answered(&self, state: &JobState) -> Answered {
        let word = |code: &str| Answered { code: code.to_owned(), ..Answered::ok() };
        match state {
            JobState::Absent => word("absent"),
            JobState::Running(_) => word("running"),
            JobState::Ended(exit) => self.ended(exit),
            JobState::Lost(why) => Answered::failed("lost", why),
        }
    }
}

impl From<jobs::JobState> for JobState {
    fn from(state: jobs::JobState) -> Self {
        match state {
            jobs::JobState::Absent => Self::Absent,
            jobs::JobState::Running { ran, stdout, stderr } => {
                let ran_ms = u64::try_from(ran.as_millis()).unwrap_or(u64::MAX);
                Self::Running(JobRunning { ran_ms, stdout, stderr })
            }
            jobs::JobState::Ended(exit) => {
                let transport::Exit { code, signal, stdout, stderr, truncated } = exit;
                Self::Ended(Exit { code, signal, stdout, stderr, truncated })
            }
            jobs::JobState::Lost(why) => Self::Lost(why.to_owned()),
        }
    }
}

impl From<JobError> for Error {
    fn from(problem: JobError) -> Self {
        let detail = problem.to_string();
        match problem {
            JobError::Run(problem) => problem.into(),
            JobError::Busy => error(ErrorKind::Retry, "busy", detail),
            JobError::Full => error(ErrorKind::Retry, "too-many-jobs", detail),
            JobError::AtWork => error(ErrorKind::Unknown, "job-at-work", detail),
            JobError::NoFolder(_) => error(ErrorKind::NotHere, "no-jobs-folder", detail),
            JobError::NoTools => error(ErrorKind::NotHere, "no-program", detail),
            JobError::Odd(_) => error(ErrorKind::Unknown, "job-unclear", detail),
        }
    }
}
