//! Components in OCI registries, in the layout that `wkg` of the Bytecode Alliance reads and
//! writes: a config of type [`CONFIG`] and exactly one layer of type [`LAYER`]. The signature that
//! lies beside a component is an annotation of the manifest ([`SIGNATURE`]), because `wkg` refuses
//! a second layer.
//!
//! The library `oci-client` pushes. All that is fetched is fetched here, because the library reads
//! manifests without a bound, and goes wherever a registry sends it.

use super::access::{Door, NoPass, Pass, said};
use super::login::Login;
use super::source::{digest, is_loopback};
use super::web::{self, CONNECT_TIMEOUT, SILENCE_MAX};
use crate::failure::chain;
use crate::{Exit, Failure};
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::manifest::{OCI_IMAGE_MEDIA_TYPE, OciDescriptor, OciImageManifest};
use oci_client::{Client, Reference};
use ostler_wasm::{FILE_MAX, Inspection, Package, SIGNATURE_MAX};
use reqwest::header::{ACCEPT, HeaderValue};
use reqwest::{Response, StatusCode};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use tokio::task::JoinSet;

/// The type of the config.
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// The type of the layer: the component itself.
const LAYER: &str = "application/wasm";
/// The annotation that holds the text of the signature beside the component.
const SIGNATURE: &str = "ostler.signature.minisign";
/// The largest manifest. Ours have two kilobytes, and a signature has at most 16 KiB.
const MANIFEST_MAX: u64 = 1024 * 1024;
/// The most that is read of an answer that is an error.
const ERROR_MAX: u64 = 64 * 1024;

/// An artifact in a registry.
pub(crate) struct Registry {
    reference: Reference,
    login: Login,
    client: Client,
    http: reqwest::Client,
    plain: bool,
    plain_http: bool,
}

/// `sha256:` and the digest in hexadecimal.
fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(bytes))
}

impl Registry {
    /// The artifact of this reference. Nothing is sent yet.
    pub(crate) fn new(
        reference: Reference,
        login: Login,
        plain_http: bool,
    ) -> Result<Self, Failure> {
        web::prepare()?;
        let host = reference.resolve_registry();
        let plain = plain_http || is_loopback(host);
        let protocol = if plain { ClientProtocol::Http } else { ClientProtocol::Https };
        // This machine is reached without a proxy. The library has no switch for that: with a
        // proxy of its own it does not look at the environment, and this one is for all other hosts.
        let unused = |text: &str| is_loopback(host).then(|| text.to_owned());
        let config = ClientConfig {
            protocol,
            http_proxy: unused("http://127.0.0.1:1"),
            no_proxy: unused("127.0.0.0/8,::1,localhost"),
            connect_timeout: Some(CONNECT_TIMEOUT),
            read_timeout: Some(SILENCE_MAX),
            user_agent: concat!("ostler/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let client = Client::try_from(config).map_err(|err| {
            Failure::new(Exit::Refused, format!("no HTTP client can be made: {}", chain(&err)))
        })?;
        let http = web::client(host, plain_http)?;
        Ok(Self { reference, login, client, http, plain, plain_http })
    }

    /// Puts a component there. Answers the digest of its manifest.
    pub(crate) async fn push(
        self,
        package: Package,
        inspection: Inspection,
    ) -> Result<String, Failure> {
        let host = self.reference.registry().to_owned();
        // The library panics at some answers that no registry should give. A task of its own ends
        // alone. It is aborted if nobody waits for it any more.
        let mut task = JoinSet::new();
        task.spawn(async move { self.send(&package, &inspection).await });
        match task.join_next().await {
            Some(Ok(ended)) => ended,
            Some(Err(_)) | None => {
                let what = format!("{host} gives an answer that is none of a registry");
                Err(Failure::new(Exit::Refused, what).hint("is this the address of a registry?"))
            }
        }
    }

    async fn send(&self, package: &Package, inspection: &Inspection) -> Result<String, Failure> {
        let failed = |err| self.failed(err);
        let auth = self.authorise("pull,push").await?.for_library();
        let host = self.reference.resolve_registry();
        self.client.store_auth_if_needed(host, &auth).await;
        let layer = descriptor(LAYER, &package.bytes);
        let config = config_of(inspection, &layer.digest);
        let manifest = OciImageManifest {
            schema_version: 2,
            media_type: Some(OCI_IMAGE_MEDIA_TYPE.to_owned()),
            config: descriptor(CONFIG, &config),
            layers: vec![layer.clone()],
            subject: None,
            artifact_type: None,
            annotations: Some(annotations(package, inspection)?),
        };
        let text = serde_json::to_vec(&manifest)
            .map_err(|err| Failure::new(Exit::Refused, format!("no manifest: {err}")))?;
        let push = |data: Vec<u8>, digest: String| async move {
            let there = self.client.blob_exists(&self.reference, &digest).await.unwrap_or(false);
            if there {
                return Ok(());
            }
            self.client.push_blob(&self.reference, data, &digest).await.map(drop)
        };
        push(package.bytes.clone(), layer.digest).await.map_err(failed)?;
        push(config, manifest.config.digest.clone()).await.map_err(failed)?;
        let digest = digest_of(&text);
        let kind = HeaderValue::from_static(OCI_IMAGE_MEDIA_TYPE);
        self.client.push_manifest_raw(&self.reference, text, kind).await.map_err(failed)?;
        Ok(digest)
    }

    /// Fetches a component, with the signature that lay beside it. All bytes are compared with
    /// their digests. Answers the digest of its manifest, too.
    pub(crate) async fn pull(&self) -> Result<(Package, String), Failure> {
        let pass = self.authorise("pull").await?;
        let text = self.manifest(&pass).await?;
        let digest = digest_of(&text);
        if let Some(asked) = self.reference.digest().filter(|asked| *asked != digest) {
            let what = format!(
                "{} was damaged or altered in the registry: {asked} was asked for, and the answer \
                 is {digest}",
                self.reference
            );
            return Err(Failure::new(Exit::Refused, what));
        }
        let (layer, beside) = contents(&self.reference, &text)?;
        let bytes = self.component(&pass, &layer).await?;
        let what = format!("oci://{}", self.reference);
        Ok((Package { what, bytes, beside }, digest))
    }

    fn base(&self) -> String {
        let scheme = if self.plain { "http" } else { "https" };
        format!("{scheme}://{}", self.reference.resolve_registry())
    }

    /// Logs in for these deeds: `pull` or `pull,push`.
    async fn authorise(&self, deeds: &str) -> Result<Pass, Failure> {
        let (http, login, base) = (&self.http, &self.login, self.base());
        let door = Door { http, base: &base, login, plain_http: self.plain_http };
        let scope = format!("repository:{}:{deeds}", self.reference.repository());
        door.pass(&scope).await.map_err(|none| match none {
            NoPass::Refused => self.not_allowed(),
            NoPass::Silent(err) => self.unreached(&chain(&err.without_url())),
            NoPass::Other(failure) => failure,
        })
    }

    /// Asks for something below the path of the artifact.
    async fn get(&self, pass: &Pass, rest: &str) -> Result<Response, Failure> {
        let url = format!("{}/v2/{}/{rest}", self.base(), self.reference.repository());
        let request = pass.put(self.http.get(url).header(ACCEPT, OCI_IMAGE_MEDIA_TYPE));
        request.send().await.map_err(|err| web::unreached(&self.reference.to_string(), err))
    }

    /// The text of the manifest.
    async fn manifest(&self, pass: &Pass) -> Result<Vec<u8>, Failure> {
        let named = self.reference.digest().or(self.reference.tag()).unwrap_or_default();
        let answer = self.get(pass, &format!("manifests/{named}")).await?;
        let status = answer.status();
        let what = format!("the manifest of {}", self.reference);
        let text = web::read(&what, answer, MANIFEST_MAX).await?;
        match status {
            StatusCode::OK => Ok(text),
            StatusCode::NOT_FOUND => Err(self.missing(&text)),
            status => Err(self.answers(status, &what, &text)),
        }
    }

    /// The failure of an answer that is an error.
    fn answers(&self, status: StatusCode, what: &str, text: &[u8]) -> Failure {
        let host = self.reference.registry();
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.not_allowed(),
            _ => Failure::new(
                Exit::Refused,
                format!("{host} answers {status} for {what}: {}", said(text)),
            ),
        }
    }

    /// The failure if there is no such manifest.
    fn missing(&self, answer: &[u8]) -> Failure {
        let (host, path) = (self.reference.registry(), self.reference.repository());
        let no_repository = String::from_utf8_lossy(answer).contains("NAME_UNKNOWN");
        let what = match (self.reference.digest(), self.reference.tag()) {
            _ if no_repository => format!("{host} has no {path}"),
            (Some(digest), _) => format!("{host} has no {digest} in {path}"),
            (None, tag) => format!("{host} has no tag {} in {path}", tag.unwrap_or_default()),
        };
        let failure = Failure::new(Exit::NotFound, what);
        match self.login.user() {
            None => failure.hint("a registry may also say so of what one may not read: --username"),
            Some(_) => failure.hint("is it spelt right? Capital letters count"),
        }
    }

    /// The bytes of the component. They are fetched only from this registry, and from where it
    /// sends us, and not from a URL that the manifest names.
    async fn component(&self, pass: &Pass, layer: &OciDescriptor) -> Result<Vec<u8>, Failure> {
        let answer = self.get(pass, &format!("blobs/{}", layer.digest)).await?;
        let (status, what) = (answer.status(), format!("the component of {}", self.reference));
        if status != StatusCode::OK {
            let text = web::read(&what, answer, ERROR_MAX).await?;
            return Err(self.answers(status, &what, &text));
        }
        let bytes = web::read(&what, answer, FILE_MAX).await?;
        if digest_of(&bytes) == layer.digest { Ok(bytes) } else { Err(self.altered()) }
    }

    fn altered(&self) -> Failure {
        let what = format!(
            "{} was damaged or altered in the registry: its bytes do not have the digest that the \
             manifest names",
            self.reference
        );
        Failure::new(Exit::Refused, what).hint("push it again, from a file that you can verify")
    }

    fn unreached(&self, why: &str) -> Failure {
        let host = self.reference.registry();
        let failure = Failure::new(
            Exit::Unreachable,
            format!("the registry {host} cannot be reached: {why}"),
        );
        if self.plain {
            return failure;
        }
        failure.hint("a registry in the clear needs --plain-http")
    }

    fn not_allowed(&self) -> Failure {
        let (host, path) = (self.reference.registry(), self.reference.repository());
        let Some(user) = self.login.user() else {
            let failure =
                Failure::new(Exit::Unauthorised, format!("{host} wants a login for {path}"));
            return failure.hint(match &self.login.aside {
                Some(aside) => format!("{aside}: give --username"),
                None => "give --username, or log in with docker or podman".to_owned(),
            });
        };
        Failure::new(Exit::Unauthorised, format!("{host} refuses the login of {user} for {path}"))
            .hint("is the password right, and may this user do that?")
    }

    /// The failure for an error of the library.
    fn failed(&self, err: OciDistributionError) -> Failure {
        use OciDistributionError as E;
        match err {
            E::UnauthorizedError { .. } | E::ServerError { code: 401 | 403, .. } => {
                self.not_allowed()
            }
            E::RequestError(err) => self.unreached(&chain(&err.without_url())),
            other => {
                let (host, why) = (self.reference.registry(), chain(&other));
                let what = format!("{host} refuses {}: {}", self.reference, said(why.as_bytes()));
                Failure::new(Exit::Refused, what)
            }
        }
    }
}

/// The component and the signature that a manifest names.
fn contents(
    reference: &Reference,
    text: &[u8],
) -> Result<(OciDescriptor, Option<Vec<u8>>), Failure> {
    let other = |why: String| {
        Failure::new(Exit::Refused, format!("{reference} is no WebAssembly component: {why}"))
            .hint("`ostler plugin push` and `wkg oci push` make what is expected here")
    };
    let manifest: OciImageManifest = serde_json::from_slice(text)
        .map_err(|err| other(format!("its manifest cannot be read: {err}")))?;
    if manifest.config.media_type != CONFIG {
        let found = said(manifest.config.media_type.as_bytes());
        return Err(other(format!("its config is of type {found}, and not {CONFIG}")));
    }
    let layer = match manifest.layers.as_slice() {
        [layer] if layer.media_type == LAYER => layer.clone(),
        [layer] => {
            let found = said(layer.media_type.as_bytes());
            return Err(other(format!("its layer is of type {found}, and not {LAYER}")));
        }
        layers => return Err(other(format!("it has {} layers, and not one", layers.len()))),
    };
    // It becomes a part of a URL.
    if !layer.digest.starts_with("sha256:") || digest(&layer.digest).is_err() {
        let found = said(layer.digest.as_bytes());
        return Err(other(format!("the digest of its layer is {found}, and no SHA-256")));
    }
    let size = u64::try_from(layer.size).unwrap_or(u64::MAX);
    if size > FILE_MAX {
        let what = format!("{reference} has {size} bytes, and a driver at most {FILE_MAX}");
        return Err(Failure::new(Exit::Refused, what));
    }
    let beside = manifest.annotations.and_then(|mut all| all.remove(SIGNATURE));
    Ok((layer, beside.map(String::into_bytes)))
}

fn descriptor(media_type: &str, bytes: &[u8]) -> OciDescriptor {
    OciDescriptor {
        media_type: media_type.to_owned(),
        digest: digest_of(bytes),
        size: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
        urls: None,
        annotations: None,
        artifact_type: None,
    }
}

/// The config of a component. Its time is always the same one, so that the same component has the
/// same digest whenever it is pushed.
fn config_of(inspection: &Inspection, layer: &str) -> Vec<u8> {
    let config = json!({
        "created": "1970-01-01T00:00:00Z",
        "author": inspection.manifest.authors.first(),
        "architecture": "wasm",
        "os": "wasip2",
        "layerDigests": [layer],
        "component": {
            "exports": inspection.exports,
            "imports": inspection.imports,
            "target": null,
        },
    });
    config.to_string().into_bytes()
}

/// The component as a registry shows it, and its signature.
fn annotations(
    package: &Package,
    inspection: &Inspection,
) -> Result<BTreeMap<String, String>, Failure> {
    let manifest = &inspection.manifest;
    let mut all = BTreeMap::new();
    for (name, value) in [
        ("title", manifest.name.as_str()),
        ("version", &manifest.version),
        ("description", &manifest.summary),
        ("licenses", &manifest.licence),
    ] {
        all.insert(format!("org.opencontainers.image.{name}"), value.to_owned());
    }
    if let Some(text) = &package.beside {
        let text = String::from_utf8(text.clone()).ok().filter(|text| text.len() <= SIGNATURE_MAX);
        let text = text.ok_or_else(|| {
            Failure::usage(format!("{}: the signature beside it is no text", package.what))
        })?;
        all.insert(SIGNATURE.to_owned(), text);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(config: &str, layers: &[(&str, i64)], signature: Option<&str>) -> String {
        let layer = |(kind, size): &(&str, i64)| {
            json!({ "mediaType": kind, "size": size,
            "digest": digest_of(b"") })
        };
        let text = json!({ "schemaVersion": 2,
            "config": { "mediaType": config, "size": 2, "digest": digest_of(b"{}") },
            "layers": layers.iter().map(layer).collect::<Vec<_>>(),
            "annotations": signature.map(|text| json!({ SIGNATURE: text })) });
        let reference = "r.example/a:1".parse().expect("a reference");
        match contents(&reference, text.to_string().as_bytes()) {
            Ok((layer, beside)) => format!("{} {beside:?}", layer.size),
            Err(failure) => failure.what.expect("said"),
        }
    }

    #[test]
    fn only_one_component_is_taken() {
        assert_eq!(read(CONFIG, &[(LAYER, 5)], None), "5 None");
        assert_eq!(read(CONFIG, &[(LAYER, 5)], Some("a")), "5 Some([97])");
        let image = "application/vnd.oci.image.config.v1+json";
        let most = i64::try_from(FILE_MAX).expect("small");
        for (config, layers, says) in [
            (image, &[(LAYER, 5)][..], "its config is of type application/vnd.oci.image"),
            (CONFIG, &[], "it has 0 layers"),
            (CONFIG, &[(LAYER, 5), (LAYER, 5)], "it has 2 layers"),
            (CONFIG, &[("text/plain", 5)], "its layer is of type text/plain"),
            (CONFIG, &[(LAYER, most + 1)], "and a driver at most"),
            (CONFIG, &[(LAYER, -1)], "and a driver at most"),
        ] {
            let told = read(config, layers, None);
            assert!(told.contains(says), "{told}");
        }
        assert_eq!(read(CONFIG, &[(LAYER, most)], None), format!("{most} None"));
    }
}
