//! The log. A thread of its own writes the lines, so that no line can stop the work of the daemon.
//!
//! Standard error may be a full disk, a pipe whose reader has gone, or a pipe whose reader no
//! longer reads. The first two fail and the third blocks, and neither may happen in a task: a panic
//! there would leave an operation that never ends. So a task only puts its line into a bounded
//! queue. A line that finds no room is dropped and counted, and the count is in the log once it can
//! be written again.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tracing_subscriber::fmt::MakeWriter;

/// Most bytes that wait to be written. This is room for thousands of lines, and little beside the
/// memory of the daemon.
const QUEUE_MAX: usize = 4 * 1024 * 1024;
/// The longest line. A longer one is cut, so that a text of megabytes does not take the room of all
/// other lines.
const LINE_MAX: usize = 16 * 1024;
/// How long the process waits at its end for the last lines to be written.
const FLUSH_WAIT: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// True while the thread has taken a line out and has not written it yet.
    writing: bool,
    /// Lines that were lost and are not reported yet.
    lost: u64,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// A line came in.
    filled: Condvar,
    /// Everything is written.
    drained: Condvar,
}

impl Shared {
    fn locked(&self) -> MutexGuard<'_, Queue> {
        // A poisoned lock is used as it is: each change is one push or one pop, so a panic leaves
        // nothing half done.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let line = cut(line);
        let mut queue = self.locked();
        if queue.bytes + line.len() > QUEUE_MAX {
            queue.lost += 1;
            return;
        }
        queue.bytes += line.len();
        queue.lines.push_back(line);
        drop(queue);
        self.filled.notify_one();
    }

    /// The next line, and how many were lost before it.
    fn next(&self) -> (Vec<u8>, u64) {
        let mut queue = self.locked();
        loop {
            if let Some(line) = queue.lines.pop_front() {
                queue.bytes -= line.len();
                queue.writing = true;
                return (line, std::mem::take(&mut queue.lost));
            }
            queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn written(&self, lost: u64) {
        let mut queue = self.locked();
        queue.writing = false;
        queue.lost += lost;
        if queue.lines.is_empty() {
            self.drained.notify_all();
        }
    }
}

/// The line, or its first [`LINE_MAX`] bytes and a mark that it was cut.
fn cut(line: &[u8]) -> Vec<u8> {
    match line.get(..LINE_MAX).filter(|begin| begin.len() < line.len()) {
        Some(begin) => [begin, b" [cut]\n"].concat(),
        None => line.to_vec(),
    }
}

/// Takes log lines. It is cheap to clone, and all clones share one queue.
#[derive(Clone)]
pub struct Log(Arc<Shared>);

impl Log {
    /// Starts a thread that writes lines to `out` until the process ends.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_all(&theirs, out))?;
        Ok(Self(shared))
    }

    /// Logs one line, even if the filter of the log would drop it. Never blocks, never fails.
    pub fn line(&self, text: &str) {
        self.0.push(format!("{text}\n").as_bytes());
    }

    /// Logs every panic with its place. The default hook writes to standard error itself, and
    /// blocks there if nobody reads it.
    pub fn take_panics(&self) {
        let log = self.clone();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = std::thread::current();
            let trace = std::backtrace::Backtrace::capture();
            let captured = trace.status() == std::backtrace::BacktraceStatus::Captured;
            let trace = if captured { format!("\n{trace}") } else { String::new() };
            log.line(&format!(
                "ERROR a defect of ostlerd: thread {} {panic}{trace}",
                thread.name().unwrap_or("without a name")
            ));
        }));
    }

    /// Waits at most a second until all lines are written. After that the process may end.
    pub fn flush(&self) {
        let until = Instant::now() + FLUSH_WAIT;
        let mut queue = self.0.locked();
        while queue.writing || !queue.lines.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            queue =
                self.0.drained.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Runs in the thread. A line that cannot be written is lost, and counted.
fn write_all(shared: &Shared, mut out: impl Write) {
    // True if the last write failed, perhaps in the middle of a line. Then a line end comes first,
    // so that the next line is not joined to it.
    let mut broken = false;
    loop {
        let (line, lost) = shared.next();
        let mut text = Vec::with_capacity(line.len());
        if broken {
            text.push(b'\n');
        }
        if lost > 0 {
            text.extend_from_slice(
                format!("WARN {lost} lines of the log were lost: they could not be written\n")
                    .as_bytes(),
            );
        }
        text.extend_from_slice(&line);
        broken = out.write_all(&text).and_then(|()| out.flush()).is_err();
        shared.written(if broken { lost + 1 } else { 0 });
    }
}

/// Writes into the log: each call of `write` is one line.
pub struct Line<'a>(&'a Shared);

impl Write for Line<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.push(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Passes each text on to the test, and blocks until the test takes it. If the test has sent an
    /// error, the write fails with it.
    struct Out {
        written: mpsc::SyncSender<Vec<u8>>,
        errors: mpsc::Receiver<io::Error>,
    }

    impl Write for Out {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            match self.errors.try_recv() {
                Ok(error) => Err(error),
                Err(_) => {
                    self.written.send(text.to_vec()).map_err(io::Error::other)?;
                    Ok(text.len())
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log() -> (Log, mpsc::Receiver<Vec<u8>>, mpsc::Sender<io::Error>) {
        let (written, seen) = mpsc::sync_channel(0);
        let (fail, errors) = mpsc::channel();
        (Log::start(Out { written, errors }).expect("a thread"), seen, fail)
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_told_later() {
        let (log, seen, fail) = log();
        for _ in 0..3 {
            fail.send(io::Error::from(io::ErrorKind::StorageFull)).expect("it lives");
        }
        for _ in 0..3 {
            log.line("lost");
        }
        log.flush();
        log.line("kept");
        let told = text(&seen.recv().expect("a line"));
        assert_eq!(told, "\nWARN 3 lines of the log were lost: they could not be written\nkept\n");
    }

    #[test]
    fn a_reader_that_does_not_read_holds_nobody_up() {
        let (log, seen, _fail) = log();
        let line = "x".repeat(LINE_MAX / 2);
        let many = 2 * QUEUE_MAX / line.len();
        for _ in 0..many {
            log.line(&line);
        }
        log.line("the last");
        // The thread writes some lines while others are lost, so the count may be reported in
        // parts.
        let (mut written, mut lost) = (0, 0);
        while written + lost <= many {
            let told = text(
                &seen
                    .recv_timeout(Duration::from_secs(60))
                    .expect("all lines are written or counted"),
            );
            written += 1;
            lost += told
                .strip_prefix("WARN ")
                .and_then(|rest| rest.split(' ').next()?.parse().ok())
                .unwrap_or(0);
        }
        // One line is at the reader, and the rest fits into the queue.
        let room = QUEUE_MAX / line.len();
        assert!(
            written + lost == many + 1 && written <= room + 2,
            "{written} written and {lost} lost of {}",
            many + 1
        );
    }

    #[test]
    fn a_line_of_megabytes_is_cut() {
        let (log, seen, _fail) = log();
        log.line(&"y".repeat(8 * 1024 * 1024));
        let told = seen.recv().expect("a line");
        assert!(told.len() < LINE_MAX + 16 && told.ends_with(b"yy [cut]\n"), "{}", told.len());
    }
}
