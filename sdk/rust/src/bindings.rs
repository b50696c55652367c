//! The code that `wit-bindgen` generates from the contract. There is one module for the imports,
//! and one for each world with an export.
//!
//! Each invocation makes a `component-type` section. The linker merges only the sections whose
//! export macros a driver calls. So an ability that a driver does not name is not exported. Types
//! are generated once, in [`imports`], and used everywhere else.

/// The interfaces of the host, and the types of the contract.
pub mod imports {
    wit_bindgen::generate!({ path: "wit", world: "imports", generate_all, additional_derives: [PartialEq] });
}

macro_rules! world {
    ($(#[$doc:meta])* $module:ident, $world:tt, $export:tt) => {
        $(#[$doc])*
        pub mod $module {
            wit_bindgen::generate!({
                path: "wit",
                world: $world,
                pub_export_macro: true,
                export_macro_name: $export,
                additional_derives: [PartialEq],
                with: {
                    "ostler:driver/types@0.1.0": crate::bindings::imports::ostler::driver::types,
                    "ostler:driver/call-context@0.1.0": crate::bindings::imports::ostler::driver::call_context,
                    "ostler:driver/log@0.1.0": crate::bindings::imports::ostler::driver::log,
                    "ostler:driver/clock@0.1.0": crate::bindings::imports::ostler::driver::clock,
                    "ostler:driver/random@0.1.0": crate::bindings::imports::ostler::driver::random,
                    "ostler:driver/config@0.1.0": crate::bindings::imports::ostler::driver::config,
                    "ostler:driver/secrets@0.1.0": crate::bindings::imports::ostler::driver::secrets,
                    "ostler:driver/exec@0.1.0": crate::bindings::imports::ostler::driver::exec,
                    "ostler:driver/files@0.1.0": crate::bindings::imports::ostler::driver::files,
                    "ostler:driver/socket@0.1.0": crate::bindings::imports::ostler::driver::socket,
                    "ostler:driver/session@0.1.0": crate::bindings::imports::ostler::driver::session,
                },
            });
        }
    };
}

world!(
    /// The mandatory part of a hypervisor driver.
    hypervisor, "hypervisor-driver", "export_hypervisor"
);
world!(
    /// The mandatory part of a transfer driver.
    transfer, "transfer-driver", "export_transfer"
);
world!(
    /// The mandatory part of a driver of snapshot rules.
    rules, "rules-driver", "export_rules"
);
world!(
    /// The ability to reboot and reset.
    reboot, "with-reboot", "export_reboot"
);
world!(
    /// The ability to save, restore and unpause.
    suspend, "with-suspend", "export_suspend"
);
world!(
    /// The ability to report changes.
    changes, "with-changes", "export_changes"
);
world!(
    /// The ability to count.
    metrics, "with-metrics", "export_metrics"
);
world!(
    /// The ability to move a domain.
    migrate, "with-migrate", "export_migrate"
);
world!(
    /// The ability to attach and detach.
    hotplug, "with-hotplug", "export_hotplug"
);
world!(
    /// The ability to make system snapshots.
    snapshots, "with-snapshots", "export_snapshots"
);
world!(
    /// The ability to resize a running domain.
    live_resize, "with-live-resize", "export_live_resize"
);
world!(
    /// The ability to copy a disk in use.
    disk_copy, "with-disk-copy", "export_disk_copy"
);
world!(
    /// The ability to adopt domains that somebody else made.
    adopt, "with-adopt", "export_adopt"
);
world!(
    /// The ability to open a console.
    console, "with-console", "export_console"
);
world!(
    /// The ability to prove that a host is off.
    fence, "with-fence", "export_fence"
);
world!(
    /// The ability to make images from disks.
    transfer_images, "with-transfer-images", "export_transfer_images"
);
world!(
    /// The ability to make a disk that is larger than its image.
    transfer_larger, "with-transfer-larger", "export_transfer_larger"
);
world!(
    /// The ability to describe a file.
    transfer_inspect, "with-transfer-inspect", "export_transfer_inspect"
);
world!(
    /// The ability to tell how much a datastore holds.
    transfer_usage, "with-transfer-usage", "export_transfer_usage"
);
