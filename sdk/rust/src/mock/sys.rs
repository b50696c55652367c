//! The functions of the host, answered by the [`super::MockHost`] of the thread. They have the
//! signatures of those in a component.

pub(crate) mod log {
    pub(crate) fn write(level: crate::LogLevel, message: &str) {
        super::super::with(|host| host.lines.push((level, message.to_owned())));
    }
}

pub(crate) mod clock {
    use super::super::{BEGINNING_MS, with};

    pub(crate) fn now_ms() -> u64 {
        BEGINNING_MS.saturating_add(monotonic_ms())
    }

    pub(crate) fn monotonic_ms() -> u64 {
        with(|host| host.passed_ms)
    }

    pub(crate) fn remaining_ms() -> u64 {
        with(|host| host.deadline_ms.saturating_sub(host.passed_ms))
    }

    pub(crate) fn told_to_stop() -> bool {
        with(|host| host.stop)
    }

    pub(crate) fn sleep_ms(ms: u64) -> Result<(), String> {
        with(|host| {
            if host.stop {
                return Err("the call was told to stop".to_owned());
            }
            let most = host.deadline_ms.saturating_sub(host.passed_ms);
            host.passed_ms = host.passed_ms.saturating_add(ms.min(most));
            Ok(())
        })
    }
}

pub(crate) mod random {
    /// The most bytes that one call answers, as the real host has it.
    const BYTES_MAX: u32 = 4096;

    /// The same bytes in each run of a test.
    pub(crate) fn bytes(count: u32) -> Vec<u8> {
        super::super::with(|host| {
            let next = |_| {
                host.random = host.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                host.random.to_be_bytes()[0]
            };
            (0..count.min(BYTES_MAX)).map(next).collect()
        })
    }
}

pub(crate) mod session {
    use super::super::with;
    use crate::Error;

    /// The longest key and the longest value in bytes, and the longest time in milliseconds, as the
    /// real host has them.
    const KEY_MAX: usize = 128;
    const VALUE_MAX: usize = 16 * 1024;
    const LASTS_MAX_MS: u64 = 24 * 60 * 60 * 1000;

    pub(crate) fn get(key: &str) -> Option<Vec<u8>> {
        with(|host| {
            let now = host.passed_ms;
            host.sessions.get(key).filter(|(_, until)| *until > now).map(|(value, _)| value.clone())
        })
    }

    pub(crate) fn put(key: &str, value: &[u8], for_ms: u64) -> Result<(), Error> {
        if key.len() > KEY_MAX || value.len() > VALUE_MAX {
            let told = format!("a key has at most {KEY_MAX} bytes and a value {VALUE_MAX}");
            return Err(Error::refused("too-large", told));
        }
        with(|host| {
            let until = host.passed_ms.saturating_add(for_ms.min(LASTS_MAX_MS));
            host.sessions.insert(key.to_owned(), (value.to_vec(), until));
        });
        Ok(())
    }

    pub(crate) fn remove(key: &str) {
        with(|host| host.sessions.remove(key));
    }
}

pub(crate) mod config {
    use crate::Error;

    #[allow(clippy::unnecessary_wraps)] // the signature of the contract
    pub(crate) fn get(key: &str) -> Result<Option<String>, Error> {
        Ok(super::super::with(|host| host.settings.get(key).cloned()))
    }
}

pub(crate) mod secrets {
    use crate::Error;

    #[allow(clippy::unnecessary_wraps)] // the signature of the contract
    pub(crate) fn get(name: &str) -> Result<Option<String>, Error> {
        Ok(super::super::with(|host| host.secrets.get(name).cloned()))
    }
}

pub(crate) mod http {
    use super::super::reached;
    use crate::Error;
    use crate::http::{Request, Response};

    pub(crate) fn send(request: &Request) -> Result<Response, Error> {
        reached(|host| {
            host.requests.push(request.clone());
            if host.stop {
                return Err(Error::cancelled("the call was told to stop"));
            }
            match host.endpoints.get_mut(&request.endpoint) {
                Some(answer) => answer(request),
                None => {
                    let told = format!("the test has no endpoint {:?}", request.endpoint);
                    Err(Error::retry("unreachable", told))
                }
            }
        })
    }
}

pub(crate) mod exec {
    use super::super::{Run, State, reached};
    use crate::types::{Argument, CommandLine, JobName, JobRunning};
    use crate::{Error, Exit, JobState};

    /// The most commands of one `run-all`, as the real host has it.
    const ALL_MAX: usize = 64;

    pub(crate) fn run(
        command: &str,
        arguments: Vec<Argument>,
        input: &[u8],
    ) -> Result<Exit, Error> {
        reached(|host| ran(host, None, command, arguments, input))
    }

    pub(crate) fn run_on(on: &str, line: CommandLine) -> Result<Exit, Error> {
        reached(|host| ran(host, Some(on), &line.command, line.arguments, &line.input))
    }

    pub(crate) fn start(job: &JobName, line: CommandLine) -> Result<JobState, Error> {
        reached(|host| {
            if !host.jobs.contains_key(job) {
                let on = job.host.as_deref();
                let exit = ran(host, on, &line.command, line.arguments, &line.input)?;
                host.jobs.insert(job.clone(), (exit, host.passed_ms));
            }
            Ok(told(host, job))
        })
    }

    pub(crate) fn poll(job: &JobName) -> Result<JobState, Error> {
        reached(|host| {
            if host.stop {
                return Err(Error::cancelled("the call was told to stop"));
            }
            Ok(told(host, job))
        })
    }

    /// Also after the call was told to stop, as at the real host.
    #[allow(clippy::unnecessary_wraps)] // the signature of the contract
    pub(crate) fn stop(job: &JobName) -> Result<JobState, Error> {
        reached(|host| {
            let before = told(host, job);
            host.jobs.remove(job);
            Ok(if matches!(before, JobState::Running(_)) { JobState::Absent } else { before })
        })
    }

    fn told(host: &State, job: &JobName) -> JobState {
        let Some((exit, begun)) = host.jobs.get(job) else { return JobState::Absent };
        let ran_ms = host.passed_ms.saturating_sub(*begun);
        if ran_ms < host.jobs_take_ms {
            return JobState::Running(JobRunning {
                ran_ms,
                stdout: Vec::new(),
                stderr: Vec::new(),
            });
        }
        JobState::Ended(exit.clone())
    }

    pub(crate) fn run_all(lines: Vec<CommandLine>) -> Result<Vec<Result<Exit, Error>>, Error> {
        if lines.len() > ALL_MAX {
            let told = format!("{} commands at once, at most {ALL_MAX} are allowed", lines.len());
            return Err(Error::refused("bad-argument", told));
        }
        let run = |line: CommandLine| run(&line.command, line.arguments, &line.input);
        Ok(lines.into_iter().map(run).collect())
    }

    fn ran(
        host: &mut State,
        on: Option<&str>,
        command: &str,
        arguments: Vec<Argument>,
        input: &[u8],
    ) -> Result<Exit, Error> {
        let hole = |given: Argument| (given.hole, given.value);
        let run = Run {
            command: command.to_owned(),
            holes: arguments.into_iter().map(hole).collect(),
            input: input.to_vec(),
        };
        host.runs.push(run.clone());
        host.hosts.push(on.map(str::to_owned));
        if host.stop {
            return Err(Error::cancelled("the call was told to stop"));
        }
        match host.commands.get_mut(command) {
            Some(answer) => answer(&run, &mut host.files),
            None => {
                let told = format!("the test has no command {command:?}");
                Err(Error::not_here("no-program", told))
            }
        }
    }
}

pub(crate) mod files {
    use super::super::{Files, reached};
    use crate::{Error, FilePath as Path, Stat};

    pub(crate) fn stat(file: &Path) -> Result<Option<Stat>, Error> {
        reached(|host| host.files.stat(file))
    }

    pub(crate) fn list(folder: &Path) -> Result<Vec<String>, Error> {
        reached(|host| host.files.list(folder))
    }

    pub(crate) fn read(file: &Path) -> Result<Option<Vec<u8>>, Error> {
        reached(|host| host.files.read(file))
    }

    pub(crate) fn write(file: &Path, data: &[u8]) -> Result<(), Error> {
        reached(|host| host.files.write(file, data))
    }

    pub(crate) fn make_folder(folder: &Path) -> Result<(), Error> {
        reached(|host| host.files.make_folder(folder))
    }

    pub(crate) fn remove(target: &Path) -> Result<(), Error> {
        reached(|host| host.files.remove(target))
    }

    pub(crate) fn rename(source: &Path, target: &Path) -> Result<(), Error> {
        reached(|host| host.files.rename(source, target))
    }

    pub(crate) fn copy(source: &Path, target: &Path) -> Result<u64, Error> {
        reached(|host| host.files.copy(source, target))
    }

    /// All hosts of a test see the same files.
    pub(crate) fn fetch(_: &str, source: &Path, target: &Path) -> Result<u64, Error> {
        copy(source, target)
    }

    pub(crate) fn checksum(file: &Path) -> Result<String, Error> {
        reached(|host| host.files.checksum(file))
    }

    pub(crate) fn absolute(file: &Path) -> Result<String, Error> {
        reached(|_| Files::absolute(file))
    }
}

pub(crate) mod socket {
    use super::super::{State, reached};
    use crate::Error;
    use crate::types::Argument;
    use std::cell::RefCell;

    /// An open connection to a peer of the test.
    pub(crate) struct Connection {
        peer: String,
        ahead: RefCell<Vec<u8>>,
    }

    pub(crate) fn connect(name: &str, arguments: Vec<Argument>) -> Result<Connection, Error> {
        let there = |host: &State| {
            let Some(peer) = host.peers.get(name) else { return false };
            let Some(hole) = &peer.hole else { return true };
            let file = arguments.iter().find(|argument| argument.hole == *hole);
            let place = file.and_then(|argument| argument.value.split_once(':'));
            place.is_some_and(|(datastore, path)| host.files.get(datastore, path).is_some())
        };
        if !reached(|host| there(host)) {
            return Err(Error::gone("no-socket", format!("the test has no peer {name:?}")));
        }
        Ok(Connection { peer: name.to_owned(), ahead: RefCell::default() })
    }

    impl Connection {
        pub(crate) fn write(&self, bytes: &[u8]) -> Result<(), Error> {
            reached(|host| {
                let closed = || Error::gone("closed", "the peer has closed the connection");
                let peer = host.peers.get_mut(&self.peer).ok_or_else(closed)?;
                let answer = (peer.answer)(bytes);
                self.ahead.borrow_mut().extend(answer);
                Ok(())
            })
        }

        pub(crate) fn read(&self, max: u32, wait_ms: u64) -> Result<Vec<u8>, Error> {
            reached(|host| {
                let mut ahead = self.ahead.borrow_mut();
                if ahead.is_empty() {
                    host.passed_ms = host.passed_ms.saturating_add(wait_ms).min(host.deadline_ms);
                }
                let count = ahead.len().min(usize::try_from(max).unwrap_or(usize::MAX));
                Ok(ahead.drain(..count).collect())
            })
        }
    }
}
