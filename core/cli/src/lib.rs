//! ostler-cli.
