//! `log`: lines in the host's log. Needs no grant; limited in rate and size.

use super::{HasView, State, View, view};
use crate::bindings::ostler::driver::log::{Host, add_to_linker as link};
use crate::instance::cut;
use std::sync::atomic::Ordering;
use wasmtime::component::Linker;

/// Most lines of one call: enough to follow it, too few to drown the log.
const LINES_MAX: u32 = 100;
/// Longest line.
const LINE_MAX: usize = 2048;

impl Host for View<'_> {
    async fn write(&mut self, level: String, message: String) -> wasmtime::Result<()> {
        match self.env.lines.fetch_add(1, Ordering::Relaxed) {
            count if count < LINES_MAX => {}
            LINES_MAX => {
                tracing::warn!(target: "ostler::driver", driver = %self.env.driver(), call = self.env.name, "writes too much; the rest of this call is not logged");
                return Ok(());
            }
            _ => return Ok(()),
        }
        // A line break or escape sequence would forge other lines.
        let message: String = cut(&message, LINE_MAX).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let (driver, call) = (self.env.driver(), self.env.name);
        match level.as_str() {
            "error" => tracing::error!(target: "ostler::driver", %driver, call, "{message}"),
            "warn" => tracing::warn!(target: "ostler::driver", %driver, call, "{message}"),
            "debug" => tracing::debug!(target: "ostler::driver", %driver, call, "{message}"),
            _ => tracing::info!(target: "ostler::driver", %driver, call, "{message}"),
        }
        Ok(())
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    link::<State, HasView>(linker, view)
}
