//! ostler-plugin-snapshots-kvm.
