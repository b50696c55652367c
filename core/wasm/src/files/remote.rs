//! Files over ssh. Small constant scripts get the paths as arguments, never as a part of their
//! text. They need GNU coreutils and findutils, and util-linux.

use super::{FileError, NAMES_MAX, Place, SMALL_MAX, Stat, Way, is_draft};
use crate::services::Services;
use crate::transport::{Exit, Job};
use tokio_util::sync::CancellationToken;

/// The most output of a script: ten thousand names of 255 bytes.
const STDOUT_MAX: usize = 3 * 1024 * 1024;
/// The most bytes of standard error.
pub(super) const STDERR_MAX: usize = 4096;

/// Exit codes of the scripts below. They are far from the exit codes of shells and tools.
const ABSENT: i32 = 44;
const WRONG_KIND: i32 = 45;
const BUSY: i32 = 46;
const NO_ROOT: i32 = 90;
const OUTSIDE: i32 = 92;

/// `root` sets `r`. `way` reads a path as [`Way::for_script`] writes it: it sets `o`, the folder
/// that the path must stay in, and `p`, the path below that, which is empty for the folder itself.
/// `full` resolves all links of a path, `last` resolves all but a link in its last part. Both set
/// `f`, refuse to leave `o`, and refuse an `o` that is a link itself.
macro_rules! script {
    ($body:literal) => {
        concat!(
            r#"root() { r=$(realpath -e -- "$1" 2>/dev/null) || exit 90; r=${r%/}; }; "#,
            r#"below() { case $1/ in "$2"/*) ;; *) exit 92 ;; esac; }; "#,
            r#"over() { d=$r; case $1 in */*) d=$(realpath -m -- "$r/${1%/*}") || exit 92 ;; esac; below "$d" "$r"; }; "#,
            r#"way() { o=$r; p=$1; case $1 in *//*) p=${1#*//}; o=${1%%//*}; over "$o"; o=$d/${o##*/}; [ ! -L "$o" ] || exit 92 ;; esac; }; "#,
            r#"full() { way "$1"; f=$o; [ -z "$p" ] || f=$(realpath -m -- "$o/$p") || exit 92; below "$f" "$o"; d=${f%/*}; }; "#,
            r#"last() { way "$1"; b=${o##*/}; d=${o%/*}; [ -z "$p" ] || { b=${p##*/}; d=$o; case $p in */*) d=$(realpath -m -- "$o/${p%/*}") || exit 92 ;; esac; below "$d" "$o"; }; "#,
            r#"f=$d/$b; t=$d/.$b.ostler-part; }; "#,
            r#"file() { [ -e "$f" ] || exit 44; [ -f "$f" ] || exit 45; }; root "$1"; "#,
            $body
        )
    };
}

const CHECK: &str = script!(r#"full "$2"; [ -d "$d" ] || exit 44"#);
const STAT: &str =
    script!(r#"full "$2"; [ -e "$f" ] || exit 44; exec stat -c "%F|%s|%b|%B|%Y" -- "$f""#);
const LIST: &str = script!(
    r#"full "$2"; [ -d "$f" ] || exit 44; exec find "$f" -mindepth 1 -maxdepth 1 -printf "%f\0""#
);
const READ: &str = script!(r#"full "$2"; file; exec head -c 65537 -- "$f""#);
const WRITE: &str = script!(
    r#"last "$2"; [ ! -d "$f" ] || exit 45; mkdir -p -- "$d" || exit 1; t=$(mktemp -- "$d/.ostler-XXXXXXXX") || exit 1; cat >"$t" && chmod 644 -- "$t" && mv -T -f -- "$t" "$f" || { rm -f -- "$t"; exit 1; }"#
);
const MAKE_FOLDER: &str =
    script!(r#"full "$2"; [ ! -e "$f" ] || [ -d "$f" ] || exit 45; exec mkdir -p -- "$f""#);
const REMOVE: &str = script!(r#"last "$2"; exec rm -rf --one-file-system -- "$f""#);
const RENAME: &str = script!(
    r#"last "$2"; s=$f; [ -e "$s" ] || [ -L "$s" ] || exit 44; last "$3"; mkdir -p -- "$d" && { [ -L "$s" ] || sync -- "$s"; } && mv -T -f -- "$s" "$f" && exec sync -- "$d""#
);
// The draft is locked while it is written, and must still have its name then: a copy that goes on
// after its connection was lost shares no file with the next one.
const COPY: &str = script!(
    r#"full "$2"; file; s=$f; root "$3"; last "$4"; mkdir -p -- "$d" && exec 9>>"$t" || exit 1; flock -n 9 && [ "$t" -ef /dev/fd/9 ] || exit 46; cp --reflink=auto -- "$s" "$t" && sync -- "$t" && mv -T -f -- "$t" "$f" && exec stat -c %s -- "$f"; rm -f -- "$t"; exit 1"#
);
const CHECKSUM: &str = script!(r#"full "$2"; file; exec sha256sum <"$f""#);
pub(super) const SEND: &str = script!(r#"full "$2"; file; exec cat -- "$f""#);
pub(super) const RECEIVE: &str = script!(
    r#"last "$2"; mkdir -p -- "$d" && rm -f -- "$t" && exec dd of="$t" bs=1M iflag=fullblock conv=sparse,fsync status=none"#
);
const PLACE: &str = script!(
    r#"last "$2"; [ "$(stat -c %s -- "$t")" = "$3" ] || exit 1; mv -T -f -- "$t" "$f" && exec sync -- "$d""#
);
const DISCARD: &str = script!(r#"last "$2"; exec rm -f -- "$t""#);

pub(super) fn argv(script: &str, arguments: &[&str]) -> Vec<String> {
    ["/bin/sh", "-c", script, "ostler-files"]
        .iter()
        .chain(arguments)
        .map(|&text| text.to_owned())
        .collect()
}

/// Translates the exit code of a script.
pub(super) fn judge(rel: &Way, code: Option<i32>, said: &str) -> Result<(), FileError> {
    let what = rel.to_string();
    match code {
        Some(0) => Ok(()),
        Some(ABSENT) => Err(FileError::Absent(what)),
        Some(WRONG_KIND) => Err(FileError::WrongKind(what)),
        Some(BUSY) => Err(FileError::Busy(what)),
        Some(NO_ROOT) => {
            Err(FileError::NoDatastore("the datastore's directory is not there".to_owned()))
        }
        Some(OUTSIDE) => Err(FileError::Outside(what)),
        Some(_) | None if said.contains("No space left") => Err(FileError::NoSpace(what)),
        Some(_) | None if said.contains("Permission denied") => Err(FileError::NoAccess(what)),
        Some(_) | None => Err(FileError::Io(format!("{what}: {}", said.trim()))),
    }
}

/// Runs a script that changes nothing.
async fn look(
    services: &Services,
    place: &Place,
    rel: &Way,
    script: &str,
    stop: &CancellationToken,
) -> Result<Vec<u8>, FileError> {
    let place = place.clone().held_by(None);
    run(services, &place, rel, script, &[], Vec::new(), stop).await
}

async fn run(
    services: &Services,
    place: &Place,
    rel: &Way,
    script: &str,
    more: &[&str],
    input: Vec<u8>,
    stop: &CancellationToken,
) -> Result<Vec<u8>, FileError> {
    let path = rel.for_script();
    let mut arguments = vec![place.root.as_str(), path.as_str()];
    arguments.extend(more);
    let job = Job {
        argv: argv(script, &arguments),
        input,
        stdout_max: STDOUT_MAX,
        stderr_max: STDERR_MAX,
        time_limit: None,
        limits: None,
        reach: None,
        charge: place.charge.clone(),
    };
    let Exit { code, stdout, stderr, .. } = services.transports.run(&place.via, job, stop).await?;
    judge(rel, code, &String::from_utf8_lossy(&stderr))?;
    Ok(stdout)
}

pub(super) async fn check(
    services: &Services,
    place: &Place,
    rel: &Way,
    stop: &CancellationToken,
) -> Result<(), FileError> {
    look(services, place, rel, CHECK, stop).await.map(drop)
}

pub(super) async fn stat(
    services: &Services,
    place: &Place,
    rel: &Way,
    stop: &CancellationToken,
) -> Result<Option<Stat>, FileError> {
    let output = match look(services, place, rel, STAT, stop).await {
        Err(FileError::Absent(_)) => return Ok(None),
        other => String::from_utf8_lossy(&other?).into_owned(),
    };
    let strange = || FileError::Io(format!("{rel}: stat answered {output:?}"));
    let mut parts = output.trim().split('|');
    let kind = match parts.next() {
        Some("directory") => "directory",
        Some(kind) if kind.starts_with("regular") => "file",
        Some(_) => "other",
        None => return Err(strange()),
    };
    let numbers: Vec<u64> = parts.map_while(|part| part.parse().ok()).collect();
    match numbers[..] {
        [size, blocks, block, modified] => Ok(Some(Stat {
            kind,
            size,
            allocated: blocks.saturating_mul(block),
            modified_ms: modified.saturating_mul(1000),
        })),
        _ => Err(strange()),
    }
}

pub(super) async fn list(
    services: &Services,
    place: &Place,
    rel: &Way,
    stop: &CancellationToken,
) -> Result<Vec<String>, FileError> {
    let output = look(services, place, rel, LIST, stop).await?;
    let parts = output.split(|&byte| byte == 0).filter(|name| !name.is_empty());
    let names = parts.map(|name| String::from_utf8_lossy(name).into_owned());
    let mut names: Vec<String> = names.filter(|name| !is_draft(name)).collect();
    if names.len() > NAMES_MAX || output.len() == STDOUT_MAX {
        return Err(FileError::TooMuch(format!("folder {rel} has more than {NAMES_MAX} names")));
    }
    names.sort_unstable();
    Ok(names)
}

pub(super) async fn read(
    services: &Services,
    place: &Place,
    rel: &Way,
    stop: &CancellationToken,
) -> Result<Option<Vec<u8>>, FileError> {
    match look(services, place, rel, READ, stop).await {
        Err(FileError::Absent(_)) => Ok(None),
        Ok(data) if data.len() > SMALL_MAX => Err(FileError::TooMuch(format!(
            "{rel} is larger than the {SMALL_MAX} bytes that can be read at once"
        ))),
        other => other.map(Some),
    }
}

pub(super) async fn write(
    services: &Services,
    place: &Place,
    rel: &Way,
    data: Vec<u8>,
    stop: &CancellationToken,
) -> Result<(), FileError> {
    run(services, place, rel, WRITE, &[], data, stop).await.map(drop)
}

pub(super) async fn make_folder(
    services: &Services,
    place: &Place,
    rel: &Way,
    stop: &CancellationToken,
) -> Result<(), FileError> {
    run(services, place, rel, MAKE_FOLDER, &[], Vec::new(), stop).await.map(drop)
}

pub(super) async fn remove(
    services: &Services,
    place: &Place,
    rel: &Way,
    stop: &CancellationToken,
) -> Result<(), FileError> {
    run(services, place, rel, REMOVE, &[], Vec::new(), stop).await.map(drop)
}

pub(super) async fn rename(
    services: &Services,
    place: &Place,
    rel: &Way,
    to: &Way,
    stop: &CancellationToken,
) -> Result<(), FileError> {
    run(services, place, rel, RENAME, &[&to.for_script()], Vec::new(), stop).await.map(drop)
}

pub(super) async fn copy(
    services: &Services,
    place: &Place,
    (from_root, from): (&str, &Way),
    to: &Way,
    stop: &CancellationToken,
) -> Result<u64, FileError> {
    let source = Place { root: from_root.to_owned(), ..place.clone() };
    let output =
        run(services, &source, from, COPY, &[&place.root, &to.for_script()], Vec::new(), stop)
            .await?;
    String::from_utf8_lossy(&output)
        .trim()
        .parse()
        .map_err(|_| FileError::Io(format!("{to}: its size is not known after copying")))
}

pub(super) async fn checksum(
    services: &Services,
    place: &Place,
    rel: &Way,
    stop: &CancellationToken,
) -> Result<String, FileError> {
    let output = look(services, place, rel, CHECKSUM, stop).await?;
    let text: String =
        String::from_utf8_lossy(&output).chars().take_while(char::is_ascii_hexdigit).collect();
    if text.len() == 64 {
        Ok(text)
    } else {
        Err(FileError::Io(format!("{rel}: sha256sum gave no answer")))
    }
}

/// Gives a received file its final name, if it has the expected size.
pub(super) async fn place(
    services: &Services,
    at: &Place,
    rel: &Way,
    size: u64,
    stop: &CancellationToken,
) -> Result<(), FileError> {
    run(services, at, rel, PLACE, &[&size.to_string()], Vec::new(), stop).await.map(drop)
}

/// Removes the received part of a file.
pub(super) async fn discard(services: &Services, at: &Place, rel: &Way) {
    let _ = run(services, at, rel, DISCARD, &[], Vec::new(), &CancellationToken::new()).await;
}
