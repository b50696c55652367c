//! Decides how a domain moves to another host. No IO.
//!
//! A domain is one file, and it moves by one rename from the folder of one host to that of the
//! other. Before that, the file gets a journey: the target folder, and the domain as it will be
//! there. A read in the old folder shows the domain as it was. A read in the target folder shows it
//! as arrived. So the domain never runs twice, and after a call that died it is in one of the two
//! folders.

use crate::domain::{Domain, ours, running};
use crate::parts::Journey;
use ostler_sdk::{Error, Power};

impl Domain {
    /// The domain as a read in that folder shows it.
    pub(crate) fn within(mut self, folder: &str) -> Self {
        if let Some(journey) = self.journey.take_if(|journey| journey.folder == folder) {
            (self.generation, self.name, self.machine) =
                (journey.generation, journey.name, journey.machine);
        }
        self
    }
}

/// The next thing to do about a journey.
#[derive(Debug, PartialEq)]
pub(crate) enum Way {
    /// The domain is at the target.
    Arrived(Domain),
    /// The domain is on its way.
    Going(Domain),
    /// The domain sets out. It must be written.
    SetsOut(Domain),
}

/// Decides about a journey from the domain in this host's folder (`here`) and in the target folder
/// (`there`).
pub(crate) fn set_out(
    here: Option<Domain>,
    there: Option<Domain>,
    store: &String,
    journey: Journey,
) -> Result<Way, Error> {
    ours(there.as_ref(), store)?;
    ours(here.as_ref(), store)?;
    match there {
        Some(domain) if domain.generation > journey.generation => {
            return Err(Error::stale(domain.generation, journey.generation));
        }
        Some(domain)
            if here.is_none()
                && domain.generation == journey.generation
                && !domain.is(Power::Off) =>
        {
            return Ok(Way::Arrived(domain));
        }
        Some(domain) if !domain.is(Power::Off) => {
            return Err(Error::refused(
                "in-the-way",
                format!("the domain is on host {} too, {}", journey.host, domain.power),
            ));
        }
        Some(_) | None => {}
    }
    let mut domain = running(here)?;
    match &domain.journey {
        Some(under_way) if under_way.effect == journey.effect => Ok(Way::Going(domain)),
        Some(under_way) => Err(Error::retry(
            "busy",
            format!("it is on its way to host {} for another step", under_way.host),
        )),
        None => {
            domain.journey = Some(journey);
            Ok(Way::SetsOut(domain))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::tests::{id, put, spec};
    use crate::domain::{deploy, destroy};
    use ostler_sdk::ErrorKind;

    fn domain() -> Domain {
        put(deploy(None, &spec(1), 5, None).expect("deployed"))
    }

    fn journey(step: u64) -> Journey {
        Journey::new(&id(step), &spec(2), "b".into(), "folder-b".into())
    }

    fn store() -> String {
        "s".into()
    }

    fn under_way() -> Domain {
        match set_out(Some(domain()), None, &store(), journey(1)) {
            Ok(Way::SetsOut(domain)) => domain,
            other => panic!("it did not set out: {other:?}"),
        }
    }

    #[test]
    fn the_same_file_is_here_before_the_rename_and_there_after_it() {
        let file = under_way();
        let (here, there) = (file.clone().within("folder-a"), file.within("folder-b"));
        assert_eq!((here.generation, here.journey.is_some(), here.runs()), (1, true, true));
        assert_eq!((there.generation, there.journey.is_some(), there.runs()), (2, false, true));
        assert_eq!(
            set_out(None, Some(there.clone()), &store(), journey(1)).expect("arrived"),
            Way::Arrived(there)
        );
    }

    #[test]
    fn one_journey_at_a_time() {
        let file = under_way();
        assert_eq!(
            set_out(Some(file.clone()), None, &store(), journey(1)).expect("attached"),
            Way::Going(file.clone())
        );
        assert_eq!(
            set_out(Some(file.clone()), None, &store(), journey(2)).expect_err("another").kind,
            ErrorKind::Retry
        );
        assert!(put(destroy(Some(file))).journey.is_none(), "what is off goes nowhere");
    }

    #[test]
    fn what_is_there_is_never_run_over() {
        let there = |generation| put(deploy(None, &spec(generation), 5, None).expect("deployed"));
        let out = |there| {
            set_out(Some(domain()), Some(there), &store(), journey(1)).expect_err("in the way")
        };
        assert_eq!(out(there(2)).code, "in-the-way");
        assert_eq!(out(there(9)).kind, ErrorKind::Stale);
        let off = put(destroy(Some(there(1))));
        assert!(matches!(
            set_out(Some(domain()), Some(off.clone()), &store(), journey(1)),
            Ok(Way::SetsOut(_))
        ));
        assert_eq!(out(Domain { store: None, ..off }).code, "foreign");
        assert_eq!(
            set_out(None, None, &store(), journey(1)).expect_err("none").kind,
            ErrorKind::Gone
        );
    }

    #[test]
    fn a_slow_journey_tells_how_far_it_is() {
        let slow = journey(1).taking(100, 50);
        assert_eq!(
            slow.progress(120).map(|progress| (progress.done, progress.total)),
            Some((20, 50))
        );
        assert!(slow.progress(150).is_none());
        assert!(journey(1).progress(0).is_none());
    }
}
