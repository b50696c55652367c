//! An in-memory hypervisor with knobs, for tests of whatever stands above a driver.
