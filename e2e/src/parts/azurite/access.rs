//! Ways into a server: its key, signatures that are made with it, and a first container.

use anyhow::{Context as _, Result, bail};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::Method;
use object_store::azure::{AzureAccessKey, AzureAuthorizer, AzureCredential};
use object_store::client::{
    Certificate, ClientOptions, HttpConnector as _, HttpRequest, HttpRequestBody, ReqwestConnector,
};

use super::Azurite;

/// The version of the signatures made here.
const VERSION: &str = "2021-12-02";

impl Azurite {
    /// The account's key, in base64.
    pub fn key(&self) -> String {
        BASE64_STANDARD.encode(&self.key)
    }

    /// A shared access signature for one container, with permissions as Azure writes them, in its
    /// order: `racwdl` (read, add, create, write, delete, list).
    pub fn sas(&self, container: &str, permissions: &str) -> String {
        self.sas_until(container, permissions, "2100-01-01T00:00:00Z")
    }

    /// The same that ends at a time.
    pub fn sas_until(&self, container: &str, permissions: &str, end: &str) -> String {
        let resource = format!("/blob/{}/{container}", self.account);
        // "Create a service SAS", version 2020-12-06 and later: what is not used is an empty line.
        let signed = [
            permissions,
            "",
            end,
            &resource,
            "",
            "",
            "",
            VERSION,
            "c",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
        ];
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.key);
        let signature = hmac::sign(&key, signed.join("\n").as_bytes());
        let signature = BASE64_STANDARD
            .encode(signature)
            .replace('+', "%2B")
            .replace('/', "%2F")
            .replace('=', "%3D");
        let end = end.replace(':', "%3A");
        format!("sv={VERSION}&sr=c&sp={permissions}&se={end}&sig={signature}")
    }

    /// Makes a container.
    pub async fn container(&self, name: &str) -> Result<()> {
        self.put(&format!("{name}?restype=container"), &[], &[])
            .await
            .with_context(|| format!("Azurite made no container {name}"))
    }

    /// Writes a blob, under any name; `path` is that of its URL, with the container first.
    pub async fn blob(&self, path: &str, content: &[u8]) -> Result<()> {
        self.put(path, &[("x-ms-blob-type", "BlockBlob")], content)
            .await
            .with_context(|| format!("Azurite took no blob {path}"))
    }

    /// Makes a snapshot of a blob.
    pub async fn snapshot(&self, path: &str) -> Result<()> {
        self.put(&format!("{path}?comp=snapshot"), &[], &[])
            .await
            .with_context(|| format!("Azurite made no snapshot of {path}"))
    }

    /// Lets the account keep what is deleted for some days.
    pub async fn soft_delete(&self, days: u32) -> Result<()> {
        let properties = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><StorageServiceProperties>\
             <DeleteRetentionPolicy><Enabled>true</Enabled><Days>{days}</Days>\
             </DeleteRetentionPolicy></StorageServiceProperties>"
        );
        self.put(
            "?restype=service&comp=properties",
            &[],
            properties.as_bytes(),
        )
        .await
        .context("Azurite takes no soft delete")
    }

    /// Deletes a blob.
    pub async fn delete(&self, path: &str) -> Result<()> {
        self.send(Method::DELETE, path, &[], &[])
            .await
            .with_context(|| format!("Azurite deleted no blob {path}"))
    }

    async fn put(&self, path: &str, headers: &[(&'static str, &str)], body: &[u8]) -> Result<()> {
        self.send(Method::PUT, path, headers, body).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: &[u8],
    ) -> Result<()> {
        let mut request = HttpRequest::new(HttpRequestBody::from(body.to_vec()));
        *request.method_mut() = method;
        *request.uri_mut() = format!("{}/{path}", self.endpoint()).parse()?;
        request
            .headers_mut()
            .insert(http::header::CONTENT_LENGTH, body.len().into());
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse()?);
        }
        let credential = AzureCredential::AccessKey(AzureAccessKey::try_new(&self.key())?);
        AzureAuthorizer::new(&credential, &self.account).try_authorize(&mut request)?;
        let mut options = ClientOptions::new().with_allow_http(true);
        if let Some(pem) = self.ca_pem() {
            options = options.with_root_certificate(Certificate::from_pem(pem.as_bytes())?);
        }
        let client = ReqwestConnector::default().connect(&options)?;
        let answer = client.execute(request).await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let text = answer.into_body().bytes().await.unwrap_or_default();
        bail!("{status} {}", String::from_utf8_lossy(&text))
    }
}
