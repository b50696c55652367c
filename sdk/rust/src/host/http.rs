//! Requests to HTTP servers, by the names of their endpoints in the manifest. Capability `http`.
//!
//! The operator's settings say where an endpoint is, how it proves who it is, and which secret is
//! its login. Redirects are not followed.
//!
//! ```
//! use ostler_sdk::host::http::{Request, Response};
//! use ostler_sdk::mock::MockHost;
//!
//! let host = MockHost::new().endpoint("api", |request| {
//!     assert_eq!(request.path, "/vms/7");
//!     Ok(Response::new(200, "running"))
//! });
//! let answer = Request::get("api", "/vms/7").login().send()?.success()?;
//! assert_eq!(answer.text(), "running");
//! # Ok::<(), ostler_sdk::Error>(())
//! ```

use crate::Error;
pub use crate::http::{Request, Response};

impl Request {
    /// Sends the request and reads the whole answer. Any status is an answer, not an error; see
    /// [`Response::success`].
    ///
    /// # Errors
    /// `retry` if nothing was sent: with code `unreachable`, `certificate` or `tls`. `unknown` with
    /// code `lost` or `timeout` if it was sent and no whole answer came; for a request that changes
    /// nothing (`GET`) `retry`. `refused` with code `denied` if the endpoint is not granted, with
    /// `not-configured`, `bad-endpoint` or `no-secret` if the operator's settings do not fit, and
    /// with `too-large` if the call carries more than 64 MiB. `cancelled`.
    pub fn send(&self) -> Result<Response, Error> {
        let answer = crate::sys::http::send(self)?;
        Ok(Response { asked: self.told(), changes: self.changes(), ..answer })
    }
}
