//! Client methods for everything except VMs: hosts, datastores, images, drivers, tokens, the
//! daemon.

use super::{Client, ClientError, segment};
use crate::{
    BackupBody, BackupReply, BindRules, COMPONENT_TYPE, ChangeHost, CheckReply, Datastore, Driver,
    DriverFile, Host, Image, NewDatastore, NewDriver, NewHost, NewImage, NewSecret, NewToken,
    NothingBody, RestoredReply, SIGNATURE_HEADER, Secret, Token, TokenMade, Version,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use std::time::Duration;

/// How long it may take to send a component. It is as long as the daemon waits.
const SEND_TIMEOUT: Duration = Duration::from_secs(600);

macro_rules! resource {
    ($plural:literal, $list:ident, $show:ident, $remove:ident, $add:ident, $new:ty => $one:ty) => {
        impl Client {
            #[doc = concat!("All ", $plural, ".\n\n# Errors\nAs [`ClientError`] says.")]
            pub async fn $list(&self) -> Result<Vec<$one>, ClientError> {
                self.get(concat!("/v1/", $plural)).await
            }

            #[doc = concat!("One of the ", $plural, ", by name or id.")]
            ///
            /// # Errors
            /// As [`ClientError`] says.
            pub async fn $show(&self, name: &str) -> Result<$one, ClientError> {
                self.get(&format!(concat!("/v1/", $plural, "/{}"), segment(name))).await
            }

            #[doc = concat!("Removes one of the ", $plural, ".")]
            ///
            /// # Errors
            /// As [`ClientError`] says.
            pub async fn $remove(&self, name: &str) -> Result<(), ClientError> {
                self.delete(&format!(concat!("/v1/", $plural, "/{}"), segment(name))).await
            }

            #[doc = concat!("Adds to the ", $plural, ".\n\n# Errors\nAs [`ClientError`] says.")]
            pub async fn $add(&self, new: &$new) -> Result<$one, ClientError> {
                self.post(concat!("/v1/", $plural), new).await
            }
        }
    };
}

resource!("hosts", hosts, host, remove_host, add_host, NewHost => Host);
resource!(
    "datastores", datastores, datastore, remove_datastore, add_datastore, NewDatastore => Datastore
);
resource!("images", images, image, remove_image, add_image, NewImage => Image);
resource!("drivers", drivers, driver, remove_driver, add_driver, NewDriver => Driver);

impl Client {
    /// Removes a host that is fenced and will not come back, as the caller states. The leftovers of
    /// VMs on it are forgotten, too.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn remove_fenced_host(&self, host: &str) -> Result<(), ClientError> {
        self.delete(&format!("/v1/hosts/{}?fenced=true", segment(host))).await
    }

    /// Changes a host.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn change_host(&self, host: &str, change: &ChangeHost) -> Result<Host, ClientError> {
        self.patch(&format!("/v1/hosts/{}", segment(host)), change).await
    }

    /// Sends the file of a component to the daemon's machine, with the signature that lies beside
    /// it.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn send_driver_file(
        &self,
        component: Vec<u8>,
        signature: Option<&[u8]>,
    ) -> Result<DriverFile, ClientError> {
        let request = self.request(Method::POST, "/v1/driver-files").timeout(SEND_TIMEOUT);
        let request = request.header(CONTENT_TYPE, COMPONENT_TYPE).body(component);
        self.answer(match signature {
            Some(text) => request.header(SIGNATURE_HEADER, STANDARD.encode(text)),
            None => request,
        })
        .await
    }

    /// Binds the snapshot rules of the driver `rules` to the hypervisor driver `driver`.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn bind_rules(&self, driver: &str, rules: &str) -> Result<Driver, ClientError> {
        let path = format!("/v1/drivers/{}/rules", segment(driver));
        self.answer(
            self.request(reqwest::Method::PUT, &path).json(&BindRules { rules: rules.to_owned() }),
        )
        .await
    }

    /// Puts the file that was the driver before back in its place.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn roll_driver_back(&self, driver: &str) -> Result<Driver, ClientError> {
        let path = format!("/v1/drivers/{}/rollback", segment(driver));
        self.answer(self.request(reqwest::Method::POST, &path)).await
    }

    /// Removes that binding. Then the rules from the daemon's settings apply again.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn unbind_rules(&self, driver: &str) -> Result<(), ClientError> {
        self.delete(&format!("/v1/drivers/{}/rules", segment(driver))).await
    }

    /// Binds the snapshot rules of the driver `rules` to the host `host`.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn bind_host_rules(&self, host: &str, rules: &str) -> Result<Host, ClientError> {
        let path = format!("/v1/hosts/{}/rules", segment(host));
        self.answer(
            self.request(reqwest::Method::PUT, &path).json(&BindRules { rules: rules.to_owned() }),
        )
        .await
    }

    /// Removes that binding. Then the rules of the host's hypervisor driver apply again.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn unbind_host_rules(&self, host: &str) -> Result<(), ClientError> {
        self.delete(&format!("/v1/hosts/{}/rules", segment(host))).await
    }

    /// The secrets that are set for a driver, without their values.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn driver_secrets(&self, driver: &str) -> Result<Vec<Secret>, ClientError> {
        self.get(&format!("/v1/drivers/{}/secrets", segment(driver))).await
    }

    /// Sets a secret of a driver.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn set_driver_secret(
        &self,
        driver: &str,
        name: &str,
        secret: &NewSecret,
    ) -> Result<(), ClientError> {
        let path = format!("/v1/drivers/{}/secrets/{}", segment(driver), segment(name));
        self.send(self.request(Method::PUT, &path).json(secret)).await.map(|_| ())
    }

    /// Removes a secret of a driver.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn remove_driver_secret(&self, driver: &str, name: &str) -> Result<(), ClientError> {
        self.delete(&format!("/v1/drivers/{}/secrets/{}", segment(driver), segment(name))).await
    }

    /// The secrets that are set for one host, without their values.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn host_secrets(&self, host: &str) -> Result<Vec<Secret>, ClientError> {
        self.get(&format!("/v1/hosts/{}/secrets", segment(host))).await
    }

    /// Sets a secret for one host.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn set_host_secret(
        &self,
        host: &str,
        name: &str,
        secret: &NewSecret,
    ) -> Result<(), ClientError> {
        let path = format!("/v1/hosts/{}/secrets/{}", segment(host), segment(name));
        self.send(self.request(Method::PUT, &path).json(secret)).await.map(|_| ())
    }

    /// Removes a secret of one host.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn remove_host_secret(&self, host: &str, name: &str) -> Result<(), ClientError> {
        self.delete(&format!("/v1/hosts/{}/secrets/{}", segment(host), segment(name))).await
    }

    /// All tokens, without their secrets.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn tokens(&self) -> Result<Vec<Token>, ClientError> {
        self.get("/v1/tokens").await
    }

    /// Makes a token.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn add_token(&self, new: &NewToken) -> Result<TokenMade, ClientError> {
        self.post("/v1/tokens", new).await
    }

    /// Ends a token at once.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn remove_token(&self, name: &str) -> Result<(), ClientError> {
        self.delete(&format!("/v1/tokens/{}", segment(name))).await
    }

    /// Writes a consistent copy of the store. The daemon keeps working meanwhile.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn backup(&self, path: &str) -> Result<BackupReply, ClientError> {
        self.post("/v1/admin/backup", &BackupBody { path: path.to_owned() }).await
    }

    /// Checks that the store is consistent.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn check(&self) -> Result<CheckReply, ClientError> {
        self.get("/v1/admin/check").await
    }

    /// Lists the VMs that are not reconciled since the store was restored from a backup.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn restored(&self) -> Result<RestoredReply, ClientError> {
        self.get("/v1/admin/restored").await
    }

    /// States that the record of a VM is right.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn accept_record(&self, vm: &str) -> Result<(), ClientError> {
        let path = format!("/v1/admin/restored/{}/accept", segment(vm));
        self.send(self.request(Method::POST, &path).json(&NothingBody::default())).await.map(|_| ())
    }

    /// The versions of the daemon and its store.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn version(&self) -> Result<Version, ClientError> {
        self.get("/v1/version").await
    }
}
