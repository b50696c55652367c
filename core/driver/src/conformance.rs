//! The conformance suite: what every driver must do, as a list of checks against any implementation.
