//! The calls that a driver can make to the host, by capability. Each call is checked against the
//! manifest and the operator's grants. Its time counts against the deadline of the driver's call.

pub mod http;
pub mod jobs;
pub mod socket;

/// Writes lines to the host's log, with the driver's name.
pub mod log {
    use crate::LogLevel;

    /// Writes a line of that level.
    pub fn write(level: LogLevel, message: impl AsRef<str>) {
        crate::sys::log::write(level, message.as_ref());
    }
    /// Writes a line for authors of drivers.
    pub fn debug(message: impl AsRef<str>) {
        write(LogLevel::Debug, message);
    }
    /// Writes a line for operators.
    pub fn info(message: impl AsRef<str>) {
        write(LogLevel::Info, message);
    }
    /// Writes a line about something that an operator should check some day.
    pub fn warn(message: impl AsRef<str>) {
        write(LogLevel::Warn, message);
    }
    /// Writes a line about something that an operator should check now.
    pub fn error(message: impl AsRef<str>) {
        write(LogLevel::Error, message);
    }
}

/// Time.
pub mod clock {
    use crate::Error;
    use crate::sys::clock as host;

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub fn now_ms() -> u64 {
        host::now_ms()
    }

    /// Milliseconds since some moment. It never goes backwards.
    #[must_use]
    pub fn monotonic_ms() -> u64 {
        host::monotonic_ms()
    }

    /// Milliseconds until the deadline of the call that runs now. Every call has one, also `probe`,
    /// `observe` and `list`.
    #[must_use]
    pub fn remaining_ms() -> u64 {
        host::remaining_ms()
    }

    /// Checks whether the call that runs now may continue, also in `probe`, `observe` and `list`.
    ///
    /// # Errors
    /// `cancelled` if the host wants the call to end.
    pub fn go_on() -> Result<(), Error> {
        if host::told_to_stop() {
            return Err(Error::cancelled("the host told the call to stop"));
        }
        Ok(())
    }

    /// Time that [`until`] leaves for the answer of the call.
    const SPARE_MS: u64 = 300;

    /// Looks every `every_ms` milliseconds until `look` finds something, and answers it.
    ///
    /// # Errors
    /// Those of `look`; `cancelled` as soon as the host wants the call to end; `retry` with code
    /// `not-yet` if nothing was found shortly before the call's deadline. `what` tells people what
    /// was waited for.
    pub fn until<T>(
        what: &str,
        every_ms: u64,
        mut look: impl FnMut() -> Result<Option<T>, Error>,
    ) -> Result<T, Error> {
        loop {
            if let Some(found) = look()? {
                return Ok(found);
            }
            go_on()?;
            if remaining_ms() < SPARE_MS {
                return Err(Error::retry("not-yet", format!("waited for {what}")));
            }
            sleep_ms(every_ms)?;
        }
    }

    /// Waits, at most until the call's deadline.
    ///
    /// # Errors
    /// `cancelled` as soon as the host wants the call to end.
    pub fn sleep_ms(ms: u64) -> Result<(), Error> {
        host::sleep_ms(ms).map_err(Error::cancelled)
    }
}

/// Randomness.
pub mod random {
    /// Random bytes, at most 4096.
    #[must_use]
    pub fn bytes(count: u32) -> Vec<u8> {
        crate::sys::random::bytes(count)
    }
}

/// Small values that the calls of this driver for one host share: the session of an API, the address
/// of a master. They may be gone at any time, so keep only values here that can be made anew.
pub mod session {
    use crate::Error;
    use crate::sys::session as host;
    use std::time::Duration;

    /// A value of the call's host. None if there is none, or no longer.
    #[must_use]
    pub fn get(key: &str) -> Option<Vec<u8>> {
        host::get(key)
    }

    /// Keeps a value for as long as `lasts`, a day at most. It takes the place of an earlier one.
    ///
    /// # Errors
    /// `refused` with code `too-large` if the key has more than 128 bytes or the value more than
    /// 16 KiB.
    pub fn put(key: &str, value: &[u8], lasts: Duration) -> Result<(), Error> {
        host::put(key, value, u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX))
    }

    /// Forgets a value: the peer has refused it, for example.
    pub fn remove(key: &str) {
        host::remove(key);
    }

    /// The value that is kept, or a new one.
    ///
    /// # Errors
    /// Those of `make`, and of [`put`].
    pub fn get_or_put(
        key: &str,
        lasts: Duration,
        make: impl FnOnce() -> Result<Vec<u8>, Error>,
    ) -> Result<Vec<u8>, Error> {
        if let Some(value) = get(key) {
            return Ok(value);
        }
        let value = make()?;
        put(key, &value, lasts)?;
        Ok(value)
    }
}

/// Settings of the driver. Capability `config`.
pub mod config {
    use crate::Error;
    use crate::sys::config as host;

    /// A setting. None if it is not set.
    ///
    /// # Errors
    /// `refused` if `config` is not granted.
    pub fn get(key: &str) -> Result<Option<String>, Error> {
        host::get(key)
    }

    /// A setting that must be set.
    ///
    /// # Errors
    /// `refused` with code `not-configured` if it is not set.
    pub fn required(key: &str) -> Result<String, Error> {
        get(key)?.ok_or_else(|| {
            Error::refused(
                "not-configured",
                format!("the setting {key:?} is not set for this host"),
            )
        })
    }

    /// A setting that is a number. `default` if it is not set.
    ///
    /// # Errors
    /// `refused` with code `bad-config` if the setting is not a number.
    pub fn number(key: &str, default: u64) -> Result<u64, Error> {
        let Some(text) = get(key)? else { return Ok(default) };
        text.parse().map_err(|_| {
            Error::refused(
                "bad-config",
                format!("the setting {key:?} is {text:?}, which is not a number"),
            )
        })
    }
}

/// Secrets by name. Capability `secrets`.
///
/// The secret of the host that the call is for comes before the driver's own. In every text that
/// leaves the call, the host replaces a value that the call was given by `[secret NAME]`: in log
/// lines, errors, phases of progress, denials and the message of a panic. It finds the value as it
/// is, escaped as `{:?}` does, and in base64; not in parts, nor in another form, nor a value of less
/// than 4 bytes, nor in a later call that has the value from `session`.
pub mod secrets {
    use crate::Error;

    /// The mark that stands for a secret in the input of a command: `{secret:NAME}`. The template
    /// of the command must name the secret. The host replaces the mark by the value, so that the
    /// driver need not read it.
    ///
    /// ```
    /// assert_eq!(ostler_sdk::host::secrets::mark("password"), "{secret:password}");
    /// ```
    #[must_use]
    pub fn mark(name: &str) -> String {
        format!("{{secret:{name}}}")
    }

    /// A secret. None if there is none of that name.
    ///
    /// # Errors
    /// `refused` if `secrets` is not granted.
    pub fn get(name: &str) -> Result<Option<String>, Error> {
        crate::sys::secrets::get(name)
    }
}

/// Runs commands on the target host, by the name of their template. Capability `exec`.
pub mod exec {
    use crate::sys::exec as host;
    use crate::types::{Argument, CommandLine};
    use crate::{Error, Exit};

    /// Runs a template. Any exit code is an answer, not an error. In the input, the marks of secrets
    /// that the template names ([`super::secrets::mark`]) are replaced by their values. A text that
    /// somebody else may choose does not belong into such an input: it could have a mark.
    ///
    /// # Errors
    /// `refused` for an unknown template or a value that its hole does not take. `cancelled`.
    /// `refused` with code `no-secret` if the input has the mark of a secret that is not set.
    /// `unknown` if the connection to the host was lost meanwhile, or, with code `command-timeout`,
    /// if the command ran for longer than the `timeout` of its template. `not-here` with code
    /// `no-program` if the program is not on the host.
    pub fn run(command: &str, holes: &[(&str, &str)], input: &[u8]) -> Result<Exit, Error> {
        host::run(command, arguments(holes), input)
    }

    /// A command of [`run_all`].
    #[derive(Debug, Clone, Copy)]
    pub struct Line<'a> {
        /// The name of its template.
        pub command: &'a str,
        /// The values of the holes.
        pub holes: &'a [(&'a str, &'a str)],
        /// Its standard input.
        pub input: &'a [u8],
    }

    /// Runs up to 64 templates, several at once. Answers how each ended, in their order. 64 KiB of
    /// output and 8 KiB of standard error of each are kept.
    ///
    /// # Errors
    /// `refused` if there are more than 64. The errors of the commands are those of [`run`].
    pub fn run_all(lines: &[Line<'_>]) -> Result<Vec<Result<Exit, Error>>, Error> {
        let line = |line: &Line<'_>| CommandLine {
            command: line.command.to_owned(),
            arguments: arguments(line.holes),
            input: line.input.to_vec(),
        };
        host::run_all(lines.iter().map(line).collect())
    }

    /// Runs a template on another host of the call: the destination of a migration
    /// ([`crate::Destination::host`]), or the host that a copy comes from
    /// ([`crate::CopyJob::from_host`]). Holes of type `path`, and secrets, are those of that host.
    ///
    /// # Errors
    /// As [`run`]. `refused` with code `host-not-of-call` for every other host.
    pub fn run_on(
        host: &str,
        command: &str,
        holes: &[(&str, &str)],
        input: &[u8],
    ) -> Result<Exit, Error> {
        host::run_on(host, line(command, holes, input))
    }

    /// A command as the contract has it.
    pub(super) fn line(command: &str, holes: &[(&str, &str)], input: &[u8]) -> CommandLine {
        let (command, arguments) = (command.to_owned(), arguments(holes));
        CommandLine { command, arguments, input: input.to_vec() }
    }

    /// The values of holes as the contract has them.
    pub(super) fn arguments(holes: &[(&str, &str)]) -> Vec<Argument> {
        let argument = |(hole, value): &(&str, &str)| Argument {
            hole: (*hole).to_owned(),
            value: (*value).to_owned(),
        };
        holes.iter().map(argument).collect()
    }

    /// Runs a template that must end with code 0. Answers its standard output.
    ///
    /// # Errors
    /// As [`run`]. For any other exit code or a signal: `retry` with code `command-failed`, and the
    /// end of standard error. `refused` with code `output-cut` if the output was longer than the
    /// host keeps: a part of a list would be taken for the whole.
    pub fn output(command: &str, holes: &[(&str, &str)]) -> Result<Vec<u8>, Error> {
        whole(command, run(command, holes, &[])?)
    }

    fn whole(command: &str, exit: Exit) -> Result<Vec<u8>, Error> {
        match exit.code {
            Some(0) if exit.truncated => Err(Error::refused(
                "output-cut",
                format!(
                    "{command} has written more than the host keeps; it kept {} bytes",
                    exit.stdout.len()
                ),
            )),
            Some(0) => Ok(exit.stdout),
            _ => Err(failed(command, &exit)),
        }
    }

    /// The error for a command that has failed.
    #[must_use]
    pub fn failed(command: &str, exit: &Exit) -> Error {
        /// How many bytes of standard error the message holds: a few lines for people.
        const TOLD: usize = 512;
        let told = String::from_utf8_lossy(&exit.stderr[exit.stderr.len().saturating_sub(TOLD)..])
            .trim()
            .to_owned();
        let how = match (exit.code, exit.signal) {
            (Some(code), _) => format!("ended with code {code}"),
            (None, Some(signal)) => format!("was ended by signal {signal}"),
            (None, None) => "ended somehow".to_owned(),
        };
        Error::retry("command-failed", format!("{command} {how}: {told}"))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_part_of_the_output_is_never_taken_for_the_whole() {
            let exit = |code, truncated| Exit {
                code: Some(code),
                signal: None,
                stdout: b"a list".to_vec(),
                stderr: Vec::new(),
                truncated,
            };
            assert_eq!(whole("list", exit(0, false)), Ok(b"a list".to_vec()));
            let code = |exit| whole("list", exit).map_err(|error| error.code);
            assert_eq!(code(exit(0, true)), Err("output-cut".to_owned()));
            assert_eq!(code(exit(1, true)), Err("command-failed".to_owned()));
        }
    }
}

/// Files below a datastore's root on the target host. Capability `files`.
pub mod files {
    use crate::sys::files as host;
    use crate::{Error, FilePath, Stat};

    /// The kind and size of a file. None if it does not exist.
    ///
    /// # Errors
    /// The capability is not granted, or the host could not be asked. The same holds for all calls
    /// below.
    pub fn stat(file: &FilePath) -> Result<Option<Stat>, Error> {
        host::stat(file)
    }
    /// The names in a folder. A missing folder is `gone`.
    ///
    /// # Errors
    /// As [`stat`].
    pub fn list(folder: &FilePath) -> Result<Vec<String>, Error> {
        host::list(folder)
    }
    /// The content of a small file, at most 64 KiB. None if it does not exist.
    ///
    /// # Errors
    /// As [`stat`].
    pub fn read(file: &FilePath) -> Result<Option<Vec<u8>>, Error> {
        host::read(file)
    }
    /// Writes a small file in one step: a reader sees the old or the new content, never a mixture.
    /// Makes missing folders. The file is not synced.
    ///
    /// # Errors
    /// As [`stat`].
    pub fn write(file: &FilePath, data: &[u8]) -> Result<(), Error> {
        host::write(file, data)
    }
    /// Makes a folder, and the folders above it.
    ///
    /// # Errors
    /// As [`stat`].
    pub fn make_folder(folder: &FilePath) -> Result<(), Error> {
        host::make_folder(folder)
    }
    /// Removes a file, or a folder with everything below it. A missing file is a success.
    ///
    /// # Errors
    /// As [`stat`].
    pub fn remove(target: &FilePath) -> Result<(), Error> {
        host::remove(target)
    }
    /// Renames a file within one datastore. A file at the target is replaced.
    ///
    /// # Errors
    /// As [`stat`].
    pub fn rename(source: &FilePath, target: &FilePath) -> Result<(), Error> {
        host::rename(source, target)
    }
    /// Copies a file on the target host and syncs it. Answers its size.
    ///
    /// # Errors
    /// As [`stat`].
    pub fn copy(source: &FilePath, target: &FilePath) -> Result<u64, Error> {
        host::copy(source, target)
    }
    /// Copies a file, as the host `from_host` sees it, to the target host and syncs it. Answers its
    /// size.
    ///
    /// # Errors
    /// As [`stat`].
    pub fn fetch(from_host: &str, source: &FilePath, target: &FilePath) -> Result<u64, Error> {
        host::fetch(from_host, source, target)
    }
    /// SHA-256 of a file, in hexadecimal.
    ///
    /// # Errors
    /// As [`stat`].
    pub fn checksum(file: &FilePath) -> Result<String, Error> {
        host::checksum(file)
    }
    /// The absolute path of a file as the target host sees it, for texts that name files to a
    /// hypervisor. The last part of the path need not exist.
    ///
    /// # Errors
    /// As [`stat`]. `refused` with code `outside-datastore` if a symbolic link leads out.
    pub fn absolute(file: &FilePath) -> Result<String, Error> {
        host::absolute(file)
    }
}
