//! `ostler plugin keygen`, `sign` and `verify`: signatures of drivers, in minisign's format.

use crate::context::Context;
use crate::{Exit, Failure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use minisign::{KeyPair, SecretKey, SecretKeyBox};
use ostler_wasm::{
    Inspection, Judged, KeyId, LoadError, Package, Policy, PublicKey, Trust, TrustedKey,
};
use serde::Serialize;
use std::ffi::OsString;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::ops::Range;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The longest password, in bytes: minisign takes no longer one.
const PASSWORD_MAX: usize = 1024;
/// The largest file that is read as a key, in bytes: minisign's have less than 300.
const KEY_FILE_MAX: u64 = 4096;
/// The untrusted comment of all signatures; that of a signature inside of a component must be this
/// one.
const COMMENT: &str = "signature of an Ostler driver";
/// The bytes of a secret key that name how it is encrypted; zero if it is not.
const KDF: Range<usize> = 2..4;
/// Its checksum.
const CHECKSUM: Range<usize> = 126..158;
/// The mode of files that hold no secret.
pub(crate) const PUBLIC: u32 = 0o644;

/// A pair of keys to make.
#[derive(Debug, Args)]
pub struct KeygenArgs {
    /// What the files are called: NAME.key (secret) and NAME.pub, which must not exist yet
    name: PathBuf,
    /// A file whose first line is the password of the secret key. Without it a terminal is asked,
    /// or the first line of standard input is taken
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// A component to sign.
#[derive(Debug, Args)]
pub struct SignArgs {
    /// The component: FILE.wasm
    file: PathBuf,
    /// The secret key: of `ostler plugin keygen`, or of minisign
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// A file whose first line is the password of the secret key. Without it a terminal is asked,
    /// or the first line of standard input is taken
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Put the signature into the component instead of a file FILE.minisig beside it, so that one
    /// file can be shipped
    #[arg(long)]
    embed: bool,
}

/// A component whose signatures are verified.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The component: FILE.wasm; a signature beside it (FILE.minisig) is looked at, too
    file: PathBuf,
    /// A public key that counts: a file, or the key's text (RW...)
    #[arg(long = "key", value_name = "KEY", required = true)]
    keys: Vec<String>,
}

#[derive(Serialize)]
struct Made {
    key: String,
    public: String,
    secret: PathBuf,
}

#[derive(Serialize)]
struct Signed<'a> {
    driver: &'a str,
    version: &'a str,
    digest: &'a str,
    key: String,
    signature: PathBuf,
}

#[derive(Serialize)]
struct Verified<'a> {
    driver: &'a str,
    version: &'a str,
    digest: &'a str,
    keys: Vec<&'a str>,
}

fn bad(path: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::usage(format!("{}: {why}", path.display()))
}

/// The text of a small file.
fn read(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let opened = std::fs::File::open(path).map_err(|err| bad(path, err))?;
    opened.take(KEY_FILE_MAX).read_to_string(&mut text).map_err(|err| bad(path, err))?;
    Ok(text)
}

/// The password of a secret key: from a file, a terminal, or standard input. It never stands in
/// the command line or in the environment, which others can read.
fn password(file: Option<&Path>, twice: bool) -> Result<String, Failure> {
    let failed = |err: io::Error| Failure::usage(format!("the password cannot be read: {err}"));
    let text = match file {
        Some(path) => read(path)?.lines().next().unwrap_or_default().to_owned(),
        None if io::stdin().is_terminal() => {
            let given = rpassword::prompt_password("password of the secret key: ");
            let given = given.map_err(failed)?;
            if twice && rpassword::prompt_password("once more: ").map_err(failed)? != given {
                return Err(Failure::usage("the two passwords are not the same"));
            }
            given
        }
        None => {
            let mut line = String::new();
            let most = PASSWORD_MAX as u64 + 2;
            io::stdin().lock().take(most).read_line(&mut line).map_err(failed)?;
            line.trim_end_matches(['\r', '\n']).to_owned()
        }
    };
    match text.len() {
        0 => Err(Failure::usage("the password is empty")
            .hint("give one with --password-file, or as the first line of standard input")),
        1..=PASSWORD_MAX => Ok(text),
        _ => Err(Failure::usage(format!("the password is longer than {PASSWORD_MAX} bytes"))),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Writes a file that must not exist yet.
fn create(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = made.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|err| match err.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::new(Exit::Conflict, format!("{} is there already", path.display()))
                .hint("a key that is lost cannot be made again: choose another name")
        }
        _ => bad(path, err),
    })
}

/// Makes a pair of keys.
pub(crate) fn keygen(cx: &Context, args: &KeygenArgs) -> Result<(), Failure> {
    let (secret, public) = (with_suffix(&args.name, ".key"), with_suffix(&args.name, ".pub"));
    for path in [&secret, &public] {
        if path.symlink_metadata().is_ok() {
            return Err(Failure::new(
                Exit::Conflict,
                format!("{} is there already", path.display()),
            )
            .hint("a key that is lost cannot be made again: choose another name"));
        }
    }
    let password = password(args.password_file.as_deref(), true)?;
    let broken = |err: minisign::PError| {
        Failure::new(Exit::Refused, format!("the keys cannot be made: {err}"))
    };
    let pair = KeyPair::generate_encrypted_keypair(Some(password)).map_err(broken)?;
    let comment = "secret key for signing Ostler drivers";
    let secret_text = pair.sk.to_box(Some(comment)).map_err(broken)?.into_string();
    let public_text = pair.pk.to_box().map_err(broken)?.into_string();
    create(&secret, &secret_text, 0o600)?;
    create(&public, &public_text, PUBLIC)?;
    let made = Made { key: key_id(pair.pk.keynum()), public: pair.pk.to_base64(), secret };
    let told = || {
        format!(
            "key {}\n  secret: {} (keep it, and its password; nobody can make it again)\n  public: \
             {}\n  {}\n",
            made.key,
            made.secret.display(),
            public.display(),
            made.public
        )
    };
    cx.out.write(&cx.out.one(&made, &made.key, told)?)
}

fn key_id(bytes: &[u8]) -> String {
    // A key's number has eight bytes.
    KeyId::new(bytes.try_into().unwrap_or_default()).to_string()
}

/// A secret key without a password, as minisign 0.10 and 0.11 write it: its checksum is zero. The
/// library takes only one with a checksum. A damaged key is found all the same: its first signature
/// is verified.
fn without_checksum(text: &str) -> Option<SecretKey> {
    let bytes = STANDARD.decode(text.lines().nth(1)?).ok()?;
    let zero =
        |range: Range<usize>| bytes.get(range).is_some_and(|part| part.iter().all(|b| *b == 0));
    if zero(KDF) && zero(CHECKSUM) { SecretKey::from_bytes(&bytes).ok() } else { None }
}

/// The secret key, decrypted. One that minisign made without a password needs none.
fn secret(args: &SignArgs) -> Result<SecretKey, Failure> {
    let text = read(&args.key)?;
    if let Some(key) = without_checksum(&text) {
        return Ok(key);
    }
    let boxed = SecretKeyBox::from(text);
    if let Ok(key) = boxed.clone().into_unencrypted_secret_key() {
        return Ok(key);
    }
    if boxed.to_string().trim().is_empty() {
        return Err(bad(&args.key, "it is empty"));
    }
    let password = password(args.password_file.as_deref(), false)?;
    boxed.into_secret_key(Some(password)).map_err(|err| bad(&args.key, err))
}

/// The comment that the signature covers, too.
fn comment(inspection: &Inspection, sha256: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (name, version) = (&inspection.manifest.name, &inspection.manifest.version);
    format!("timestamp:{now}\tdriver:{name}\tversion:{version}\tsha256:{sha256}")
}

/// Puts a file in the place of another, or makes it. After a crash the old one or the new one is
/// there.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let written = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")));
    let written = written.and_then(|mut file| {
        file.write_all(bytes)?;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|err| err.error)
    });
    let place = path.display();
    written.map(drop).map_err(|err| Failure::new(Exit::Refused, format!("{place}: {err}")))
}

/// Signs a component.
pub(crate) async fn sign(cx: &Context, args: &SignArgs) -> Result<(), Failure> {
    let mut package = Package::read(&args.file).await.map_err(|err| unfit(&err))?;
    let before = ostler_wasm::inspect(&package.what, &package.bytes).map_err(|err| unfit(&err))?;
    let beside = ostler_wasm::signature_file(&args.file);
    if args.embed && package.beside.is_some() {
        let failure = Failure::usage(format!(
            "{} covers the file as it is, and would not fit any more",
            beside.display()
        ));
        return Err(failure.hint("remove it first; it can be made again after --embed"));
    }
    let key = secret(args)?;
    let broken = |err: minisign::PError| Failure::new(Exit::Refused, format!("not signed: {err}"));
    let public = minisign::PublicKey::from_secret_key(&key).map_err(broken)?;
    let sign = |covered: &[u8], sha256: &str| {
        let comment = comment(&before, sha256);
        minisign::sign(Some(&public), &key, covered, Some(&comment), Some(COMMENT))
            .map(minisign::SignatureBox::into_string)
            .map_err(broken)
    };
    let made = if args.embed {
        let component =
            ostler_wasm::split(&package.bytes).map_err(|err| bad(&args.file, err))?.component;
        package.bytes = ostler_wasm::embed(component, &sign(component, &before.digest)?);
        args.file.clone()
    } else {
        let judged = Package { beside: None, ..package.clone() }.judge(&Trust::default());
        let sha256 = judged.map_err(|err| unfit(&err))?.file_digest;
        package.beside = Some(sign(&package.bytes, &sha256)?.into_bytes());
        beside
    };
    // The signature is looked at as a daemon will do it, before anything is written.
    let key = public_key(&public.to_base64(), "it")?;
    judge(&package, vec![key])?;
    if args.embed {
        let mode = std::fs::metadata(&args.file).map_err(|err| bad(&args.file, err))?;
        replace(&made, &package.bytes, mode.permissions().mode() & 0o7777)?;
    } else {
        replace(&made, package.beside.as_deref().unwrap_or_default(), PUBLIC)?;
    }
    let signed = Signed {
        driver: before.manifest.name.as_str(),
        version: &before.manifest.version,
        digest: &before.digest,
        key: key_id(public.keynum()),
        signature: made,
    };
    let name = signed.signature.display().to_string();
    let told = || {
        let Signed { driver, version, digest, key, .. } = &signed;
        format!("{name}: driver {driver} {version} (SHA-256 {digest}) is signed by key {key}\n")
    };
    cx.out.write(&cx.out.one(&signed, &name, told)?)
}

/// The failure if a file is no driver.
pub(crate) fn unfit(err: &LoadError) -> Failure {
    Failure::usage(crate::failure::chain(err))
}

fn public_key(text: &str, name: &str) -> Result<TrustedKey, Failure> {
    let key =
        PublicKey::parse(text).map_err(|err| Failure::usage(format!("--key {name}: {err}")))?;
    Ok(TrustedKey { name: name.to_owned(), key })
}

/// A key of the command line: its text, or the file that has it.
fn given_key(text: &str) -> Result<TrustedKey, Failure> {
    let path = Path::new(text);
    if !path.exists() {
        return public_key(text, text);
    }
    let name = path.file_stem().map_or(text.into(), |name| name.to_string_lossy());
    public_key(&read(path)?, &name)
}

fn judge(package: &Package, keys: Vec<TrustedKey>) -> Result<Judged, Failure> {
    let trust = Trust { policy: Policy::Signed, keys, ..Trust::default() };
    package.judge(&trust).map_err(|err| match err {
        LoadError::Distrusted(_) | LoadError::Altered { .. } => {
            Failure::new(Exit::Refused, crate::failure::chain(&err))
        }
        other => unfit(&other),
    })
}

/// Verifies the signatures of a component.
pub(crate) async fn verify(cx: &Context, args: &VerifyArgs) -> Result<(), Failure> {
    let keys = args.keys.iter().map(|text| given_key(text)).collect::<Result<_, _>>()?;
    let package = Package::read(&args.file).await.map_err(|err| unfit(&err))?;
    let judged = judge(&package, keys)?;
    let verified = Verified {
        driver: judged.inspection.manifest.name.as_str(),
        version: &judged.inspection.manifest.version,
        digest: &judged.inspection.digest,
        keys: judged.verified(),
    };
    let told = || {
        format!(
            "driver {} {} (SHA-256 {}) is signed by key {}\n",
            verified.driver,
            verified.version,
            verified.digest,
            verified.keys.join(" and ")
        )
    };
    cx.out.write(&cx.out.one(&verified, verified.driver, told)?)
}
