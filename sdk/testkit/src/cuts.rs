//! The sandbox of components as the suite sees it: it stops a driver at its calls to the host.

use ostler_driver_testkit::conformance::{Cut, Cuts, Side, Watched};
use ostler_model::EffectKey;

/// The sandbox of one component host.
#[derive(Clone, Default)]
pub(crate) struct Sandbox(pub(crate) ostler_wasm::Cuts);

impl Cuts for Sandbox {
    fn watch(&self, effect: &EffectKey, cut: Option<Cut>) {
        let cut = cut.map(|cut| ostler_wasm::Cut { at: cut.at, after: cut.side == Side::After });
        self.0.watch(effect.clone(), cut);
    }

    fn end(&self) -> Watched {
        let ostler_wasm::Watched { calls, stopped } = self.0.end();
        Watched { calls, stopped }
    }
}
