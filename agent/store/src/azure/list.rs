//! Lists, page by page.

use std::sync::Arc;
use std::time::SystemTime;

use http::Method;
use serde::Deserialize;

use super::client::{Client, encoded};
use super::error::no_answer;
use super::read::http_date;
use super::request::Request;
use crate::bucket::{self, Page};
use crate::{Error, Key, Object, Objects};

/// Objects of a page, a fifth of what Azure gives: a page is in memory whole.
const PAGE: u32 = 1_000;

/// A page, as the server writes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    blobs: Blobs,
    next_marker: Option<String>,
}

/// Blobs and folders, in the order of their names.
#[derive(Debug, Deserialize)]
struct Blobs {
    #[serde(rename = "$value", default)]
    entries: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
enum Entry {
    Blob(Blob),
    BlobPrefix(Folder),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Folder {
    name: Name,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Blob {
    name: Name,
    properties: Properties,
}

#[derive(Debug, Deserialize)]
struct Name {
    /// The name has characters that XML has not, and is percent-encoded: it is not ours.
    #[serde(rename = "@Encoded", default)]
    encoded: bool,
    #[serde(rename = "$text", default)]
    text: String,
}

#[derive(Debug, Deserialize)]
struct Properties {
    #[serde(rename = "Content-Length")]
    size: u64,
    #[serde(rename = "Last-Modified")]
    modified: String,
    /// `directory` in accounts that have directories, which are listed beside what is in them.
    #[serde(rename = "ResourceType")]
    kind: Option<String>,
}

/// The objects below `prefix`.
pub(super) fn list(client: Arc<Client>, prefix: Key) -> Objects {
    bucket::pages(client, prefix, |client, prefix, at| async move {
        page(&client, &prefix, at).await
    })
}

/// What stands right below the storage's prefix.
pub(super) async fn folders(client: &Client, limit: usize) -> Result<Vec<String>, Error> {
    bucket::folders(client.prefix(), limit, |at| async move {
        let request = listing(client, client.prefix(), PAGE).query("delimiter=%2F");
        let (entries, next) = ask(client, None, request, at).await?;
        Ok((entries.into_iter().filter_map(folder).collect(), next))
    })
    .await
}

async fn page(
    client: &Client,
    prefix: &Key,
    at: Page,
) -> Result<(Vec<Object>, Option<Page>), Error> {
    let request = listing(client, &format!("{}{prefix}/", client.prefix()), PAGE);
    let (entries, next) = ask(client, Some(prefix), request, at).await?;
    let objects = entries.into_iter();
    let objects = objects.filter_map(|entry| object(client, entry)).collect();
    Ok((objects, next))
}

/// One page of a list, and where it goes on.
async fn ask(
    client: &Client,
    prefix: Option<&Key>,
    mut request: Request<'_>,
    at: Page,
) -> Result<(Vec<Entry>, Option<Page>), Error> {
    if let Page::After(marker) = at {
        request = request.query(&format!("marker={}", encoded(&marker)));
    }
    let reply = request
        .send()
        .await
        .map_err(|failure| failure.meaning(client, prefix))?;
    let body = reply
        .bytes()
        .await
        .map_err(|error| no_answer(client, prefix, error))?;
    let listed = parse(&body).map_err(|error| Error::Corrupt {
        at: client.at(prefix),
        reason: format!("the server's list cannot be read: {error}"),
    })?;
    let next = listed.next_marker.filter(|marker| !marker.is_empty());
    Ok((listed.blobs.entries, next.map(Page::After)))
}

fn listing<'c>(client: &'c Client, prefix: &str, most: u32) -> Request<'c> {
    Request::container(client, Method::GET)
        .query("restype=container&comp=list")
        .query(&format!("prefix={}&maxresults={most}", encoded(prefix)))
}

fn parse(body: &[u8]) -> Result<Listed, quick_xml::DeError> {
    let text = String::from_utf8_lossy(body);
    quick_xml::de::from_str(text.trim_start_matches('\u{feff}'))
}

/// The name of a folder.
fn folder(entry: Entry) -> Option<String> {
    match entry {
        Entry::BlobPrefix(Folder { name }) if !name.encoded => Some(name.text),
        Entry::BlobPrefix(_) | Entry::Blob(_) => None,
    }
}

/// A blob as an object; none for names that no key can have, which are not ours.
fn object(client: &Client, entry: Entry) -> Option<Object> {
    let Entry::Blob(blob) = entry else {
        return None;
    };
    let Properties {
        size,
        modified,
        kind,
    } = blob.properties;
    if blob.name.encoded || kind.as_deref() == Some("directory") {
        return None;
    }
    let key = bucket::key_of(client.prefix(), &blob.name.text)?;
    // A time that is missing is the oldest, which is never taken for fresh.
    let modified = http_date(&modified).unwrap_or(SystemTime::UNIX_EPOCH);
    Some(Object {
        key,
        size,
        modified,
    })
}

/// Makes sure that the container is there and that we may list what is ours.
pub(super) async fn reach(client: &Client) -> Result<(), Error> {
    listing(client, client.prefix(), 1).brief().done().await
}

#[cfg(test)]
mod tests {
    use super::super::config::{AzureConfig, AzureCredentials};
    use super::*;

    #[test]
    fn a_page_has_our_objects_as_they_are_named_and_no_directories() {
        let blob = |name: &str, more: &str| {
            format!(
                "<Blob>{name}<Properties><Creation-Time>Sat, 21 Nov 2026 06:00:00 GMT</Creation-Time>\
                 <Last-Modified>Wed, 25 Nov 2026 18:00:01 GMT</Last-Modified>\
                 <Content-Length>4711</Content-Length><BlobType>BlockBlob</BlobType>{more}\
                 </Properties><OrMetadata /></Blob>"
            )
        };
        let blobs = [
            blob("<Name>ours/c/x</Name>", ""),
            blob(
                "<Name>ours/c/ a &amp;  b </Name>",
                "<ResourceType>file</ResourceType>",
            ),
            blob(
                "<Name>ours/c</Name>",
                "<ResourceType>directory</ResourceType>",
            ),
            blob("<Name Encoded=\"true\">ours/c/%EF%BF%BF</Name>", ""),
            blob("<Name>ours/c//y</Name>", ""),
        ];
        let page = format!(
            "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults \
             ServiceEndpoint=\"https://a/\" ContainerName=\"b\"><Prefix>ours/</Prefix>\
             <Blobs>{}</Blobs><NextMarker>2!80!x</NextMarker></EnumerationResults>",
            blobs.concat()
        );
        let key = AzureCredentials::AccountKey("aHVzaA==".to_owned());
        let mut config = AzureConfig::new("account", "backups", key);
        config.prefix = "ours".to_owned();
        let client = Client::connect(config).unwrap();
        let listed = parse(page.as_bytes()).unwrap();
        assert_eq!(listed.next_marker.as_deref(), Some("2!80!x"));
        let entries = listed.blobs.entries.into_iter();
        let objects: Vec<_> = entries.filter_map(|entry| object(&client, entry)).collect();
        let names: Vec<_> = objects.iter().map(|object| object.key.as_str()).collect();
        assert_eq!(names, ["c/x", "c/ a &  b "]);
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_795_629_601);
        assert!(
            objects
                .iter()
                .all(|object| object.modified == time && object.size == 4711)
        );
    }

    #[test]
    fn folders_are_read_between_blobs() {
        let blob = "<Blob><Name>c.txt</Name><Properties>\
                    <Last-Modified>Wed, 25 Nov 2026 18:00:01 GMT</Last-Modified>\
                    <Content-Length>1</Content-Length></Properties></Blob>";
        let page = format!(
            "<EnumerationResults><Delimiter>/</Delimiter><Blobs>\
             <BlobPrefix><Name>b/</Name></BlobPrefix>{blob}\
             <BlobPrefix><Name>d/</Name><Properties /></BlobPrefix>\
             </Blobs><NextMarker /></EnumerationResults>"
        );
        let entries = parse(page.as_bytes()).unwrap().blobs.entries;
        let names: Vec<_> = entries.into_iter().filter_map(folder).collect();
        assert_eq!(names, ["b/", "d/"]);
    }

    #[test]
    fn an_empty_page_is_read() {
        let page = "<EnumerationResults><Blobs /><NextMarker /></EnumerationResults>";
        let listed = parse(page.as_bytes()).unwrap();
        assert!(listed.blobs.entries.is_empty());
        assert_eq!(listed.next_marker.as_deref().unwrap_or_default(), "");
    }
}
