//! The files and the host that a call is about and that its arguments do not name. The host of a
//! component lets it reach these, too, and no others.

use crate::arguments::{Arguments, Work};
use ostler_driver::{DiskSource, Related, TransferJob};
use ostler_model::{Call, DiskState, JobCall, Lane, NowCall};

impl Arguments<'_> {
    /// All of them. A file that is not known is left out: the driver then says what it misses.
    pub(crate) fn related(&self) -> Related {
        let mut related = Related::default();
        if matches!(self.effect.call, Call::Job(JobCall::Migrate)) {
            let other = self.record.other().map(|other| other.host);
            related.other = other.and_then(|host| self.directory.site(host));
        }
        let opens = self.opens_disks();
        if opens {
            let boot = &self.record.spec.boot;
            let booted = [&boot.kernel, &boot.initrd].into_iter().flatten();
            related
                .read
                .extend(booted.filter_map(|file| self.directory.named(self.effect.host, file)));
        }
        for disk in self.record.disks.iter().filter(|disk| opens || disk.adopted.is_some()) {
            self.disk_related(disk, opens, &mut related);
        }
        self.job_related(&mut related);
        related
    }

    /// Whether the call opens the disks of the VM, or starts its process anew. The arguments of such
    /// a call name one disk at most.
    fn opens_disks(&self) -> bool {
        matches!(
            self.effect.call,
            Call::Job(JobCall::CopyDisk | JobCall::SaveBack)
                | Call::Now(
                    NowCall::CreateSnapshot
                        | NowCall::RevertSnapshot
                        | NowCall::DeleteSnapshot
                        | NowCall::Reboot
                        | NowCall::Reset
                        | NowCall::Unpause
                )
        )
    }

    fn disk_related(&self, disk: &DiskState, opens: bool, related: &mut Related) {
        let host = self.effect.host;
        if disk.adopted.is_some() && self.effect.call.lane() == Lane::Hypervisor {
            let read_only = self.record.spec.disks.iter();
            let mut read_only = read_only.filter(|wanted| wanted.name == disk.name);
            let files = match read_only.next() {
                Some(wanted) if wanted.read_only => &mut related.read,
                Some(_) | None => &mut related.written,
            };
            files.extend(self.disk_file(disk, host));
        }
        match self.below(disk, host) {
            Ok(Some(layers)) => related.read.extend(layers.into_iter().map(|layer| layer.file)),
            Ok(None) => {
                related.unknown_below |= opens;
                // The image itself is known; only what it may stand on is not.
                let image = self.base(disk, host).ok().flatten();
                related.read.extend(image.map(|(file, _)| file));
            }
            Err(_) => {}
        }
    }

    /// The files of a long job. The calls that ask for it, or end it, have no arguments.
    fn job_related(&self, related: &mut Related) {
        let Call::Job(job) = self.effect.call else { return };
        let Ok(job) = self.job(job) else { return };
        match job.work {
            Work::Transfer(_, TransferJob::Prepare { target, source, .. }) => {
                related.made.push(target);
                if let DiskSource::Image { base, .. } = source {
                    related.read.push(base);
                }
            }
            Work::Transfer(_, TransferJob::Copy { to, base, .. }) => {
                related.made.push(to);
                related.read.extend(base);
            }
            Work::SaveBack(_, job) => {
                related.made.push(job.image);
                related.read.push(job.disk);
            }
            Work::CopyDisk { target, .. } => related.made.push(target),
            Work::Transfer(_, TransferJob::Delete { .. }) | Work::Migrate { .. } => {}
        }
    }
}
