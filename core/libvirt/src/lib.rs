//! ostler-libvirt.
