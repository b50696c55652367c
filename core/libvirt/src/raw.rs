//! Functions that only `virt-sys` has: events, the close callback, save, abort, statistics. All
//! `unsafe` of the crate is here and in `raw_jobs`.

use crate::feed::Feed;
use crate::pulse::Pulse;
use ostler_model::VmUuid;
use std::ffi::{CStr, CString, c_int, c_void};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use uuid::Uuid;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::Error;
use virt_sys as sys;

/// How long the event thread waits after libvirt's loop failed, so that a lasting failure does not
/// use up a processor.
const LOOP_PAUSE: Duration = Duration::from_millis(100);

/// Starts libvirt's event loop in a thread of its own, once per process. Must be called before the
/// first connection is opened.
pub(crate) fn start_event_loop() -> Result<(), String> {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    STARTED
        .get_or_init(|| {
            virt::error::clear_error_callback(); // else libvirt prints every error on stderr
            warn_of_old_library();
            virt::event::event_register_default_impl()
                .map_err(|error| error.message().to_owned())?;
            let run = || {
                loop {
                    if let Err(error) = virt::event::event_run_default_impl() {
                        tracing::error!(error = error.message(), "libvirt's event loop");
                        std::thread::sleep(LOOP_PAUSE);
                    }
                }
            };
            let made = std::thread::Builder::new().name("libvirt-events".to_owned()).spawn(run);
            made.map(drop).map_err(|error| error.to_string())
        })
        .clone()
}

/// The client library is fixed from this version on (CVE-2024-4418). Before, the loss of a
/// connection that several threads called on could end the process. Here only one thread at a time
/// calls on a connection.
const MENDED: u32 = 10_004_000;

fn warn_of_old_library() {
    match Connect::get_version() {
        Ok(version) if version < MENDED => tracing::warn!(
            version,
            mended = MENDED,
            "libvirt's client library on this machine is older than 10.4.0. If the distribution \
             has not mended CVE-2024-4418 in it, it can end ostlerd when a connection is lost. \
             ostlerd avoids what leads there; a newer libvirt0 is safer"
        ),
        Ok(_) => {}
        Err(error) => tracing::debug!(error = error.message(), "libvirt does not tell its version"),
    }
}

/// Gives libvirt an owned reference to a `T`.
fn lend<T>(value: &Arc<T>) -> *mut c_void {
    Arc::into_raw(Arc::clone(value)).cast_mut().cast()
}

/// Takes back what [`lend`] gave.
///
/// # Safety
/// `opaque` came from `lend::<T>` and is given back once.
unsafe extern "C" fn give_back<T>(opaque: *mut c_void) {
    // SAFETY: see above; libvirt calls the free callback once, after the last use.
    drop(unsafe { Arc::from_raw(opaque.cast::<T>().cast_const()) });
}

/// # Safety
/// Called by libvirt with a live domain and the `opaque` of [`watch_domains`].
unsafe extern "C" fn on_lifecycle(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    _: c_int,
    _: c_int,
    opaque: *mut c_void,
) -> c_int {
    // SAFETY: passed on as it came.
    unsafe { on_domain(domain, opaque) };
    0
}

/// # Safety
/// As for [`on_lifecycle`].
unsafe extern "C" fn on_event(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    opaque: *mut c_void,
) {
    // SAFETY: passed on as it came.
    unsafe { on_domain(domain, opaque) };
}

/// # Safety
/// `domain` is live for the time of the call, `opaque` is a lent `Feed`.
unsafe fn on_domain(domain: sys::virDomainPtr, opaque: *mut c_void) {
    let mut uuid = [0_u8; 16];
    // SAFETY: the buffer has VIR_UUID_BUFLEN bytes; the domain is borrowed from the caller. The
    // UUID is in the handle: no call goes out.
    let got = unsafe { sys::virDomainGetUUID(domain, uuid.as_mut_ptr()) };
    // SAFETY: lent until the callback is removed, which gives it back after its last use.
    let feed = unsafe { &*opaque.cast::<Feed>().cast_const() };
    if got == 0 {
        feed.changed(VmUuid(Uuid::from_bytes(uuid)));
    } else {
        feed.lost();
    }
}

/// # Safety
/// Called by libvirt with the `opaque` of [`watch_connection`].
unsafe extern "C" fn on_close(_: sys::virConnectPtr, reason: c_int, opaque: *mut c_void) {
    // SAFETY: lent until the callback is removed, which gives it back after its last use.
    let pulse = unsafe { &*opaque.cast::<Pulse>().cast_const() };
    pulse.stop(reason);
}

/// The callbacks on a connection, by libvirt's numbers. They must be removed before the connection
/// is closed.
pub(crate) type Callbacks = Vec<c_int>;

/// Reports to `feed` every domain that may have changed. An event that cannot be registered (an old
/// daemon) is left out: polling sees such changes.
pub(crate) fn watch_domains(connect: &Connect, feed: &Arc<Feed>) -> Callbacks {
    type Lifecycle = unsafe extern "C" fn(
        sys::virConnectPtr,
        sys::virDomainPtr,
        c_int,
        c_int,
        *mut c_void,
    ) -> c_int;
    type Plain = unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, *mut c_void);
    // SAFETY: libvirt takes all event callbacks as one function type and calls each with the
    // arguments of its event; the lifecycle event's are those of `Lifecycle`.
    let lifecycle = unsafe { std::mem::transmute::<Lifecycle, Plain>(on_lifecycle) };
    let wanted = [
        (sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE, lifecycle),
        (sys::VIR_DOMAIN_EVENT_ID_REBOOT, on_event as Plain),
    ];
    let mut ids = Vec::with_capacity(wanted.len());
    for (event, callback) in wanted {
        let opaque = lend(feed);
        // SAFETY: the connection is live; a null domain means all; `opaque` is given back by
        // `give_back` when libvirt removes the callback, or here if it was not taken.
        let id = unsafe {
            sys::virConnectDomainEventRegisterAny(
                connect.as_ptr(),
                std::ptr::null_mut(),
                c_int::try_from(event).unwrap_or(c_int::MAX),
                Some(callback),
                opaque,
                Some(give_back::<Feed>),
            )
        };
        if id < 0 {
            // SAFETY: not taken, so it is still ours.
            unsafe { give_back::<Feed>(opaque) };
            tracing::warn!(
                event,
                error = Error::last_error().message(),
                "libvirt tells no events: changes are seen by polling"
            );
        } else {
            ids.push(id);
        }
    }
    ids
}

/// Tells `pulse` when the connection closes.
pub(crate) fn watch_connection(connect: &Connect, pulse: &Arc<Pulse>) {
    let opaque = lend(pulse);
    // SAFETY: as in `watch_domains`.
    let taken = unsafe {
        sys::virConnectRegisterCloseCallback(
            connect.as_ptr(),
            Some(on_close),
            opaque,
            Some(give_back::<Pulse>),
        )
    };
    if taken < 0 {
        // SAFETY: not taken, so it is still ours.
        unsafe { give_back::<Pulse>(opaque) };
    }
}

/// Removes the callbacks of [`watch_domains`] and [`watch_connection`]. May block as long as the
/// daemon does.
pub(crate) fn unwatch(connect: &Connect, callbacks: &Callbacks) {
    for id in callbacks {
        // SAFETY: the connection is live, the number is one it gave.
        unsafe { sys::virConnectDomainEventDeregisterAny(connect.as_ptr(), *id) };
    }
    // SAFETY: the connection is live; if the callback is gone already this fails, which is as good.
    unsafe { sys::virConnectUnregisterCloseCallback(connect.as_ptr(), Some(on_close)) };
}

/// Writes the domain's memory to `path`, and stops it.
pub(crate) fn save(domain: &Domain, path: &CStr) -> Result<(), Error> {
    // SAFETY: the domain is live, the path is a C string; no other XML is given.
    let done =
        unsafe { sys::virDomainSaveFlags(domain.as_ptr(), path.as_ptr(), std::ptr::null(), 0) };
    if done < 0 { Err(Error::last_error()) } else { Ok(()) }
}

/// The error number of the host's kernel, if the error that libvirt just answered with carries one.
/// libvirt forgets it at the thread's next call.
pub(crate) fn error_number() -> Option<c_int> {
    // SAFETY: the thread's own error, valid until its next call; null if there is none.
    let error = unsafe { sys::virGetLastError().as_ref() }?;
    let by_kernel = u32::try_from(error.code) == Ok(sys::VIR_ERR_SYSTEM_ERROR);
    by_kernel.then_some(error.int1)
}

/// Ends the job at work on the domain: a save or a migration.
pub(crate) fn abort_job(domain: &Domain) -> Result<(), Error> {
    // SAFETY: the domain is live.
    let done = unsafe { sys::virDomainAbortJob(domain.as_ptr()) };
    if done < 0 { Err(Error::last_error()) } else { Ok(()) }
}

/// A text as a C string; none if it has a NUL. Texts that `element::check_text` accepted have none.
pub(crate) fn c_string(text: &str) -> Option<CString> {
    CString::new(text).ok()
}

/// Frees a list of statistics.
struct StatsList(*mut sys::virDomainStatsRecordPtr);

impl Drop for StatsList {
    fn drop(&mut self) {
        // SAFETY: the list came from libvirt and is freed once.
        unsafe { sys::virDomainStatsRecordListFree(self.0) };
    }
}

/// One domain's counters: field names and values.
pub(crate) struct RawStats {
    pub(crate) vm: VmUuid,
    pub(crate) fields: Vec<(String, u64)>,
}

/// The counters of all active domains. Does not wait for domains that are busy or hang: those lack
/// fields.
pub(crate) fn stats(connect: &Connect) -> Result<Vec<RawStats>, Error> {
    let what = sys::VIR_DOMAIN_STATS_CPU_TOTAL
        | sys::VIR_DOMAIN_STATS_BALLOON
        | sys::VIR_DOMAIN_STATS_INTERFACE
        | sys::VIR_DOMAIN_STATS_BLOCK;
    let flags = sys::VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE
        | sys::VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT;
    let mut records: *mut sys::virDomainStatsRecordPtr = std::ptr::null_mut();
    // SAFETY: the connection is live and the place for the answer is ours.
    let count = unsafe {
        sys::virConnectGetAllDomainStats(connect.as_ptr(), what, &raw mut records, flags)
    };
    let Ok(count) = usize::try_from(count) else { return Err(Error::last_error()) };
    if records.is_null() {
        return Ok(Vec::new());
    }
    let list = StatsList(records);
    // SAFETY: libvirt answered with `count` records, valid until the list is freed, which is after
    // this borrow.
    let records = unsafe { std::slice::from_raw_parts(list.0, count) };
    // SAFETY: each record is valid as long as the list.
    Ok(records.iter().filter_map(|record| unsafe { read_record(*record) }).collect())
}

/// # Safety
/// `record` is a record of a list that is not freed yet.
unsafe fn read_record(record: sys::virDomainStatsRecordPtr) -> Option<RawStats> {
    // SAFETY: as promised by the caller.
    let record = unsafe { record.as_ref() }?;
    let mut uuid = [0_u8; 16];
    // SAFETY: the record's domain lives as long as the record; the buffer has VIR_UUID_BUFLEN
    // bytes.
    if unsafe { sys::virDomainGetUUID(record.dom, uuid.as_mut_ptr()) } != 0 {
        return None;
    }
    let count = usize::try_from(record.nparams).unwrap_or(0);
    let params = if record.params.is_null() {
        &[][..]
    } else {
        // SAFETY: `nparams` parameters stand there, as long as the record lives.
        unsafe { std::slice::from_raw_parts(record.params, count) }
    };
    let fields = params.iter().filter_map(read_param).collect();
    Some(RawStats { vm: VmUuid(Uuid::from_bytes(uuid)), fields })
}

/// The name and the value of a parameter; none if the value is no number, or negative.
pub(crate) fn read_param(param: &sys::virTypedParameter) -> Option<(String, u64)> {
    // SAFETY: `field` is an array of 80 bytes; `from_bytes_until_nul` reads no further.
    let bytes =
        unsafe { std::slice::from_raw_parts(param.field.as_ptr().cast::<u8>(), param.field.len()) };
    let name = CStr::from_bytes_until_nul(bytes).ok()?.to_str().ok()?;
    // SAFETY: the type says which member of the union was written.
    let value = unsafe {
        match u32::try_from(param.type_).ok()? {
            sys::VIR_TYPED_PARAM_UINT => u64::from(param.value.ui),
            sys::VIR_TYPED_PARAM_INT => u64::try_from(param.value.i).ok()?,
            sys::VIR_TYPED_PARAM_ULLONG => param.value.ul,
            sys::VIR_TYPED_PARAM_LLONG => u64::try_from(param.value.l).ok()?,
            _ => return None,
        }
    };
    Some((name.to_owned(), value))
}
