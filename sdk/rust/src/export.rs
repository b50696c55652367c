//! The macro that makes a component.

/// Makes a component of a driver. It exports the named parts and nothing else, and embeds the
/// manifest.
///
/// ```
/// use ostler_sdk::{Call, Error, Job, JobStatus, Outcome, Transfer, TransferUsage, Usage};
///
/// struct Mine;
/// ostler_sdk::export!(Mine: Transfer + TransferUsage; manifest = "manifest.toml");
///
/// impl Transfer for Mine {
///     fn begin(call: &Call, job: Job) -> Result<JobStatus, Error> {
///         call.progress(0, 0, "looking");
///         Err(Error::refused("not-written", format!("{job:?}")))
///     }
/// }
/// impl TransferUsage for Mine {
///     fn usage(_: &str) -> Result<Usage, Error> {
///         Ok(Usage { total_mib: 1024, used_mib: 1 })
///     }
/// }
/// ```
///
/// The manifest's path is relative to the crate's folder. On other targets than WebAssembly nothing
/// is exported, because host tests do not link with a native library that exports the functions of
/// a component.
#[macro_export]
macro_rules! export {
    ($driver:ident : $first:ident $(+ $more:ident)* ; manifest = $manifest:literal $(;)?) => {
        impl $crate::Described for $driver {
            const MANIFEST: &'static str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $manifest));
        }

        // This is checked on every target, so that host tests find a missing method, too.
        const _: fn() = || {
            fn implements<D: $crate::$first $(+ $crate::$more)*>() {}
            implements::<$driver>();
        };

        #[cfg(target_family = "wasm")]
        #[allow(missing_docs, unsafe_code)]
        mod __ostler_exports {
            type Exported = $crate::Adapter<super::$driver>;

            #[used]
            #[unsafe(link_section = "ostler:manifest")]
            static MANIFEST: [u8; include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $manifest)).len()] =
                *include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $manifest));

            $crate::__export_part!($first Exported);
            $($crate::__export_part!($more Exported);)*
        }
    };
}

/// Exports one part for [`export!`].
#[doc(hidden)]
#[macro_export]
macro_rules! __export_part {
    (Hypervisor $t:ident) => { $crate::bindings::hypervisor::export_hypervisor!($t with_types_in $crate::bindings::hypervisor); };
    (Transfer $t:ident) => { $crate::bindings::transfer::export_transfer!($t with_types_in $crate::bindings::transfer); };
    (SnapshotRules $t:ident) => { $crate::bindings::rules::export_rules!($t with_types_in $crate::bindings::rules); };
    (Reboot $t:ident) => { $crate::bindings::reboot::export_reboot!($t with_types_in $crate::bindings::reboot); };
    (Suspend $t:ident) => { $crate::bindings::suspend::export_suspend!($t with_types_in $crate::bindings::suspend); };
    (Changes $t:ident) => { $crate::bindings::changes::export_changes!($t with_types_in $crate::bindings::changes); };
    (Metrics $t:ident) => { $crate::bindings::metrics::export_metrics!($t with_types_in $crate::bindings::metrics); };
    (Migrate $t:ident) => { $crate::bindings::migrate::export_migrate!($t with_types_in $crate::bindings::migrate); };
    (Hotplug $t:ident) => { $crate::bindings::hotplug::export_hotplug!($t with_types_in $crate::bindings::hotplug); };
    (Snapshots $t:ident) => { $crate::bindings::snapshots::export_snapshots!($t with_types_in $crate::bindings::snapshots); };
    (LiveResize $t:ident) => {
        $crate::bindings::live_resize::export_live_resize!($t with_types_in $crate::bindings::live_resize);
    };
    (DiskCopy $t:ident) => { $crate::bindings::disk_copy::export_disk_copy!($t with_types_in $crate::bindings::disk_copy); };
    (Adopt $t:ident) => { $crate::bindings::adopt::export_adopt!($t with_types_in $crate::bindings::adopt); };
    (Console $t:ident) => { $crate::bindings::console::export_console!($t with_types_in $crate::bindings::console); };
    (Fence $t:ident) => { $crate::bindings::fence::export_fence!($t with_types_in $crate::bindings::fence); };
    (TransferImages $t:ident) => {
        $crate::bindings::transfer_images::export_transfer_images!($t with_types_in $crate::bindings::transfer_images);
    };
    (TransferLarger $t:ident) => {
        $crate::bindings::transfer_larger::export_transfer_larger!($t with_types_in $crate::bindings::transfer_larger);
    };
    (TransferInspect $t:ident) => {
        $crate::bindings::transfer_inspect::export_transfer_inspect!($t with_types_in $crate::bindings::transfer_inspect);
    };
    (TransferUsage $t:ident) => {
        $crate::bindings::transfer_usage::export_transfer_usage!($t with_types_in $crate::bindings::transfer_usage);
    };
}
