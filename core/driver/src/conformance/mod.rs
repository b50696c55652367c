//! The conformance suite: what every driver must do, as a list of named checks against any implementation.
