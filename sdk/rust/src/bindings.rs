//! What `wit-bindgen` makes of the contract. One module for the imports, one for each world that exports something.
//!
//! Each invocation leaves a `component-type` section; the linker merges those of the export macros that a driver really calls, so
//! that an ability nobody asked for is not exported. Types are made once, in [`imports`], and remapped everywhere else.

/// What the host offers, and the words of the contract.
pub mod imports {
    wit_bindgen::generate!({ path: "../wit/0.1", world: "imports", generate_all, additional_derives: [PartialEq] });
}

macro_rules! world {
    ($(#[$doc:meta])* $module:ident, $world:tt, $export:tt) => {
        $(#[$doc])*
        pub mod $module {
            wit_bindgen::generate!({
                path: "../wit/0.1",
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
    /// Transfer.
    transfer, "transfer-driver", "export_transfer"
);
world!(
    /// Snapshot rules.
    rules, "rules-driver", "export_rules"
);
world!(
    /// Reboot and reset.
    reboot, "with-reboot", "export_reboot"
);
world!(
    /// Save, restore, unpause.
    suspend, "with-suspend", "export_suspend"
);
world!(
    /// Tell of changes.
    changes, "with-changes", "export_changes"
);
world!(
    /// Counters.
    metrics, "with-metrics", "export_metrics"
);
world!(
    /// Move a domain.
    migrate, "with-migrate", "export_migrate"
);
world!(
    /// Attach and detach.
    hotplug, "with-hotplug", "export_hotplug"
);
world!(
    /// System snapshots.
    snapshots, "with-snapshots", "export_snapshots"
);
world!(
    /// Change a running domain.
    live_resize, "with-live-resize", "export_live_resize"
);
world!(
    /// Copy a disk in use.
    disk_copy, "with-disk-copy", "export_disk_copy"
);
world!(
    /// What somebody else made.
    adopt, "with-adopt", "export_adopt"
);
world!(
    /// A console endpoint.
    console, "with-console", "export_console"
);
world!(
    /// Prove a host off.
    fence, "with-fence", "export_fence"
);
world!(
    /// Disks saved back as images.
    transfer_images, "with-transfer-images", "export_transfer_images"
);
world!(
    /// What a file is.
    transfer_inspect, "with-transfer-inspect", "export_transfer_inspect"
);
world!(
    /// How much a datastore holds.
    transfer_usage, "with-transfer-usage", "export_transfer_usage"
);
