//! `ostler version`.

use crate::Failure;
use crate::context::Context;
use crate::show::Page;
use ostler_api::Version;
use serde::Serialize;

#[derive(Serialize)]
struct Versions {
    client: &'static str,
    server: Option<Version>,
}

/// Prints both versions. If the daemon cannot be asked, its version is left out and the failure is
/// printed.
pub(crate) async fn run(cx: &Context) -> Result<(), Failure> {
    let client = env!("CARGO_PKG_VERSION");
    let asked = match cx.client() {
        Ok(daemon) => daemon.version().await.map_err(Failure::from),
        Err(failure) => Err(failure),
    };
    let (server, failure) = match asked {
        Ok(version) => (Some(version), None),
        Err(failure) => (None, Some(failure)),
    };
    let both = Versions { client, server };
    let page = || {
        let mut page = Page::new(cx.out.colour);
        page.section("Client").pair("Version", client);
        if let Some(server) = &both.server {
            page.section("Daemon")
                .pair("Version", &server.version)
                .pair("Store", &server.store)
                .pair("Events", server.seq);
            page.pair("Endpoint", &cx.endpoint);
        }
        page.done()
    };
    cx.out.write(&cx.out.one(&both, client, page)?)?;
    failure.map_or(Ok(()), Err)
}
