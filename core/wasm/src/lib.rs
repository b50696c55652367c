//! ostler-wasm.
