//! What one process of a command may use of its machine. The kernel enforces it (`setrlimit`), here
//! and at the far end of an ssh connection, for the program and for everything that it starts.

use serde::Deserialize;
use std::fmt::{self, Write as _};

/// How much a process may have if the template does not say: far more than `qemu-img` needs for a
/// disk of any size, and less than would take down its machine.
const MEMORY_MIB: u64 = 16 * 1024;
const PROCESSES: u64 = 16 * 1024;
const OPEN_FILES: u64 = 16 * 1024;

/// The bounds of the values. With less memory the shell that starts the program would not run.
const MEMORY_LEAST: u64 = 64;
const OPEN_FILES_LEAST: u64 = 16;
const PROCESSES_LEAST: u64 = 8;
const MOST: u64 = 1 << 40;

/// The limits of a command, as its template has them. What is not said is the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// MiB of address space of one process. By default 16 GiB.
    #[serde(default)]
    pub memory_mib: Option<u64>,
    /// Processes and threads of its user; the kernel does not count those of root. By default
    /// 16,384.
    #[serde(default)]
    pub processes: Option<u64>,
    /// Open files of one process. By default 16,384.
    #[serde(default)]
    pub open_files: Option<u64>,
    /// MiB of a file that it writes. By default there is no limit.
    #[serde(default)]
    pub file_size_mib: Option<u64>,
    /// Seconds of CPU of one process. By default there is no limit.
    #[serde(default)]
    pub cpu_seconds: Option<u64>,
}

impl Limits {
    /// # Errors
    /// The text says which limit is too small or too large, for people.
    pub(crate) fn check(&self) -> Result<(), String> {
        let wrong = |(name, value, least): &(&str, Option<u64>, u64)| {
            let value = (*value)?;
            (!(*least..=MOST).contains(&value))
                .then(|| format!("limit {name} is {value}; it must be from {least} to {MOST}"))
        };
        let all = [
            ("memory-mib", self.memory_mib, MEMORY_LEAST),
            ("processes", self.processes, PROCESSES_LEAST),
            ("open-files", self.open_files, OPEN_FILES_LEAST),
            ("file-size-mib", self.file_size_mib, 1),
            ("cpu-seconds", self.cpu_seconds, 1),
        ];
        all.iter().find_map(wrong).map_or(Ok(()), Err)
    }

    /// Whether a command with the `other` limits may use no more.
    pub(crate) fn allow(&self, other: &Self) -> bool {
        let (here, there) = (self.all(), other.all());
        here.iter().zip(there).all(|((_, here, _), (_, there, _))| match (here, there) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(here), Some(there)) => there <= *here,
        })
    }

    /// The option of the shell's `ulimit`, the value, and how many of the option's units it is.
    fn all(&self) -> [(char, Option<u64>, u64); 5] {
        [
            ('v', Some(self.memory_mib.unwrap_or(MEMORY_MIB)), 1024),
            ('p', Some(self.processes.unwrap_or(PROCESSES)), 1),
            ('n', Some(self.open_files.unwrap_or(OPEN_FILES)), 1),
            ('f', self.file_size_mib, 2048),
            ('t', self.cpu_seconds, 1),
        ]
    }

    /// The form for the helper. No process leaves a dump of its memory.
    pub(crate) fn for_helper(&self) -> String {
        let mut text = "c=0".to_owned();
        for (option, value, units) in self.all() {
            if let Some(value) = value {
                let _ = write!(text, " {option}={}", value.saturating_mul(units));
            }
        }
        text
    }
}

/// The form for operators: only what the template says.
impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = [
            (self.memory_mib, "MiB of memory"),
            (self.processes, "processes"),
            (self.open_files, "open files"),
            (self.file_size_mib, "MiB a file"),
            (self.cpu_seconds, "s of CPU"),
        ];
        let said = said.iter().filter_map(|(value, unit)| Some(format!("{} {unit}", (*value)?)));
        f.write_str(&said.collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_helper_is_told_of_defaults_and_of_what_the_template_says() {
        let limits = Limits { memory_mib: Some(64), file_size_mib: Some(1), ..Limits::default() };
        assert_eq!(limits.for_helper(), "c=0 v=65536 p=16384 n=16384 f=2048");
        assert_eq!(limits.to_string(), "64 MiB of memory, 1 MiB a file");
        assert_eq!(Limits::default().to_string(), "");
    }

    #[test]
    fn limits_out_of_bounds_are_refused() {
        for (limits, name) in [
            (Limits { memory_mib: Some(63), ..Limits::default() }, "memory-mib"),
            (Limits { cpu_seconds: Some(0), ..Limits::default() }, "cpu-seconds"),
            (Limits { open_files: Some(u64::MAX), ..Limits::default() }, "open-files"),
        ] {
            assert!(limits.check().expect_err("refused").contains(name));
        }
        assert_eq!(Limits::default().check(), Ok(()));
    }

    #[test]
    fn a_higher_limit_is_another_command() {
        let of = |memory_mib, cpu_seconds| Limits { memory_mib, cpu_seconds, ..Limits::default() };
        assert!(of(Some(64), None).allow(&of(Some(64), Some(1))));
        assert!(of(None, None).allow(&of(Some(1024), None)));
        assert!(!of(Some(64), None).allow(&of(None, None)), "the default is higher");
        assert!(!of(None, Some(1)).allow(&of(None, None)));
    }
}
