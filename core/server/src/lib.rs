//! ostler-server.
