//! The context of a command: the daemon's address and token, and standard output.

use crate::out::Out;
use crate::{Failure, Global};
use ostler_api::{Client, ClientError, Endpoint};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The longest token, in bytes. A token has fewer than 100 characters, so a longer text is from a
/// wrong path.
const TOKEN_FILE_MAX: usize = 4096;

/// The context of a command.
pub(crate) struct Context {
    /// The output for results.
    pub(crate) out: Out,
    /// The address of the daemon.
    pub(crate) endpoint: Endpoint,
    token_file: Option<PathBuf>,
}

impl Context {
    /// Takes the options and the environment. Connects to nothing and reads no file.
    pub(crate) fn new(global: &Global) -> Result<Self, Failure> {
        let endpoint = match (&global.server, set("OSTLER_SERVER")) {
            (Some(endpoint), _) => endpoint.clone(),
            (None, Some(text)) => {
                text.parse().map_err(|err| Failure::usage(format!("OSTLER_SERVER: {err}")))?
            }
            (None, None) => Endpoint::local(),
        };
        let token_file =
            global.token_file.clone().or_else(|| set("OSTLER_TOKEN_FILE").map(PathBuf::from));
        Ok(Self { out: Out::new(global.output, !global.no_header), endpoint, token_file })
    }

    /// A client of the daemon. It connects when it is first used.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let token = match &self.token_file {
            Some(path) => Some(read_token(path)?),
            None => set("OSTLER_TOKEN").map(|text| text.trim().to_owned()),
        };
        Ok(Client::new(&self.endpoint, token)?)
    }

    /// Whether the daemon is on this machine for sure.
    pub(crate) const fn is_local(&self) -> bool {
        matches!(self.endpoint, Endpoint::Unix(_))
    }
}

/// A variable of the environment, if it is set and not blank.
fn set(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.trim().is_empty())
}

fn read_token(path: &Path) -> Result<String, Failure> {
    let bad = |why: &str| Failure::usage(format!("token file {}: {why}", path.display()));
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(|err| bad(&err.to_string()))?;
    file.take(TOKEN_FILE_MAX as u64 + 1)
        .read_to_end(&mut text)
        .map_err(|err| bad(&err.to_string()))?;
    let text = String::from_utf8(text).map_err(|_| bad("it is no text"))?;
    let token = text.trim();
    if token.is_empty()
        || text.len() > TOKEN_FILE_MAX
        || token.contains(|c: char| c.is_whitespace() || c.is_control())
    {
        return Err(
            bad("it does not hold one token").hint("it must hold the token and nothing else")
        );
    }
    Ok(token.to_owned())
}

/// Removes several things and prints what was removed. After an error it goes on with the next one,
/// unless the daemon cannot be reached.
pub(crate) async fn remove_each<F>(
    cx: &Context,
    what: &str,
    names: &[String],
    mut remove: impl FnMut(String) -> F,
) -> Result<(), Failure>
where
    F: Future<Output = Result<(), ClientError>>,
{
    let mut worst = crate::Exit::Ok;
    for name in names {
        match remove(name.clone()).await {
            Ok(()) if cx.out.for_people() => cx.out.line(&format!("{what} {name}: removed"))?,
            Ok(()) => cx.out.line(name)?,
            Err(err) => {
                let failure = Failure::from(err).about(&format!("{what} {name}"));
                failure.tell();
                worst = worst.max(failure.exit);
                if failure.exit == crate::Exit::Unreachable {
                    break;
                }
            }
        }
    }
    if worst == crate::Exit::Ok { Ok(()) } else { Err(Failure::silent(worst)) }
}
