//! One driver call into a fresh instance, beside what wasmtime itself takes to instantiate and call.

fn main() {}
