//! Command jobs: commands that go on when the call that began them ends, when the daemon is killed
//! or started anew, and when the connection to their host is lost. Capability `exec`.
//!
//! A job is found by its name and the identity of the call's effect: the same call, sent again by
//! the next daemon, finds the job of the first one. Only calls for an effect have jobs; `observe`,
//! `list` and `probe` have none.
//!
//! ```
//! use ostler_sdk::host::jobs::CommandJob;
//! use ostler_sdk::{Error, Exit, mock::MockHost};
//!
//! let host = MockHost::new().jobs_take(90_000).command("convert", |_, _| Ok(Exit::success("")));
//! host.deadline_in(3_600_000);
//! let exit = CommandJob::new("convert").finish("convert", &[], &[], |running| {
//!     println!("at work for {} s", running.ran_ms / 1000);
//! })?;
//! assert_eq!(exit.code, Some(0));
//! # Ok::<(), Error>(())
//! ```

use super::clock;
use super::exec::line;
use crate::sys::exec as host;
use crate::types::JobName;
use crate::{Error, ErrorKind, Exit, JobRunning, JobState, JobStatus, Outcome, Progress};

/// The first pause between two looks at a job, and the longest one, in milliseconds.
const PAUSE_FIRST_MS: u64 = 20;
const PAUSE_MOST_MS: u64 = 1000;
/// The time that is left for ending a job before the call's deadline, at most a quarter of the
/// call's time: its processes are killed in it, and the call answers.
const SPARE_MS: u64 = 3000;

/// A command job of the call's effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandJob(JobName);

impl CommandJob {
    /// The job of that name, on the target host. The name has 1 to 63 lower-case letters, digits
    /// and dashes. It makes nothing yet.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(JobName { name: name.to_owned(), host: None })
    }

    /// The same on another host of the call, as [`super::exec::run_on`] takes it.
    #[must_use]
    pub fn on(mut self, host: &str) -> Self {
        self.0.host = Some(host.to_owned());
        self
    }

    /// Begins it, or tells of the one that is there, also of one that has ended.
    ///
    /// # Errors
    /// As [`super::exec::run`]. `refused` with code `no-effect` in a look; `retry` with code
    /// `too-many-jobs` if as many of the driver are at work on that host as may be; `not-here` with
    /// code `no-jobs-folder` if the host has no folder for them.
    pub fn start(
        &self,
        command: &str,
        holes: &[(&str, &str)],
        input: &[u8],
    ) -> Result<JobState, Error> {
        host::start(&self.0, line(command, holes, input))
    }

    /// Tells of it.
    ///
    /// # Errors
    /// The host could not be asked.
    pub fn poll(&self) -> Result<JobState, Error> {
        host::poll(&self.0)
    }

    /// Kills it with all its processes, and forgets it. Answers when nothing of it is at work any
    /// more: how it had ended before, or [`JobState::Absent`]. It can be called after the call was
    /// told to stop.
    ///
    /// # Errors
    /// The host could not be asked. `unknown` with code `job-at-work` if a process cannot be killed.
    pub fn stop(&self) -> Result<JobState, Error> {
        host::stop(&self.0)
    }

    /// Begins it, or finds it, and waits for its end. `watch` is told how far it is, about once a
    /// second: report progress there. A job that ended with another code than 0 is forgotten, so
    /// that a repeat begins it anew; one that ended with 0 is kept until [`CommandJob::stop`].
    ///
    /// # Errors
    /// As [`CommandJob::start`]. `cancelled` if the call was told to stop, and `retry` with code
    /// `not-yet` shortly before the call's deadline: the job is ended then. `retry` with code
    /// `job-lost` if its result is not known; it is forgotten, and a repeat begins it anew.
    pub fn finish(
        &self,
        command: &str,
        holes: &[(&str, &str)],
        input: &[u8],
        mut watch: impl FnMut(&JobRunning),
    ) -> Result<Exit, Error> {
        let spare = SPARE_MS.min(clock::remaining_ms() / 4);
        let begun = self.start(command, holes, input).inspect_err(|told| self.end_with(told));
        let (mut state, mut pause) = (begun?, PAUSE_FIRST_MS);
        loop {
            match state {
                JobState::Running(running) => watch(&running),
                JobState::Ended(exit) => {
                    if exit.code != Some(0) {
                        self.stop()?;
                    }
                    return Ok(exit);
                }
                other => return Err(self.lost(other)),
            }
            state = loop {
                if let Err(told) = clock::go_on().and_then(|()| clock::sleep_ms(pause)) {
                    self.stop()?;
                    return Err(told);
                }
                if clock::remaining_ms() < spare {
                    self.stop()?;
                    let told = format!("{command} was ended, because the time of the call is over");
                    return Err(Error::retry("not-yet", told));
                }
                pause = pause.saturating_mul(2).min(PAUSE_MOST_MS);
                match self.poll() {
                    Ok(state) => break state,
                    // The host cannot be asked now. The job goes on there.
                    Err(told) if matches!(told.kind, ErrorKind::Retry | ErrorKind::Unknown) => {}
                    Err(told) => {
                        self.end_with(&told);
                        return Err(told);
                    }
                }
            };
        }
    }

    /// Ends the job if this error says that the call was told to stop.
    fn end_with(&self, told: &Error) {
        if told.kind == ErrorKind::Cancelled {
            // The first error matters more. The next call for the VM ends what is left.
            let _ = self.stop();
        }
    }

    /// The answer of `begin` or `poll` for this state, in a driver whose calls do not wait for the
    /// job. `done` makes the outcome of its end.
    ///
    /// # Errors
    /// Those of `done`. `retry` with code `job-lost` if there is no job, or its result is not
    /// known; it is forgotten, and a repeat of `begin` begins it anew.
    pub fn status(
        &self,
        state: JobState,
        done: impl FnOnce(Exit) -> Result<Outcome, Error>,
    ) -> Result<JobStatus, Error> {
        match state {
            JobState::Running(_) => {
                let phase = self.0.name.clone();
                Ok(JobStatus::Pending(Progress { done: 0, total: 0, phase }))
            }
            JobState::Ended(exit) => done(exit).map(JobStatus::Done),
            other => Err(self.lost(other)),
        }
    }

    /// Forgets a job that has no result, and answers the error for it.
    fn lost(&self, state: JobState) -> Error {
        let why = match state {
            JobState::Lost(why) => why,
            _ => "there is none of that name".to_owned(),
        };
        match self.stop() {
            Ok(_) => Error::retry(
                "job-lost",
                format!("the result of job {} is lost: {why}", self.0.name),
            ),
            Err(error) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::MockHost;
    use std::cell::Cell;
    use std::rc::Rc;

    /// A host whose command counts how often it is begun.
    fn host(exit: Exit) -> (MockHost, Rc<Cell<u32>>) {
        let begun = Rc::new(Cell::new(0));
        let count = Rc::clone(&begun);
        let host = MockHost::new().jobs_take(5_000).command("work", move |_, _| {
            count.set(count.get() + 1);
            Ok(exit.clone())
        });
        (host, begun)
    }

    #[test]
    fn a_job_is_begun_once_and_its_end_is_kept_until_it_is_forgotten() {
        let (_host, begun) = host(Exit::success("out"));
        let job = CommandJob::new("a");
        assert_eq!(job.poll(), Ok(JobState::Absent));
        assert!(matches!(job.start("work", &[], &[]), Ok(JobState::Running(_))));
        assert!(matches!(CommandJob::new("a").poll(), Ok(JobState::Running(_))));
        assert_eq!(CommandJob::new("a").on("there").poll(), Ok(JobState::Absent));
        let mut looks = 0;
        let exit = job.finish("work", &[], &[], |_| looks += 1).expect("it ends");
        assert_eq!((exit.stdout.as_slice(), begun.get()), (&b"out"[..], 1));
        assert!(looks > 2, "{looks}");
        assert_eq!(job.finish("work", &[], &[], |_| {}).map(|exit| exit.code), Ok(Some(0)));
        assert_eq!(begun.get(), 1);
        assert!(matches!(job.stop(), Ok(JobState::Ended(_))));
        assert_eq!(job.poll(), Ok(JobState::Absent));
    }

    #[test]
    fn a_job_that_fails_is_begun_anew_by_a_repeat() {
        let (_host, begun) = host(Exit::failure(1, "no"));
        for times in 1..3 {
            let exit = CommandJob::new("a").finish("work", &[], &[], |_| {}).expect("it ends");
            assert_eq!((exit.code, begun.get()), (Some(1), times));
        }
    }

    #[test]
    fn a_job_ends_with_a_call_that_is_told_to_stop_or_whose_time_is_over() {
        let (host, _) = host(Exit::success(""));
        let job = CommandJob::new("a");
        assert!(matches!(job.start("work", &[], &[]), Ok(JobState::Running(_))));
        let stopped = job.finish("work", &[], &[], |_| host.tell_to_stop(true));
        assert_eq!(stopped.expect_err("stopped").code, "cancelled");
        host.tell_to_stop(false);
        assert_eq!(job.poll(), Ok(JobState::Absent));
        host.deadline_in(4_000);
        let late = job.finish("work", &[], &[], |_| {}).expect_err("late");
        assert_eq!((late.code.as_str(), job.poll()), ("not-yet", Ok(JobState::Absent)));
    }

    #[test]
    fn what_begin_and_poll_answer_of_a_job() {
        let (host, _) = host(Exit::success(""));
        let job = CommandJob::new("a");
        let status = |state| job.status(state, |_| Ok(Outcome::done()));
        let state = job.start("work", &[], &[]).expect("begun");
        assert!(matches!(status(state), Ok(JobStatus::Pending(_))));
        host.deadline_in(10_000);
        clock::sleep_ms(5_000).expect("slept");
        assert!(matches!(status(job.poll().expect("told")), Ok(JobStatus::Done(_))));
        let lost = status(JobState::Lost("why".to_owned())).expect_err("lost");
        assert_eq!((lost.code.as_str(), job.poll()), ("job-lost", Ok(JobState::Absent)));
    }
}
