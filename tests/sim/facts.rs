//! The facts that a decision of the simulated daemon may know beside the record. Mirrors
//! `ostler_engine::facts`.

use crate::run::Sim;
use crate::shell::driver;
use ostler_lifecycle::{Candidate, Facts, Look, wants_advice};
use ostler_model::{Args, DatastoreId, Image, ImageState, Request, Storage, Verb, VmRecord};

impl Sim {
    /// The facts for the decision about a request.
    pub(crate) fn facts(
        &mut self,
        record: &VmRecord,
        asked: &Request,
        look: Option<Look>,
    ) -> Facts {
        let mut facts = Facts { look, ..self.bare(record) };
        facts.abilities = record.placement.as_ref().map(|place| Self::abilities(place.host));
        if asked.verb == Verb::Deploy || asked.verb.is_migration() {
            facts.target =
                asked.host.filter(|host| self.world.hosts.contains_key(host)).map(|host| {
                    Candidate {
                        host,
                        driver: Some(driver()),
                        storage: Some(Self::system_storage(record)),
                        twin: None,
                        near: Vec::new(),
                        interfaces: None,
                    }
                });
            facts.target_abilities = asked.host.map(Self::abilities);
        }
        if wants_advice(record, asked.verb) {
            facts.advice = Self::rules(record, asked.verb);
        }
        match &asked.args {
            Args::NewDisk { source: ostler_model::DiskSource::Image { image }, .. } => {
                facts.image =
                    self.store.rows.images.values().find(|known| known.name == *image).cloned();
            }
            Args::NewImage { image, .. } => {
                self.next_image += 1;
                let new = Image {
                    id: ostler_model::ImageId(self.next_image),
                    name: image.clone(),
                    datastore: DatastoreId(9),
                    path: "image".parse().expect("a path"),
                    format: ostler_model::DiskFormat::Qcow2,
                    state: ImageState::Locked,
                    virtual_size: None,
                    stands_alone: true,
                    added: self.now,
                };
                facts.new_image = Some((new, driver()));
            }
            _ => {}
        }
        facts
    }

    /// Some VMs are on shared storage, others on their host's. A VM that is made anew may change
    /// between both.
    fn system_storage(record: &VmRecord) -> Storage {
        let shared = (record.id.0 + record.issued.0).is_multiple_of(2);
        Storage { datastore: DatastoreId(if shared { 1 } else { 2 }), driver: driver(), shared }
    }
}
