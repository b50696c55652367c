//! ostler-plugin-transfer-qcow2.
