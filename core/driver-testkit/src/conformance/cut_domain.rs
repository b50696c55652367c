//! The checks that stop a hypervisor driver at its calls to the host.

use super::cut_scene::{Effect, Scene, Subject, restored};
use super::cuts::{End, Play, each_cut, plain};
use super::hardware::hardware;
use super::stage::{Stage, broken};
use super::{Check, Trouble, Verdict, check};
use async_trait::async_trait;
use ostler_driver::CallControl;
use ostler_model::{DriverError, ErrorKind, Identity, Observation, Outcome, Power, VmUuid};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

/// Makes the check of one effect.
macro_rules! cut {
    ($name:literal, $effect:ident) => {{
        async fn run(stage: &Stage) -> Verdict {
            let play = Played { stage, effect: Effect::$effect, before: Mutex::default() };
            each_cut(&stage.cutting, &play).await
        }
        check!($name, RULE, run)
    }};
}

const RULE: &str = "an effect that is stopped at any call to the host and sent again ends as in one \
                    piece, happens at most once if it is an edge, and leaves nothing over";

/// Those of the mandatory interface.
pub(super) fn checks() -> Vec<Check<Stage>> {
    vec![
        cut!("deploy-cut", Deploy),
        cut!("press-cut", Press),
        cut!("destroy-cut", Destroy),
        cut!("remove-cut", Remove),
    ]
}

/// Those of the abilities.
pub(super) fn ability_checks() -> Vec<Check<Stage>> {
    vec![
        cut!("reboot-cut", Reboot),
        cut!("reset-cut", Reset),
        cut!("save-cut", Save),
        cut!("restore-cut", Restore),
        cut!("unpause-cut", Unpause),
        cut!("attach-disk-cut", AttachDisk),
        cut!("detach-disk-cut", DetachDisk),
        cut!("attach-nic-cut", AttachNic),
        cut!("detach-nic-cut", DetachNic),
        cut!("resize-cut", Resize),
        cut!("stamp-cut", Stamp),
        cut!("snapshot-cut", Snapshot),
        cut!("revert-cut", Revert),
        cut!("delete-snapshot-cut", DeleteSnapshot),
        cut!("migrate-cut", Migrate),
        cut!("copy-disk-cut", CopyDisk),
    ]
}

/// One effect on a stage.
struct Played<'a> {
    stage: &'a Stage,
    effect: Effect,
    /// The files that were there before the scene was made.
    before: Mutex<BTreeSet<String>>,
}

impl Played<'_> {
    fn is_edge(&self) -> bool {
        matches!(self.effect, Effect::Press | Effect::Reboot | Effect::Reset | Effect::Revert)
    }

    fn before(&self) -> BTreeSet<String> {
        self.before.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    async fn edges(&self, vm: VmUuid) -> u32 {
        self.stage.bench.edges(vm).await.unwrap_or(0)
    }

    /// The domain as the look shows it, without what differs between two runs.
    async fn domain(&self, end: &mut End, scene: &Scene, call: &CallControl) -> Verdict {
        let seen = self.stage.look(scene.vm).await?;
        let Observation::Present(domain) = seen else {
            end.fact("the domain", "absent");
            return Ok(());
        };
        // A guest that was pressed may switch itself off at any time.
        let power = domain.power.to_string();
        let power = if self.effect == Effect::Press { "there" } else { power.as_str() };
        let identity = match domain.identity {
            Some(found) if found.store == call.context.store => {
                format!("of generation {}", found.generation)
            }
            Some(_) => "of another store".to_owned(),
            None => "without an identity".to_owned(),
        };
        end.fact("the domain", format!("{power} and {identity}"));
        if self.is_edge() && domain.last_edge.as_ref() != Some(&call.context.key) {
            return broken(format!(
                "the domain's last edge is {:?}, not the one that was sent",
                domain.last_edge
            ));
        }
        Ok(())
    }

    /// The properties of the domain that a driver with more abilities tells.
    async fn details(&self, end: &mut End, scene: &Scene) -> Verdict {
        let (stage, vm) = (self.stage, scene.vm);
        let there = matches!(stage.look(vm).await?, Observation::Present(_));
        // A domain that goes back to a snapshot at most once may not have gone back at all.
        if there && self.effect != Effect::Revert {
            let found = hardware(stage, vm).await?;
            let told = found.map_or_else(|| "not told".to_owned(), |found| format!("{found:?}"));
            end.fact("its hardware", plain(&told));
        }
        if let Some(snapshots) = stage.driver.snapshots() {
            let list = || snapshots.list(&stage.site, vm);
            match stage.asked("list-snapshots", list).await? {
                Ok(names) => end.fact("the list of its snapshots", format!("{names:?}")),
                Err(error) => return broken(format!("list-snapshots answered: {error}")),
            }
        }
        Ok(())
    }

    /// How often the list of domains tells of the VM.
    async fn listed(&self, vm: VmUuid) -> Result<String, Trouble> {
        let stage = self.stage;
        match stage.asked("list", || stage.driver.list(&stage.site)).await? {
            Ok(listed) => {
                let of_it = listed.domains.iter().filter(|domain| domain.uuid == vm).count();
                let unreadable = listed.unreadable.iter().filter(|found| **found == vm).count();
                Ok(format!("{of_it} domains, and {unreadable} that cannot be read"))
            }
            Err(error) => broken(format!("list answered: {error}")),
        }
    }

    /// The things that lie elsewhere than in the domain here.
    async fn elsewhere(&self, end: &mut End, scene: &Scene) -> Verdict {
        match &scene.subject {
            Subject::Journey(journey) => {
                let seen = self.stage.look_at(&journey.to, scene.vm).await?;
                end.fact(
                    "the domain on the other host",
                    match seen {
                        Observation::Absent => "absent".to_owned(),
                        Observation::Present(found) => format!(
                            "{} of generation {:?}",
                            found.power,
                            found.identity.map(|identity| identity.generation.0)
                        ),
                    },
                );
                Ok(())
            }
            Subject::Copying(copying) => copying.there(self.stage, "that", true).await,
            Subject::Memory(file) if self.effect == Effect::Save => {
                restored(self.stage, scene.vm, 2, file).await
            }
            // A snapshot that is listed must be whole.
            Subject::Snapshot(one) if self.effect == Effect::Snapshot => {
                let (stage, part) = (self.stage, self.stage.snaps()?);
                let call = stage.call(scene.vm, 1);
                let revert = || part.revert(&stage.site, &call, one);
                stage.done("revert-snapshot to it", revert).await?;
                stage.power(scene.vm, "after revert-snapshot to it", Power::Running).await.map(drop)
            }
            _ => Ok(()),
        }
    }

    /// How often the guest felt an edge effect.
    async fn felt(&self, scene: &Scene, first: bool) -> Verdict {
        let Some(edges) = self.stage.bench.edges(scene.vm).await else { return Ok(()) };
        match edges.saturating_sub(scene.edges) {
            0 if first => broken("the guest has felt nothing of it"),
            0 | 1 => Ok(()),
            count => broken(format!("the guest has felt it {count} times")),
        }
    }

    async fn files(&self) -> BTreeMap<String, usize> {
        let before = self.before();
        let mut names = BTreeMap::new();
        for file in self.stage.bench.files().await {
            if !before.contains(&file) {
                *names.entry(plain(&file)).or_default() += 1;
            }
        }
        names
    }
}

#[async_trait]
impl Play for Played<'_> {
    type Scene = Scene;

    async fn begin(&self) -> Result<Scene, Trouble> {
        let files = self.stage.bench.files().await.into_iter().collect();
        *self.before.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = files;
        let mut scene = Scene::make(self.stage, self.effect).await?;
        scene.edges = self.edges(scene.vm).await;
        Ok(scene)
    }

    fn call(&self, scene: &Scene) -> CallControl {
        self.stage.call(scene.vm, scene.generation)
    }

    fn again(&self, call: &CallControl) -> CallControl {
        self.stage.again(call)
    }

    fn accepts(&self, error: &DriverError) -> bool {
        // The guest may have switched itself off.
        self.effect == Effect::Press && error.kind == ErrorKind::Gone
    }

    async fn send(
        &self,
        scene: &Scene,
        call: &CallControl,
    ) -> Result<Result<Outcome, DriverError>, Trouble> {
        let (stage, driver, site) = (self.stage, &self.stage.driver, &self.stage.site);
        let spec = stage.domain(scene.vm, scene.generation).await;
        let identity: Identity = spec.identity;
        match (self.effect, &scene.subject) {
            (Effect::Deploy, _) => stage.asked("deploy", || driver.deploy(site, call, &spec)).await,
            (Effect::Press, _) => {
                stage.asked("press-power", || driver.press_power(site, call)).await
            }
            (Effect::Destroy, _) => stage.asked("destroy", || driver.destroy(site, call)).await,
            (Effect::Remove, _) => stage.asked("remove", || driver.remove(site, call)).await,
            (Effect::Reboot, _) => {
                let part = stage.reboots()?;
                stage.asked("reboot", || part.reboot(site, call)).await
            }
            (Effect::Reset, _) => {
                let part = stage.reboots()?;
                stage.asked("reset", || part.reset(site, call)).await
            }
            (Effect::Save, Subject::Memory(file)) => {
                let part = stage.suspends()?;
                stage.asked("save", || part.save(site, call, file)).await
            }
            (Effect::Restore, Subject::Memory(file)) => {
                let part = stage.suspends()?;
                stage.asked("restore", || part.restore(site, call, &spec, file)).await
            }
            (Effect::Unpause, _) => {
                let part = stage.suspends()?;
                stage.asked("unpause", || part.unpause(site, call)).await
            }
            (Effect::Stamp, _) => {
                let part = stage.adopts()?;
                stage.asked("stamp", || part.stamp(site, call, &identity)).await
            }
            (effect, subject) => self.change(effect, subject, call).await,
        }
    }

    async fn halfway(&self, scene: &Scene, call: &CallControl) -> Verdict {
        let Ok(seen) = self
            .stage
            .asked("observe", || self.stage.driver.observe(&self.stage.site, scene.vm))
            .await?
        else {
            // The repeat must repair what cannot be told now.
            return Ok(());
        };
        let Observation::Present(domain) = seen else { return Ok(()) };
        let ours = domain.identity.is_some_and(|found| found.store == call.context.store);
        if domain.power == Power::Running && !ours {
            return broken("the domain runs, and does not carry the identity that it was given");
        }
        if let Subject::Journey(journey) = &scene.subject
            && domain.power == Power::Running
            && let Ok(Observation::Present(there)) =
                self.stage.driver.observe(&journey.to, scene.vm).await
            && there.power == Power::Running
        {
            return broken("the domain runs here and on the other host");
        }
        if self.is_edge() && domain.last_edge.as_ref() != Some(&call.context.key) {
            let felt = self.edges(scene.vm).await.saturating_sub(scene.edges);
            if felt > 0 {
                return broken("the guest has felt it, and its identity is not stamped yet");
            }
        }
        Ok(())
    }

    async fn end(&self, scene: &Scene, call: &CallControl, first: bool) -> Result<End, Trouble> {
        let mut end = End::default();
        if self.is_edge() {
            self.felt(scene, first).await?;
        }
        self.domain(&mut end, scene, call).await?;
        self.details(&mut end, scene).await?;
        if self.effect != Effect::Press {
            end.fact("what the list has of it", self.listed(scene.vm).await?);
        }
        end.files = self.files().await;
        self.elsewhere(&mut end, scene).await?;
        Ok(end)
    }

    async fn tidy(&self) {
        self.stage.tidy().await;
    }
}

impl Played<'_> {
    /// Sends an effect on the hardware of a domain, on its snapshots, or a job.
    async fn change(
        &self,
        effect: Effect,
        subject: &Subject,
        call: &CallControl,
    ) -> Result<Result<Outcome, DriverError>, Trouble> {
        let (stage, site) = (self.stage, &self.stage.site);
        match (effect, subject) {
            (Effect::AttachDisk, Subject::Disk(disk)) => {
                let part = stage.plugs()?;
                stage.asked("attach-disk", || part.attach_disk(site, call, disk)).await
            }
            (Effect::DetachDisk, Subject::Disk(disk)) => {
                let part = stage.plugs()?;
                stage.asked("detach-disk", || part.detach_disk(site, call, &disk.name)).await
            }
            (Effect::AttachNic, Subject::Nic(nic)) => {
                let part = stage.plugs()?;
                stage.asked("attach-nic", || part.attach_nic(site, call, nic)).await
            }
            (Effect::DetachNic, Subject::Nic(nic)) => {
                let part = stage.plugs()?;
                stage.asked("detach-nic", || part.detach_nic(site, call, &nic.mac)).await
            }
            (Effect::Resize, Subject::Spec(spec)) => {
                let (part, vcpus, memory) =
                    (stage.resizes()?, spec.vcpus_most, spec.memory_most_mib);
                stage.asked("resize", || part.resize(site, call, vcpus, memory)).await
            }
            (Effect::Snapshot, Subject::Snapshot(one)) => {
                let part = stage.snaps()?;
                stage.asked("create-snapshot", || part.create(site, call, one)).await
            }
            (Effect::Revert, Subject::Snapshot(one)) => {
                let part = stage.snaps()?;
                stage.asked("revert-snapshot", || part.revert(site, call, one)).await
            }
            (Effect::DeleteSnapshot, Subject::Snapshot(one)) => {
                let part = stage.snaps()?;
                stage.asked("delete-snapshot", || part.delete(site, call, one)).await
            }
            (_, Subject::Journey(journey)) => stage.migrate(call, journey).await,
            (_, Subject::Copying(copying)) => copying.copy(stage, call, &copying.disk).await,
            _ => broken("the check has no subject for this effect"),
        }
    }
}
