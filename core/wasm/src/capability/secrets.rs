//! `secrets`: values that are never logged. Needs the grant `secrets`. A command may be given a
//! secret in its input, so that the driver does not see it: `{secret:NAME}`.
//!
//! A value comes from the host of the call, else from the driver, else from the daemon's settings.
//! Every value that a call was given is taken out of the texts that leave it (`Env::scrub`).

use super::{Env, HasView, State, View, error, refused, view};
use crate::bindings::ostler::driver::secrets::{Host, add_to_linker as link};
use crate::bindings::ostler::driver::types::{Error, ErrorKind};
use crate::grants::Secret;
use crate::template::{InputPart, Template, parts};
use crate::transport::INPUT_MAX;
use ostler_driver::Site;
use ostler_model::{DriverError, SecretName};
use std::time::Instant;
use wasmtime::component::Linker;

/// The longest text for people that leaves a call.
pub(crate) const TEXT_MAX: usize = 4096;

impl Env {
    /// A secret of the driver for the host of the call. Checks no grant. A capability that hands the
    /// value on, to the driver or to a peer, tells so with [`Env::handed_out`] first.
    ///
    /// # Errors
    /// `retry` if the store cannot be read: an older value of the settings could be a wrong one.
    pub(crate) fn secret(&self, name: &str) -> Result<Option<Secret>, Error> {
        let listed = self.side.manifest.secrets.keys().any(|listed| listed.as_str() == name);
        self.uses(
            &format!("secrets:{}", self.told(name)),
            listed || self.side.manifest.secrets.is_empty(),
        );
        self.secret_at(self.site.as_ref(), name)
    }

    /// The same for another host of the call.
    fn secret_at(&self, site: Option<&Site>, name: &str) -> Result<Option<Secret>, Error> {
        let host = site.map(|site| site.id);
        let set = self.side.services.secrets.secret(self.driver(), host, name);
        let set = set.map_err(|problem| {
            let detail = format!("secret {} cannot be read: {problem}", self.told(name));
            error(ErrorKind::Retry, "store", detail)
        })?;
        let set = set.or_else(|| self.side.grants.secrets.get(name).cloned());
        Ok(set.map(|secret| secret.named(name)))
    }

    /// From now on, no text that leaves the call tells this value.
    pub(crate) fn handed_out(&self, secret: &Secret) {
        self.handed.add(secret);
    }

    /// At most `most` bytes of a text that leaves the call, without the values of secrets.
    pub(crate) fn scrub(&self, text: &str, most: usize) -> String {
        self.handed.scrubbed(text.as_bytes(), most, false)
    }

    /// The beginning of a text of the driver's, for people.
    pub(crate) fn told(&self, text: &str) -> String {
        crate::text::told(&self.scrub(text, crate::text::TOLD_MAX + 4))
    }

    /// The error without the values of secrets.
    pub(crate) fn scrub_error(&self, error: DriverError) -> DriverError {
        let DriverError { kind, code, detail } = error;
        let (code, detail) = (self.scrub(&code, TEXT_MAX), self.scrub(&detail, TEXT_MAX));
        DriverError { kind, code, detail }
    }

    /// The input of a command with its secrets in the place of their marks. The input of a command
    /// that is given no secret stays as it is. The secrets are those of `site`, where it runs.
    pub(super) fn filled(
        &self,
        site: &Site,
        command: &Template,
        input: Vec<u8>,
    ) -> Result<Vec<u8>, Error> {
        if command.secrets().is_empty() {
            return Ok(input);
        }
        let too_large = || {
            let detail = format!("the input with its secrets is larger than {INPUT_MAX} bytes");
            refused("bad-argument", detail)
        };
        if input.len() > INPUT_MAX {
            return Err(too_large());
        }
        let mut filled = Vec::with_capacity(input.len());
        for part in parts(&input) {
            match part {
                InputPart::Bytes(bytes) => filled.extend_from_slice(bytes),
                InputPart::Secret(name) => {
                    filled.extend_from_slice(
                        self.for_command(site, command, &name)?.expose().as_bytes(),
                    );
                }
            }
            if filled.len() > INPUT_MAX {
                return Err(too_large());
            }
        }
        Ok(filled)
    }

    /// A secret that a command is given.
    fn for_command(
        &self,
        site: &Site,
        command: &Template,
        name: &SecretName,
    ) -> Result<Secret, Error> {
        if !command.secrets().contains(name) {
            let secrets: Vec<&str> = command.secrets().iter().map(SecretName::as_str).collect();
            let detail = format!(
                "command {:?} is given no secret {name}; its template names: {}",
                command.name(),
                secrets.join(", ")
            );
            return Err(refused("bad-argument", detail));
        }
        let secret = self.secret_at(Some(site), name.as_str())?;
        let secret = secret.ok_or_else(|| self.not_set_at(Some(site), name))?;
        self.handed_out(&secret);
        Ok(secret)
    }

    pub(super) fn not_set(&self, name: &SecretName) -> Error {
        self.not_set_at(self.site.as_ref(), name)
    }

    fn not_set_at(&self, site: Option<&Site>, name: &SecretName) -> Error {
        let driver = self.driver();
        let of_driver = format!("`ostler driver secret-set {driver} {name}`");
        refused(
            "no-secret",
            match site.filter(|_| self.side.of_hosts) {
                Some(site) => format!(
                    "the secret {name} of driver {driver} is not set for host {host}: set it with \
                     `ostler host secret-set {host} {name}`, or for all hosts of the driver with \
                     {of_driver}",
                    host = site.name
                ),
                None => format!(
                    "the secret {name} of driver {driver} is not set: set it with {of_driver}"
                ),
            },
        )
    }
}

impl Host for View<'_> {
    async fn get(&mut self, name: String) -> wasmtime::Result<Result<Option<String>, Error>> {
        let begun = Instant::now();
        let traced = self.env.told(&name);
        let answer = self.env.granted("secrets", &format!("secret {traced:?}"));
        let answer = answer.and_then(|()| {
            let secret = self.env.secret(&name)?;
            Ok(secret.map(|secret| {
                self.env.handed_out(&secret);
                secret.expose().to_owned()
            }))
        });
        self.env.flight("secrets.get", &traced, begun, &answer);
        Ok(answer)
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    link::<State, HasView>(linker, view)
}
