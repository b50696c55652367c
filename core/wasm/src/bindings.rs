//! Bindings of contract 0.1, generated from `sdk/wit/0.1`.
//!
//! This world is the host's own: it has everything that a driver may import, and every interface
//! that it may export. A component need not export them all; each is looked up separately when the
//! component is loaded.

#![allow(missing_docs, reason = "generated; the contract is documented in its WIT")]

wasmtime::component::bindgen!({
    inline: "
        package ostler:host@0.1.0;
        world host {
            include ostler:driver/imports@0.1.0;
            export ostler:driver/hypervisor@0.1.0;
            export ostler:driver/reboot@0.1.0;
            export ostler:driver/suspend@0.1.0;
            export ostler:driver/changes@0.1.0;
            export ostler:driver/metrics@0.1.0;
            export ostler:driver/migrate@0.1.0;
            export ostler:driver/hotplug@0.1.0;
            export ostler:driver/snapshots@0.1.0;
            export ostler:driver/live-resize@0.1.0;
            export ostler:driver/disk-copy@0.1.0;
            export ostler:driver/adopt@0.1.0;
            export ostler:driver/console@0.1.0;
            export ostler:driver/fence@0.1.0;
            export ostler:driver/transfer@0.1.0;
            export ostler:driver/transfer-images@0.1.0;
            export ostler:driver/transfer-larger@0.1.0;
            export ostler:driver/transfer-inspect@0.1.0;
            export ostler:driver/snapshot-rules@0.1.0;
        }
    ",
    path: "../../sdk/wit/0.1",
    world: "ostler:host/host",
    imports: { default: async | trappable },
    exports: { default: async },
    with: {
        "ostler:driver/call-context.call": crate::capability::context::Call,
        "ostler:driver/socket.connection": crate::capability::socket::Connection,
    },
});
