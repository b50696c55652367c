//! Saving the memory of a domain, and restoring it.

use super::{Kvm, STOP_PAUSE, bridges_of};
use crate::bridge;
use crate::calls;
use crate::domain_ops;
use crate::folder::Folder;
use crate::link::Link;
use crate::live::Live;
use crate::memory;
use async_trait::async_trait;
use ostler_driver::{CallControl, DomainSpec, FileRef, Site, Suspend};
use ostler_model::CallResult;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The part of a save's time that is kept for stopping it.
const STOP_SAVE: Duration = Duration::from_secs(5);
/// The pause between two looks at a save that an earlier sending began.
const SAVE_PAUSE: Duration = Duration::from_millis(200);

impl Kvm {
    /// Saves, or waits for an earlier sending of the same save that is still at work. A call that
    /// was told to stop saves nothing and only finds out the result of an earlier sending. It
    /// checks for that in the lane, because it may have waited long for the lane.
    pub(super) async fn save_to(
        &self,
        link: &Link,
        call: &CallControl,
        file: &FileRef,
        folder: Folder,
        stopping: &Arc<AtomicBool>,
    ) -> CallResult {
        let mut at_work = false;
        loop {
            let (order, file, folder, stopping) =
                (self.order(call), file.clone(), folder.clone(), Arc::clone(stopping));
            let found_out = at_work || stopping.load(Ordering::Acquire);
            let cancel = call.cancel.clone();
            let deed = move |live: &Live| {
                if stopping.load(Ordering::Acquire) || cancel.is_cancelled() {
                    return memory::save_stopped(live, &order, &file);
                }
                folder.make().and_then(|()| memory::save(live, &order, &file))
            };
            // `change` would answer a stopped call with "nothing was sent". That would be wrong
            // about a save that is at work already.
            let saved = if found_out {
                calls::change_anyway(link, call, deed).await
            } else {
                calls::change(link, call, deed).await
            };
            match saved {
                Err(error) if error.code == memory::AT_WORK => tokio::time::sleep(SAVE_PAUSE).await,
                done => return done,
            }
            at_work = true;
        }
    }

    /// Stops a save, again and again: a stop that comes before libvirt has begun the save has no
    /// effect.
    async fn stop_save(&self, link: &Link, call: &CallControl) -> Infallible {
        loop {
            let order = self.order(call);
            if let Err(error) = self.ask(link, move |live| memory::abort_save(live, &order)).await {
                tracing::warn!(
                    key = %call.context.key,
                    %error,
                    "a save that was told to stop could not be stopped"
                );
            }
            tokio::time::sleep(STOP_PAUSE).await;
        }
    }
}

#[async_trait]
impl Suspend for Kvm {
    async fn save(&self, site: &Site, call: &CallControl, file: &FileRef) -> CallResult {
        let (link, _) = self.link(site)?;
        // An adopted domain has no folder of its own yet.
        let folder = Folder::of(site, &file.absolute);
        let stopping = Arc::new(AtomicBool::new(false));
        let saving = self.save_to(&link, call, file, folder, &stopping);
        tokio::pin!(saving);
        let left = call.until.saturating_duration_since(Instant::now());
        tokio::select! {
            done = &mut saving => return done,
            () = call.cancel.cancelled() => {}
            // The time is nearly over. A save that nobody waits for would switch the guest off, and
            // nobody would be told.
            () = tokio::time::sleep(left.saturating_sub(STOP_SAVE.min(left / 4))) => {}
        }
        stopping.store(true, Ordering::Release);
        // Writing takes minutes and can be stopped. libvirt then lets the guest run on, and the
        // save answers "aborted".
        tokio::select! {
            done = &mut saving => done,
            never = self.stop_save(&link, call) => match never {},
        }
    }

    async fn restore(
        &self,
        site: &Site,
        call: &CallControl,
        domain: &DomainSpec,
        file: &FileRef,
    ) -> CallResult {
        let (link, _) = self.link(site)?;
        let bridges = bridges_of(domain);
        let (order, domain, file) = (self.order_for(call, domain)?, domain.clone(), file.clone());
        let restored =
            calls::change(&link, call, move |live| memory::restore(live, &order, &domain, &file))
                .await;
        restored.map_err(|error| bridge::told(error, site, bridges.iter().map(String::as_str)))
    }

    async fn unpause(&self, site: &Site, call: &CallControl) -> CallResult {
        let (link, _) = self.link(site)?;
        let order = self.order(call);
        calls::change(&link, call, move |live| domain_ops::unpause(live, &order)).await
    }
}
