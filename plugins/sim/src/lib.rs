//! ostler-plugin-sim.
