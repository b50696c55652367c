//! ostler-sdk.
