//! Commands on this machine, against real processes.

use super::*;

async fn run(argv: &[&str], input: &[u8]) -> Result<Exit, RunError> {
    let transports =
        Transports::new(None, Lease::default(), Confine::default()).expect("transports");
    let argv = argv.iter().map(|&argument| argument.to_owned()).collect();
    let job = Job {
        argv,
        input: input.to_vec(),
        stdout_max: 1000,
        stderr_max: 100,
        time_limit: None,
        limits: None,
        reach: None,
        charge: None,
    };
    transports.run(&ExecTransport::Local, job, &CancellationToken::new()).await
}

#[tokio::test]
async fn arguments_input_and_output_are_exact() {
    let odd = ["a b", "$(id)", "'", "\"", "\\n", "*", "", "-n", "ä"];
    let mut argv = vec!["/usr/bin/printf", "%s|"];
    argv.extend(odd);
    let exit = run(&argv, b"").await.expect("ran");
    assert_eq!(String::from_utf8_lossy(&exit.stdout), odd.map(|text| format!("{text}|")).concat());
    assert_eq!((exit.code, exit.truncated, exit.stderr.len()), (Some(0), false, 0));
    let all: Vec<u8> = (0..=255).collect();
    assert_eq!(run(&["/bin/cat"], &all).await.expect("ran").stdout, all);
    assert_eq!(run(&["/bin/cat"], b"").await.expect("ran").stdout, b"");
}

#[tokio::test]
async fn ends_are_told_apart() {
    let sh = |script: &'static str| async move {
        run(&["/bin/sh", "-c", script], b"").await.expect("ran")
    };
    let exit = sh("echo out; echo err >&2; exit 7").await;
    assert_eq!(
        (exit.code, exit.signal, exit.stdout, exit.stderr),
        (Some(7), None, b"out\n".to_vec(), b"err\n".to_vec())
    );
    assert_eq!(sh("kill -TERM $$").await.signal, Some(15));
    let long = sh("head -c 5000 /dev/zero; head -c 5000 /dev/zero >&2").await;
    assert_eq!((long.stdout.len(), long.stderr.len(), long.truncated), (1000, 100, true));
    // The shell itself adds these.
    let environment = String::from_utf8_lossy(&sh("env").await.stdout).into_owned();
    let mut environment: Vec<&str> = environment
        .lines()
        .filter(|line| !line.starts_with("PWD=") && !line.starts_with("_="))
        .collect();
    environment.sort_unstable();
    assert_eq!(environment, ["LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
    assert_eq!(sh("pwd").await.stdout, b"/\n");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_told_from_one_that_ends_with_its_code() {
    for missing in ["/nowhere/at/all", "/usr/bin", "/etc/passwd"] {
        assert_eq!(run(&[missing], b"").await, Err(RunError::NoProgram(missing.to_owned())));
    }
    for code in [126, 127] {
        let script = format!("exit {code}");
        let exit = run(&["/bin/sh", "-c", &script], b"").await.expect("ran");
        assert_eq!(exit.code, Some(code));
    }
}

#[tokio::test]
async fn what_is_started_ends_with_the_command() {
    // A process stays in the session and holds the pipes. It is killed, and nobody waits for it.
    let begun = std::time::Instant::now();
    let exit = run(&["/bin/sh", "-c", "sleep 3600 & echo $!"], b"").await.expect("ran");
    assert!(begun.elapsed() < Duration::from_secs(10));
    let pid: i32 = String::from_utf8_lossy(&exit.stdout).trim().parse().expect("a pid");
    gone(pid).await;
}

#[tokio::test]
async fn a_far_end_that_reads_nothing_can_be_left() {
    let permit = Arc::new(Semaphore::new(1)).acquire_owned().await.expect("a place");
    let mut deaf = Command::new("/bin/sleep");
    deaf.arg("3600");
    let (child, permit) = spawn(deaf, None, permit).await.expect("it starts");
    let called = ("tag".to_owned(), "deaf".to_owned());
    let running = running(child, called, (Lease::default(), None), permit).expect("it has pipes");
    let pid = i32::try_from(running.child.id().expect("it runs")).expect("a pid");
    let (stop, head) = (CancellationToken::new(), vec![b'x'; 1024 * 1024]);
    let told = running.told(&head, &stop);
    tokio::pin!(told);
    assert!(futures::poll!(&mut told).is_pending(), "a pipe holds a megabyte");
    stop.cancel();
    let answer = timeout(Duration::from_secs(20), told).await.expect("it ends");
    assert!(matches!(answer, Err(RunError::Cancelled)));
    gone(pid).await;
}

#[tokio::test]
async fn cancel_kills_the_group() {
    let transports =
        Transports::new(None, Lease::default(), Confine::default()).expect("transports");
    let dir = tempfile::tempdir().expect("dir");
    let file = dir.path().join("pid");
    let script = format!("sleep 3600 & echo $! >{0}.new; mv {0}.new {0}; wait", file.display());
    let stop = CancellationToken::new();
    let job = Job {
        argv: vec!["/bin/sh".into(), "-c".into(), script],
        input: Vec::new(),
        stdout_max: 10,
        stderr_max: 10,
        time_limit: None,
        limits: None,
        reach: None,
        charge: None,
    };
    let run = transports.run(&ExecTransport::Local, job, &stop);
    let cancel = async {
        while !file.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(run, cancel);
    assert_eq!(ended, Err(RunError::Cancelled));
    gone(std::fs::read_to_string(&file).expect("pid").trim().parse().expect("a pid")).await;
}

/// A helper without a daemon, with a process that runs for an hour.
struct Helper {
    child: std::process::Child,
    stdin: std::process::ChildStdin,
    pid: i32,
}

impl Helper {
    fn start(lease: Option<Lease>) -> Self {
        let mut child = std::process::Command::new("/bin/sh")
            .args(["-c", HELPER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("helper");
        let mut stdin = child.stdin.take().expect("piped");
        let script = "sleep 3600 & echo $!; wait".to_owned();
        let argv = ["/bin/sh".to_owned(), "-c".to_owned(), script];
        let told = Told { input: "", lease, limits: None, charge: None };
        let head = header("tag", &argv, told).expect("header");
        std::io::Write::write_all(&mut stdin, head.as_bytes()).expect("written");
        let mut line = String::new();
        std::io::BufRead::read_line(
            &mut std::io::BufReader::new(child.stdout.take().expect("piped")),
            &mut line,
        )
        .expect("read");
        Self { child, stdin, pid: line.trim().parse().expect("a pid") }
    }

    async fn ends(mut self) {
        drop(self.stdin);
        gone(self.pid).await;
        self.child.wait().expect("ended");
    }
}

#[tokio::test]
async fn when_the_daemon_dies_the_group_dies() {
    // When the daemon dies, the helper notices only the end of its standard input.
    Helper::start(None).ends().await;
    Helper::start(Some(Lease::default())).ends().await;
}

#[tokio::test]
async fn a_command_ends_when_its_lease_is_not_renewed() {
    let leased = Helper::start(Some(Lease::renewed_every(1)));
    let free = Helper::start(None);
    gone(leased.pid).await;
    assert!(is_there(free.pid), "a command without a lease goes on");
    leased.ends().await;
    free.ends().await;
}

#[tokio::test]
async fn a_line_break_cannot_become_an_argument() {
    assert!(matches!(run(&["/bin/echo", "a\nb"], b"").await, Err(RunError::Invalid(_))));
    assert!(matches!(run(&[], b"").await, Err(RunError::Invalid(_))));
    assert!(matches!(run(&["/bin/cat"], &vec![0; INPUT_MAX + 1]).await, Err(RunError::Invalid(_))));
    assert_eq!(run(&["/bin/cat"], &vec![0; INPUT_MAX]).await.expect("ran").stdout.len(), 1000);
}

/// Waits until a process is gone, or is a zombie that only waits to be reaped.
async fn gone(pid: i32) {
    for _ in 0..6000 {
        if !is_there(pid) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("process {pid} is still there");
}

fn is_there(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}
