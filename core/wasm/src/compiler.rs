//! Compiles components in a process of their own.
//!
//! Compiling is the one thing that happens with a component before it is confined, and small files
//! can be made that take gigabytes and minutes of it. A process of its own has limits of memory and
//! CPU, is nice to its neighbours, and ends without them.

use crate::text::cut;
use rustix::process::{Resource, Rlimit, Signal, nice, setrlimit};
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use wasmtime::component::Component;
use wasmtime::{Config, Engine};

/// The stack of a guest. Wasmtime's default for asynchronous stacks is 2 MiB, half of it for host
/// functions.
const GUEST_STACK: usize = 1024 * 1024;
/// The argument that makes a process a compiler. It is no flag of any program of ours, and is
/// followed by the limits (MiB of memory, seconds of CPU) and the component's length in bytes.
const ARGUMENT: &str = "--compile-a-component";
/// The largest compiled code, in bytes: eight times the largest component.
const CODE_MAX: u64 = 512 * 1024 * 1024;
/// The longest text of an error.
const SAID_MAX: u64 = 4096;
/// The exit codes if the component is refused, if the process could not do its work, and if nobody
/// waits for the code any more.
const REFUSED: i32 = 1;
const UNABLE: i32 = 2;
const GONE: i32 = 3;
/// How much nicer than the daemon the compiler is.
const NICE: i32 = 10;
/// How much longer than its CPU time a compiler may take, on a machine that has other work.
const WALL: u32 = 4;

/// A program that compiles components when it is told to: one that calls [`serve`] first thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiler {
    /// The program.
    pub program: PathBuf,
    /// The most memory that it may use, in MiB.
    pub memory_mib: u64,
    /// The most CPU time that it may use. Parts of a second do not count.
    pub cpu: Duration,
}

/// Why a component was not compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileProblem {
    /// The compiler refuses it.
    #[error("{0}; the file may be damaged, or uses a WebAssembly feature this host lacks")]
    Refused(String),
    /// The compiler has used up its time.
    #[error(
        "it was not compiled within {0:?} of CPU time: it is made badly, or is very large; raise \
         cpu_seconds under [compile] in the settings only for a driver that you trust"
    )]
    TooLong(Duration),
    /// The compiler has crashed, most likely because it got no more memory.
    #[error(
        "the compiler ended ({status}), most likely because {memory_mib} MiB of memory were not \
         enough; raise memory_mib under [compile] in the settings only for a driver that you \
         trust. It said: {said:?}"
    )]
    Crashed {
        /// How it ended.
        status: ExitStatus,
        /// The memory that it may use, in MiB.
        memory_mib: u64,
        /// The beginning of its standard error.
        said: String,
    },
    /// The compiler could not do its work.
    #[error("the compiler could not work: {0}")]
    Unable(String),
    /// The process could not be run.
    #[error("the compiler cannot be run: {0}")]
    Process(#[from] io::Error),
}

/// The part of an engine's configuration that compiled code depends on.
pub(crate) fn config() -> Config {
    let mut config = Config::new();
    config.wasm_component_model(true).epoch_interruption(true).concurrency_support(false);
    config.max_wasm_stack(GUEST_STACK);
    config
}

/// Compiled code that this version of Ostler has made, and nobody has changed since.
pub(crate) struct Code(Vec<u8>);

impl Code {
    /// Compiles in this process.
    pub(crate) fn compile(engine: &Engine, component: &[u8]) -> Result<Self, CompileProblem> {
        // It takes WebAssembly only, never compiled code.
        let code = engine.precompile_component(component);
        code.map(Self).map_err(|error| CompileProblem::Refused(format!("{error:#}")))
    }

    /// Code that was kept, whose seal has just shown that nobody has changed it.
    pub(crate) const fn sealed(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The component, ready to be run.
    ///
    /// # Errors
    /// The code was made for another engine.
    pub(crate) fn load(&self, engine: &Engine) -> wasmtime::Result<Component> {
        // SAFETY: `deserialize` trusts that its input was written by wasmtime's compiler. Code is
        // made in this process, or by the same program in a process of ours, or comes from a cache
        // with a seal that only a holder of its key can make. Nothing from outside ever gets here:
        // a precompiled file is refused when it is loaded.
        #[allow(unsafe_code, reason = "the one way to load compiled code")]
        unsafe {
            Component::deserialize(engine, &self.0)
        }
    }
}

impl Compiler {
    /// Compiles `component`, and answers code for an engine of this version.
    pub(crate) async fn compile(&self, component: &[u8]) -> Result<Code, CompileProblem> {
        let mut child = Command::new(&self.program)
            .arg(ARGUMENT)
            .arg(self.memory_mib.to_string())
            .arg(self.cpu.as_secs().to_string())
            .arg(component.len().to_string())
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(io::Error::other("no pipes to it").into());
        };
        let ends = async {
            // If it ends early, its own words say why. Its input stays open: it ends with us.
            let fed = stdin.write_all(component);
            let (_, code, said) = tokio::join!(fed, read(stdout, CODE_MAX), read(stderr, SAID_MAX));
            Ok::<_, io::Error>((child.wait().await?, code?, said?))
        };
        let Ok(ended) = tokio::time::timeout(self.cpu * WALL, ends).await else {
            return Err(CompileProblem::TooLong(self.cpu));
        };
        let (status, code, said) = ended?;
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        match (status.code(), status.signal().and_then(Signal::from_named_raw)) {
            (Some(0), _) => Ok(Code(code)),
            (Some(REFUSED), _) => Err(CompileProblem::Refused(said)),
            (Some(UNABLE), _) => Err(CompileProblem::Unable(said)),
            (_, Some(Signal::XCPU)) => Err(CompileProblem::TooLong(self.cpu)),
            (_, _) => Err(CompileProblem::Crashed { status, memory_mib: self.memory_mib, said }),
        }
    }
}

async fn read(from: impl AsyncRead + Unpin, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(most).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

/// Compiles a component if this process was started as a compiler, and answers its exit code. Call
/// it first thing in `main`.
#[must_use]
pub fn serve() -> Option<ExitCode> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).take(5).collect();
    let [first, numbers @ ..] = &arguments[..] else { return None };
    if first != ARGUMENT {
        return None;
    }
    let numbers: Vec<u64> = numbers.iter().filter_map(|text| text.to_str()?.parse().ok()).collect();
    let done = match numbers[..] {
        [memory_mib, cpu_s, length] => compile_here(memory_mib, cpu_s, length),
        _ => Err((UNABLE, "its arguments are three numbers".to_owned())),
    };
    Some(match done {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, problem)) => {
            let _ = writeln!(io::stderr(), "{}", cut(&problem, SAID_MAX as usize));
            u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
        }
    })
}

/// Limits this process, then compiles standard input to standard output. The error is an exit code
/// and its reason.
fn compile_here(memory_mib: u64, cpu_s: u64, length: u64) -> Result<(), (i32, String)> {
    let unable = |problem: String| (UNABLE, problem);
    limit_here(memory_mib, cpu_s).map_err(unable)?;
    let mut component = Vec::new();
    let read = io::stdin().lock().take(length).read_to_end(&mut component);
    read.map_err(|error| unable(format!("the component cannot be read: {error}")))?;
    // When the input ends, nobody waits for the code any more.
    std::thread::spawn(|| {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        std::process::exit(GONE);
    });
    let engine = Engine::new(&config()).map_err(|error| unable(format!("{error:#}")))?;
    let code = Code::compile(&engine, &component).map_err(|problem| match problem {
        CompileProblem::Refused(reason) => (REFUSED, reason),
        other => unable(other.to_string()),
    })?;
    let mut out = io::stdout().lock();
    let written = out.write_all(code.bytes()).and_then(|()| out.flush());
    written.map_err(|error| unable(format!("the code cannot be written: {error}")))
}

/// Limits this process.
fn limit_here(memory_mib: u64, cpu_s: u64) -> Result<(), String> {
    let limits = [
        (Resource::Data, memory_mib.saturating_mul(1024 * 1024), 0),
        // At the lower limit of time a signal says why it ends, at the upper one it is killed.
        (Resource::Cpu, cpu_s, 2),
        (Resource::Core, 0, 0),
        // It makes no files.
        (Resource::Fsize, 0, 0),
    ];
    for (resource, most, more) in limits {
        let limit = Rlimit { current: Some(most), maximum: Some(most.saturating_add(more)) };
        setrlimit(resource, limit).map_err(|error| format!("a limit cannot be set: {error}"))?;
    }
    nice(NICE).map(drop).map_err(|error| format!("it cannot be made nice: {error}"))
}
