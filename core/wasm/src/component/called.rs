//! The answer of a call, on its way out. Its texts are scrubbed of secrets before anything else is
//! made of them.

use crate::bindings::exports::ostler::driver as exported;
use crate::bindings::ostler::driver::types as wit;
use crate::capability::Env;
use crate::capability::secrets::TEXT_MAX;
use crate::cassette::TapedCall;
use crate::convert;
use crate::services::Services;
use ostler_driver::{CallControl, Site};
use ostler_model::DriverError;
use std::sync::Arc;

/// A call on a cassette, if there is one. The first instance, which makes no call to the host, is
/// not on it.
pub(super) fn taped(
    services: &Services,
    name: &'static str,
    site: Option<&Site>,
    control: Option<&CallControl>,
) -> Result<Option<TapedCall>, DriverError> {
    let Some(cassette) = services.cassette.as_ref().filter(|_| name != super::LOAD) else {
        return Ok(None);
    };
    let about = control.map(|control| control.context.key.to_string()).unwrap_or_default();
    let host = site.map(|site| site.name.to_string()).unwrap_or_default();
    let begun = cassette.begin(name, about, host);
    begun.map(Some).map_err(|problem| DriverError::refused("cassette", problem))
}

/// A component's own answer: the `result` of the contract.
pub(super) type Answer<T> = Result<T, wit::Error>;

/// The answer of a call, with the call itself.
pub(super) struct Called<T> {
    pub(super) given: T,
    pub(super) env: Arc<Env>,
}

impl<T: ForPeople> Called<Answer<T>> {
    /// The answer as ours.
    pub(super) fn told<U>(
        self,
        convert: impl FnOnce(T) -> Result<U, DriverError>,
    ) -> Result<U, DriverError> {
        let Self { given, env } = self;
        match given {
            Ok(mut given) => {
                given.scrub(&env);
                // An answer that cannot be is repeated in the error.
                convert(given).map_err(|error| env.scrub_error(error))
            }
            Err(mut error) => {
                error.code = env.scrub(&error.code, TEXT_MAX);
                error.detail = env.scrub(&error.detail, TEXT_MAX);
                Err(convert::error(error))
            }
        }
    }
}

/// An answer that may have texts for people. Names and identities are none: with another text they
/// would be other ones.
pub(super) trait ForPeople {
    /// Takes the values of secrets out of its texts.
    fn scrub(&mut self, _: &Env) {}
}

macro_rules! no_texts {
    ($($answer:ty),* $(,)?) => {
        $(impl ForPeople for $answer {})*
    };
}

no_texts!(
    (),
    wit::Outcome,
    wit::Observation,
    exported::hypervisor::Listed,
    exported::changes::Batch,
    Vec<exported::metrics::Counters>,
    Vec<String>,
    exported::adopt::WildDomain,
    exported::console::Endpoint,
);

impl ForPeople for wit::JobStatus {
    fn scrub(&mut self, env: &Env) {
        match self {
            Self::Pending(progress) => progress.phase = env.scrub(&progress.phase, TEXT_MAX),
            Self::Done(_) => {}
        }
    }
}

impl ForPeople for wit::HostFacts {
    fn scrub(&mut self, env: &Env) {
        self.hypervisor = env.scrub(&self.hypervisor, TEXT_MAX);
        for note in &mut self.notes {
            *note = env.scrub(note, TEXT_MAX);
        }
    }
}

impl ForPeople for exported::transfer_inspect::FileLook {
    fn scrub(&mut self, env: &Env) {
        self.damage = self.damage.take().map(|damage| env.scrub(&damage, TEXT_MAX));
    }
}

impl ForPeople for exported::snapshot_rules::Verdict {
    fn scrub(&mut self, env: &Env) {
        self.refused = self.refused.take().map(|reason| env.scrub(&reason, TEXT_MAX));
    }
}
