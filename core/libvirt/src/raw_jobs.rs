//! Functions that only `virt-sys` has, for jobs that last: migration, block jobs, and their
//! progress.

use crate::raw::read_param;
use std::ffi::{CStr, CString, c_int};
use virt::domain::Domain;
use virt::error::Error;
use virt_sys as sys;

/// A job at work on a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct JobSeen {
    /// One of `VIR_DOMAIN_JOB_OPERATION_*`.
    pub(crate) operation: u32,
    /// The bytes to send in all; 0 if not known yet.
    pub(crate) total: u64,
    /// The bytes that are still to be sent.
    pub(crate) remaining: u64,
}

/// Typed parameters, in libvirt's own memory.
struct Params {
    list: sys::virTypedParameterPtr,
    count: c_int,
    room: c_int,
}

impl Drop for Params {
    fn drop(&mut self) {
        // SAFETY: the list is libvirt's, or null, and is freed once.
        unsafe { sys::virTypedParamsFree(self.list, self.count) };
    }
}

impl Params {
    const fn new() -> Self {
        Self { list: std::ptr::null_mut(), count: 0, room: 0 }
    }

    fn add(&mut self, name: &CStr, value: &CStr) -> Result<(), Error> {
        // SAFETY: the three places are ours and belong together; libvirt copies both texts.
        let added = unsafe {
            sys::virTypedParamsAddString(
                &raw mut self.list,
                &raw mut self.count,
                &raw mut self.room,
                name.as_ptr(),
                value.as_ptr(),
            )
        };
        if added < 0 { Err(Error::last_error()) } else { Ok(()) }
    }

    fn as_slice(&self) -> &[sys::virTypedParameter] {
        match usize::try_from(self.count) {
            // SAFETY: `count` parameters stand there as long as we do.
            Ok(count) if !self.list.is_null() => unsafe {
                std::slice::from_raw_parts(self.list, count)
            },
            _ => &[],
        }
    }
}

/// The job at work on the domain; none if there is none. We do not use the `virt` crate's own
/// function: it reads the answer "none" as a list, which is then no valid one.
pub(crate) fn job(domain: &Domain) -> Result<Option<JobSeen>, Error> {
    let mut kind: c_int = 0;
    let mut params = Params::new();
    // SAFETY: the domain is live and the places for the answer are ours.
    let asked = unsafe {
        sys::virDomainGetJobStats(
            domain.as_ptr(),
            &raw mut kind,
            &raw mut params.list,
            &raw mut params.count,
            0,
        )
    };
    if asked < 0 {
        return Err(Error::last_error());
    }
    if u32::try_from(kind) == Ok(sys::VIR_DOMAIN_JOB_NONE) {
        return Ok(None);
    }
    let mut seen = JobSeen::default();
    for (name, value) in params.as_slice().iter().filter_map(read_param) {
        let is = |text: &CStr| text.to_bytes() == name.as_bytes();
        if is(sys::VIR_DOMAIN_JOB_OPERATION) {
            seen.operation = u32::try_from(value).unwrap_or(0);
        } else if is(sys::VIR_DOMAIN_JOB_DATA_TOTAL) {
            seen.total = value;
        } else if is(sys::VIR_DOMAIN_JOB_DATA_REMAINING) {
            seen.remaining = value;
        }
    }
    Ok(Some(seen))
}

/// Tells the domain's daemon to move it to the daemon at `uri`. Blocks until the daemon has moved
/// it or has given up.
pub(crate) fn migrate(
    domain: &Domain,
    uri: &CStr,
    texts: &[(&CStr, CString)],
    flags: u32,
) -> Result<(), Error> {
    let mut params = Params::new();
    for (name, value) in texts {
        params.add(name, value)?;
    }
    let count = u32::try_from(params.count).unwrap_or(0);
    // SAFETY: the domain is live, the address a C string, the parameters are ours and live until
    // the end of this function.
    let done = unsafe {
        sys::virDomainMigrateToURI3(domain.as_ptr(), uri.as_ptr(), params.list, count, flags)
    };
    if done < 0 { Err(Error::last_error()) } else { Ok(()) }
}

/// Begins to mirror a disk to the file that `xml` describes.
pub(crate) fn block_copy(
    domain: &Domain,
    disk: &CStr,
    xml: &CStr,
    flags: u32,
) -> Result<(), Error> {
    // SAFETY: the domain is live, both texts are C strings; there are no parameters.
    let begun = unsafe {
        sys::virDomainBlockCopy(
            domain.as_ptr(),
            disk.as_ptr(),
            xml.as_ptr(),
            std::ptr::null_mut(),
            0,
            flags,
        )
    };
    if begun < 0 { Err(Error::last_error()) } else { Ok(()) }
}

/// Ends the job at work on a disk, and waits until it has ended. A mirror that is complete stays as
/// it is at that moment.
pub(crate) fn end_block_job(domain: &Domain, disk: &CStr) -> Result<(), Error> {
    // SAFETY: the domain is live, the text is a C string.
    let ended = unsafe { sys::virDomainBlockJobAbort(domain.as_ptr(), disk.as_ptr(), 0) };
    if ended < 0 { Err(Error::last_error()) } else { Ok(()) }
}

/// Bytes done and bytes in all, of the job at work on a disk.
pub(crate) fn block_job(domain: &Domain, disk: &CStr) -> Result<Option<(u64, u64)>, Error> {
    let mut info = sys::virDomainBlockJobInfo { type_: 0, bandwidth: 0, cur: 0, end: 0 };
    // SAFETY: the domain is live, the text is a C string, the place for the answer is ours.
    let asked =
        unsafe { sys::virDomainGetBlockJobInfo(domain.as_ptr(), disk.as_ptr(), &raw mut info, 0) };
    match asked {
        0 => Ok(None),
        1.. => Ok(Some((info.cur, info.end))),
        _ => Err(Error::last_error()),
    }
}
