//! One call of a component, before it is made.

use super::Component;
use crate::epoch::Charge;
use crate::own_files::{self, About, Known, OwnFiles};
use ostler_driver::{CallControl, Site};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One call, before it is made.
pub(super) struct Request<'a> {
    pub(super) name: &'static str,
    pub(super) site: Option<&'a Site>,
    pub(super) control: Option<&'a CallControl>,
    /// The things that its arguments name.
    pub(super) about: Vec<About<'a>>,
    /// Whether it waits for changes, and does nothing else.
    pub(super) waits: bool,
    pub(super) until: Instant,
}

impl<'a> Request<'a> {
    /// A call that changes something, with its effect key and deadline.
    pub(super) fn act(
        name: &'static str,
        site: &'a Site,
        control: &'a CallControl,
        about: Vec<About<'a>>,
    ) -> Self {
        let (site, until) = (Some(site), control.until);
        Self { name, site, control: Some(control), about, waits: false, until }
    }

    /// A question that must be answered within `patience`.
    pub(super) fn ask(name: &'static str, site: Option<&'a Site>, patience: Duration) -> Self {
        let (about, until) = (Vec::new(), Instant::now() + patience);
        Self { name, site, control: None, about, waits: false, until }
    }

    /// The same question about something.
    pub(super) fn about(self, about: Vec<About<'a>>) -> Self {
        Self { about, ..self }
    }

    /// The same as a call that waits for changes, and does nothing else.
    pub(super) fn that_waits(self) -> Self {
        Self { waits: true, ..self }
    }
}

impl Component {
    /// The files that a call may reach.
    pub(super) fn own_files(
        &self,
        site: Option<&Site>,
        control: Option<&CallControl>,
        about: &[About<'_>],
    ) -> OwnFiles {
        let side = &self.0.side;
        let known = Known {
            whole: side.grants.parts("files").map(str::to_owned).collect(),
            records: &|site| side.records(site),
            host_name: &|host| side.services.sites.host_name(host),
        };
        own_files::of_call(&known, site, control, about)
    }

    /// The epoch that hosts compare before they change something for a call.
    pub(super) fn charge(
        &self,
        site: Option<&Site>,
        control: Option<&CallControl>,
    ) -> Option<Arc<Charge>> {
        let services = &self.0.side.services;
        let (folder, context) = (services.epochs.clone()?, &control?.context);
        let held = Charge::new(context, &site?.name, folder, Arc::clone(&services.unkept));
        held.map(Arc::new)
    }
}
