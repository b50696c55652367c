//! The functions of the host that [`crate::host`] calls. In a component they are imports. On other
//! targets a [`crate::mock::MockHost`] answers, so that a driver can be tested like any other code.

#[cfg(target_family = "wasm")]
mod component;
#[cfg(target_family = "wasm")]
pub(crate) mod http;

#[cfg(not(target_family = "wasm"))]
pub(crate) use crate::mock::sys::{
    clock, config, exec, files, http, log, random, secrets, session, socket,
};
#[cfg(target_family = "wasm")]
pub(crate) use component::{clock, config, exec, files, log, random, secrets, session, socket};
