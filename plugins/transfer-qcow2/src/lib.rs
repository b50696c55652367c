//! Disks as files in directories: qcow2 overlays on images, blank and swap disks, copies between
//! hosts, images made from disks.
//!
//! Every file is made under a temporary name that derives from the effect, verified, and then
//! renamed. So a file under its final name is complete. If it is not as asked, somebody else made
//! it, and it is replaced. A call that dies leaves at most its temporary file. A repeat of the call
//! replaces that file, and the removal of the VM's folder removes it.
//!
//! A call waits for its work: `begin` reports progress, ends when it is cancelled, and answers
//! `done`. `poll` knows no jobs. A conversion is a command job: it goes on when the daemon is started
//! anew, and the same call, sent again, finds it. `abort` ends it: `begin` itself has ended already.

mod copy;
mod image;
mod inspect;
mod larger;
mod look;
mod prepare;
mod tools;

use ostler_sdk::host::files;
use ostler_sdk::{
    Call, Error, FileLook, FileRef, Job, JobStatus, LargerJob, Outcome, SaveBackJob, Transfer,
    TransferImages, TransferInspect, TransferLarger,
};

/// The driver.
pub struct Qcow2;

ostler_sdk::export!(
    Qcow2: Transfer + TransferImages + TransferLarger + TransferInspect;
    manifest = "manifest.toml"
);

impl Transfer for Qcow2 {
    fn begin(call: &Call, job: Job) -> Result<JobStatus, Error> {
        match job {
            Job::Prepare(job) => prepare::prepare(call, &job)?,
            Job::Copy(job) => copy::copy(call, &job)?,
            Job::Delete(target) => files::remove(&target.place())?,
        }
        Ok(JobStatus::Done(Outcome::done()))
    }

    fn abort(_: &Call) -> Result<(), Error> {
        tools::stop_converting()
    }
}

impl TransferImages for Qcow2 {
    fn begin_save_back(call: &Call, job: SaveBackJob) -> Result<JobStatus, Error> {
        image::save_back(call, &job)?;
        Ok(JobStatus::Done(Outcome::done()))
    }
}

impl TransferLarger for Qcow2 {
    fn begin_larger(call: &Call, job: LargerJob) -> Result<JobStatus, Error> {
        larger::prepare(call, &job)?;
        Ok(JobStatus::Done(Outcome::done()))
    }
}

impl TransferInspect for Qcow2 {
    fn inspect(file: FileRef) -> Result<FileLook, Error> {
        inspect::inspect(&file)
    }
}
