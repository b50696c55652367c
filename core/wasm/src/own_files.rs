//! The files that a call is about: its own files. A driver reaches no others, neither by `files`,
//! nor by the path of a command or of a socket. Commands on this machine are also held to them by
//! the kernel.
//!
//! This is the one place where they are computed. They are:
//! - the folder that the driver keeps its own records in (of all its calls for the host);
//! - the folder of the VM that the call is for, in every datastore;
//! - the files that the arguments of the call name, and those that the engine names beside them.
//!
//! A question changes nothing, so it only reads. An operator can grant whole datastores.

use crate::confine::OwnRoot;
use crate::files::Way;
use ostler_driver::{
    CallControl, DiskSource, DomainDisk, DomainSpec, FileRef, SaveBackJob, Site, TransferJob,
};
use ostler_model::{HostId, HostName, RelPath, VmUuid};

/// The folders at the root of a datastore that hold the folders of VMs. The conformance suite has
/// them at the root itself.
pub(crate) const TOPS: [&str; 2] = ["vms", "home"];
/// How the name of a temporary file goes on after that of the file that it becomes.
const DRAFTS: [&str; 3] = [".new-", ".part", ".tmp"];

/// A thing that a call is about, as its arguments name it.
#[derive(Clone, Copy)]
pub(crate) enum About<'a> {
    /// The VM, in a question.
    Vm(VmUuid),
    /// The files of a domain.
    Domain(&'a DomainSpec),
    /// The files of a disk.
    Disk(&'a DomainDisk),
    /// A file that is read.
    Read(&'a FileRef),
    /// A file that is made, under a temporary name beside it at first.
    Made(&'a FileRef),
    /// The job of a transfer driver.
    Job(&'a TransferJob),
    /// The job of making an image.
    SaveBack(&'a SaveBackJob),
    /// The other host of a migration.
    Other(&'a Site),
}

/// The reason for which a driver wants a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// To know what it is: also a folder above a file of the call.
    Stat,
    /// To read it, or to name it to a program.
    Read,
    /// To change it.
    Write,
    /// To make it as a folder: also a folder above a file that the call writes.
    Make,
}

/// A file or a folder of the call, with all that is below.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Own {
    datastore: String,
    path: RelPath,
    writes: bool,
    /// Whether temporary files beside it belong to it.
    drafts: bool,
}

impl Own {
    fn of(file: &FileRef, writes: bool, drafts: bool) -> Self {
        Self { datastore: file.datastore.to_string(), path: file.path.clone(), writes, drafts }
    }

    /// How `path` is resolved if it is this one or below, or a temporary file beside.
    fn way(&self, path: &RelPath, wanted: Wanted) -> Option<Way> {
        let writes = matches!(wanted, Wanted::Write | Wanted::Make);
        if writes && !self.writes {
            return None;
        }
        let (own, asked) = (self.path.as_str(), path.as_str());
        let rest = asked.strip_prefix(own)?;
        if let Some(rest) = rest.strip_prefix('/') {
            let rest = rest.parse().ok()?;
            return Some(Way::Below { folder: self.path.clone(), rest });
        }
        let draft = |rest: &str| {
            self.drafts && !rest.contains('/') && DRAFTS.iter().any(|draft| rest.starts_with(draft))
        };
        if !rest.is_empty() && !draft(rest) {
            return None;
        }
        // Files that the call only reads were named by an operator or by Ostler, and may be links.
        Some(if self.writes { Way::Itself(path.clone()) } else { Way::Free(path.clone()) })
    }

    /// Whether `path` is a folder above it.
    fn is_below(&self, path: &RelPath) -> bool {
        let rest = self.path.as_str().strip_prefix(path.as_str());
        rest.is_some_and(|rest| rest.starts_with('/'))
    }
}

/// The own files of a call.
#[derive(Debug, Clone, Default)]
pub(crate) struct OwnFiles {
    /// Datastores that the operator has granted as a whole.
    whole: Vec<String>,
    /// The VM whose folders they are.
    vm: Option<VmUuid>,
    /// Whether the call may change nothing.
    looks: bool,
    here: Vec<Own>,
    /// Files on other hosts, which may be fetched.
    there: Vec<(HostName, Own)>,
    /// Whether files are below the disks that nobody knows: then programs may read all datastores.
    unknown_below: bool,
    /// Whether the call opens such disks: then the driver may read all datastores, too.
    opens_unknown: bool,
}

/// The facts of a driver that are needed to compute the own files of its calls.
pub(crate) struct Known<'a> {
    /// The datastores that are granted as a whole.
    pub(crate) whole: Vec<String>,
    /// The datastore and the folder of the driver's own records for a host.
    pub(crate) records: &'a dyn Fn(&Site) -> Option<(String, RelPath)>,
    /// The name of a host.
    pub(crate) host_name: &'a dyn Fn(HostId) -> Option<HostName>,
}

impl Known<'_> {
    fn records(&self, site: &Site, writes: bool) -> Option<Own> {
        let (datastore, path) = (self.records)(site)?;
        Some(Own { datastore, path, writes, drafts: false })
    }

    fn name(&self, site: &Site, host: HostId) -> Option<HostName> {
        if host == site.id { Some(site.name.clone()) } else { (self.host_name)(host) }
    }
}

/// The own files of a call for `site`. None of them if it is for no host.
pub(crate) fn of_call(
    known: &Known<'_>,
    site: Option<&Site>,
    control: Option<&CallControl>,
    about: &[About<'_>],
) -> OwnFiles {
    let mut own = OwnFiles { looks: control.is_none(), ..OwnFiles::default() };
    let Some(site) = site else { return own };
    own.whole.clone_from(&known.whole);
    own.here.extend(known.records(site, !own.looks));
    if let Some(control) = control {
        let related = &control.related;
        own.vm = Some(control.context.key.vm);
        own.here.extend(related.written.iter().map(|file| Own::of(file, true, false)));
        own.here.extend(related.read.iter().map(|file| Own::of(file, false, false)));
        own.here.extend(related.made.iter().map(|file| Own::of(file, true, true)));
        own.unknown_below = related.unknown_below;
        own.opens_unknown = related.unknown_below;
        if let Some(other) = &related.other {
            own.migrates(known, other);
        }
    }
    for about in about {
        own.add(known, site, *about);
    }
    own
}

impl OwnFiles {
    fn migrates(&mut self, known: &Known<'_>, other: &Site) {
        if let Some(records) = known.records(other, true) {
            self.here.push(records.clone());
            self.there.push((other.name.clone(), Own { writes: false, ..records }));
        }
    }

    fn add(&mut self, known: &Known<'_>, site: &Site, about: About<'_>) {
        match about {
            About::Vm(vm) => self.vm = Some(vm),
            About::Domain(domain) => {
                let booted = domain.kernel.iter().chain(&domain.initrd);
                self.here.extend(booted.map(|file| Own::of(file, false, false)));
                self.here.push(Own::of(&domain.console_log, true, false));
                domain.disks.iter().for_each(|disk| self.disk(disk));
            }
            About::Disk(disk) => self.disk(disk),
            About::Read(file) => self.here.push(Own::of(file, false, false)),
            About::Made(file) => self.here.push(Own::of(file, true, true)),
            About::Job(job) => self.job(known, site, job),
            About::SaveBack(job) => {
                self.here.push(Own::of(&job.disk, false, false));
                self.here.push(Own::of(&job.image, true, true));
            }
            About::Other(other) => self.migrates(known, other),
        }
    }

    fn disk(&mut self, disk: &DomainDisk) {
        self.here.push(Own::of(&disk.file, !disk.read_only, false));
        match &disk.below {
            Some(layers) => {
                self.here.extend(layers.iter().map(|layer| Own::of(&layer.file, false, false)));
            }
            None => self.unknown_below = true,
        }
    }

    fn job(&mut self, known: &Known<'_>, site: &Site, job: &TransferJob) {
        match job {
            TransferJob::Prepare { target, source, .. } => {
                self.here.push(Own::of(target, true, true));
                if let DiskSource::Image { base, .. } = source {
                    self.here.push(Own::of(base, false, false));
                }
            }
            TransferJob::Copy { from, to, base, .. } => {
                let source = Own::of(from, false, false);
                match known.name(site, from.host) {
                    Some(name) if name != site.name => self.there.push((name, source)),
                    Some(_) | None => self.here.push(source),
                }
                self.here.push(Own::of(to, true, true));
                self.here.extend(base.iter().map(|base| Own::of(base, false, false)));
            }
            TransferJob::Delete { target } => self.here.push(Own::of(target, true, false)),
        }
    }

    /// How a file of the call's host is resolved. None if the call is not about it.
    pub(crate) fn here(&self, datastore: &str, path: &RelPath, wanted: Wanted) -> Option<Way> {
        if self.whole.iter().any(|whole| whole == datastore) {
            return Some(Way::Free(path.clone()));
        }
        let of_vm = self.of_vm(datastore, path);
        let own = self.here.iter().chain(&of_vm).filter(|own| own.datastore == datastore);
        // The outermost one: a driver can have made what is below it, and may make links there.
        let ways =
            own.clone().filter_map(|own| Some((own.path.as_str().len(), own.way(path, wanted)?)));
        let found = ways.min_by_key(|(length, _)| *length).map(|(_, way)| way);
        let above = |own: &&Own| match wanted {
            Wanted::Stat => own.is_below(path),
            Wanted::Make => own.writes && own.is_below(path),
            Wanted::Read | Wanted::Write => false,
        };
        // Nobody knows which files are below the disks, so any of the datastores may be read.
        let below = self.opens_unknown && matches!(wanted, Wanted::Stat | Wanted::Read);
        found.or_else(|| {
            (below || own.clone().any(|own| above(&own))).then(|| Way::Free(path.clone()))
        })
    }

    /// How a file of another host is resolved. None if the call does not fetch it.
    pub(crate) fn there(&self, host: &HostName, datastore: &str, path: &RelPath) -> Option<Way> {
        if self.whole.iter().any(|whole| whole == datastore) {
            return Some(Way::Free(path.clone()));
        }
        let own =
            self.there.iter().filter(|(name, own)| name == host && own.datastore == datastore);
        own.filter_map(|(_, own)| own.way(path, Wanted::Read)).next()
    }

    /// The folder of the VM that `path` is in, if it is in one.
    fn of_vm(&self, datastore: &str, path: &RelPath) -> Option<Own> {
        let vm = self.vm?.to_string();
        let (first, rest) = path.as_str().split_once('/').unwrap_or((path.as_str(), ""));
        let folder = if first == vm {
            vm
        } else if TOPS.contains(&first) && rest.split('/').next() == Some(&vm) {
            format!("{first}/{vm}")
        } else {
            return None;
        };
        let (datastore, path) = (datastore.to_owned(), folder.parse().ok()?);
        Some(Own { datastore, path, writes: !self.looks, drafts: false })
    }

    /// The same for the kernel: what a command on this machine may reach of the datastores.
    pub(crate) fn roots(&self, site: &Site) -> Vec<OwnRoot> {
        let mut roots = Vec::new();
        for (name, root) in &site.roots {
            let name = name.as_str();
            let mut add = |path: Option<&str>, writes: bool| {
                let path = path.map(str::to_owned);
                roots.push(OwnRoot { root: root.clone(), path, writes });
            };
            if self.whole.iter().any(|whole| whole == name) {
                add(None, true);
                continue;
            }
            if self.unknown_below {
                add(None, false);
            }
            for own in self.here.iter().filter(|own| own.datastore == name) {
                let path = own.path.as_str();
                add(Some(path), own.writes);
                if own.drafts {
                    // A file can be made only where its folder may be written.
                    add(path.rsplit_once('/').map(|(folder, _)| folder), true);
                }
            }
            if let Some(vm) = &self.vm {
                add(Some(&vm.to_string()), !self.looks);
                TOPS.iter().for_each(|top| add(Some(&format!("{top}/{vm}")), !self.looks));
            }
        }
        roots
    }
}

#[cfg(test)]
#[path = "own_files_tests.rs"]
mod tests;
