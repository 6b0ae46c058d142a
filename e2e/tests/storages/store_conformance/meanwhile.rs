//! Somebody deletes or replaces an object of S3 while it is touched: before each of the requests of
//! which a touch is made, whichever way it goes.

use aws_sdk_s3::Client;
use e2e::host::proxy::{Fault, Proxy};

use super::touch::touch_until_it_shows;
use super::*;

const PATH: &str = "c/x";

/// What happens meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Deleted,
    /// By other content of the same size.
    Replaced,
    /// By content of another size.
    Resized,
}

impl Change {
    /// What is there afterwards, in the place of an object of this size.
    fn leaves(self, size: u64) -> Option<Vec<u8>> {
        match self {
            Self::Deleted => None,
            Self::Replaced => Some(vec![b'o'; size as usize]),
            Self::Resized => Some(vec![b'o'; size as usize + 100]),
        }
    }
}

/// A storage that touches in one of the ways, and the requests that this takes.
struct Way<'a> {
    /// Through `proxy`.
    store: &'a S3Store,
    proxy: &'a Proxy,
    /// Of somebody else, who goes to the server itself.
    client: &'a Client,
    size: u64,
    requests: &'static [&'static str],
}

impl Way<'_> {
    async fn upload(&self) {
        let whole = content(self.size);
        upload(self.store, PATH, &whole).await.unwrap();
    }

    async fn delete(&self) {
        let deleted = self.client.delete_object().bucket("backups").key(PATH);
        deleted.send().await.unwrap();
    }

    /// Touches the object, and makes the change before this request.
    async fn touch_with(&self, change: Change, request: &'static str) -> Result<(), Error> {
        let mut held = self.proxy.hold(request);
        let (store, size) = (self.store.clone(), self.size);
        let mut touching = tokio::spawn(async move { store.touch(&key(PATH), size).await });
        tokio::select! {
            () = held.reached() => {}
            done = &mut touching => panic!("{request} was not sent: {done:?}"),
        }
        match change.leaves(size) {
            None => self.delete().await,
            Some(other) => {
                let put = self.client.put_object().bucket("backups").key(PATH);
                put.body(other.into()).send().await.unwrap();
            }
        }
        drop(held);
        touching.await.unwrap()
    }

    /// What is there is what the change left, and no part of an upload.
    async fn has_what(&self, change: Change, at: &str) {
        let there = match self.store.read_small(&key(PATH), u64::MAX).await {
            Err(Error::NotFound { .. }) => None,
            read => Some(read.unwrap().to_vec()),
        };
        assert!(there == change.leaves(self.size), "{at}");
        let uploads = self.client.list_multipart_uploads().bucket("backups");
        let uploads = uploads.prefix(PATH).send().await.unwrap();
        assert!(uploads.uploads().is_empty(), "{at}: {uploads:?}");
    }

    async fn keeps_what_others_do(&self) {
        self.delete().await;
        let gone = self.store.touch(&key(PATH), self.size).await;
        assert!(matches!(gone, Err(Error::NotFound { .. })), "{gone:?}");
        let in_one_copy = self.requests.len() == 1;
        for request in self.requests {
            for change in [Change::Deleted, Change::Replaced, Change::Resized] {
                self.upload().await;
                let touched = self.touch_with(change, request).await;
                let at = format!("{change:?} before {request}: {touched:?}");
                match change {
                    Change::Deleted => {
                        assert!(matches!(touched, Err(Error::NotFound { .. })), "{at}");
                    }
                    // Its time is new; and a copy in one request does not tell the size.
                    Change::Replaced => assert!(touched.is_ok(), "{at}"),
                    Change::Resized if in_one_copy => assert!(touched.is_ok(), "{at}"),
                    Change::Resized => {
                        assert!(matches!(touched, Err(Error::Differs { .. })), "{at}");
                    }
                }
                self.has_what(change, &at).await;
                self.delete().await;
            }
        }
    }
}

const BY_ONE_COPY: &[&str] = &["PUT /backups/c/x"];
const BY_COPIES_OF_PARTS: &[&str] = &[
    "POST /backups/c/x?uploads",
    "partNumber=2&",
    "POST /backups/c/x?uploadId",
];
const BY_WRITING_AGAIN: &[&str] = &["GET /backups/c/x", "PUT /backups/c/x"];

#[tokio::test(flavor = "multi_thread")]
async fn what_others_do_to_an_object_while_minio_copies_it_onto_itself_stays() {
    let (minio, mut config) = minio().await;
    let (proxy, client) = (Proxy::start(minio.address()).await, minio.client());
    let proxy = proxy.unwrap();
    config.endpoint = Some(proxy.endpoint());
    let at_once = connect(&config).await;
    config.copy_limit = 5 * MIB;
    let in_parts = connect(&config).await;
    for (store, size, requests) in [
        (&at_once, 1000, BY_ONE_COPY),
        (&in_parts, 11 * MIB, BY_COPIES_OF_PARTS),
    ] {
        let way = Way {
            store,
            proxy: &proxy,
            client: &client,
            size,
            requests,
        };
        way.upload().await;
        way.keeps_what_others_do().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_do_to_an_object_that_is_written_again_since_copies_move_no_time_stays() {
    let server = VersityGw::start(LOOPBACK).await.unwrap();
    server.bucket("backups").await.unwrap();
    let address = server.endpoint().replace("http://", "").parse().unwrap();
    let (proxy, client) = (Proxy::start(address).await.unwrap(), server.client());
    let root = server.root();
    let mut config = config(&proxy.endpoint(), &root.id, &root.secret);
    config.copy_limit = 5 * MIB;
    let store = connect(&config).await;
    for (size, requests) in [(1000, BY_WRITING_AGAIN), (11 * MIB, BY_COPIES_OF_PARTS)] {
        let way = Way {
            store: &store,
            proxy: &proxy,
            client: &client,
            size,
            requests,
        };
        way.upload().await;
        // Shows the storage what copies are worth here.
        touch_until_it_shows(&store, PATH).await;
        way.keeps_what_others_do().await;
    }
}

/// The object is renewed and stays what it is, though the server knows no conditions; which is remembered.
async fn renews_without_conditions(store: &S3Store, proxy: &Proxy, size: u64) {
    let whole = content(size);
    upload(store, PATH, &whole).await.unwrap();
    proxy.always("if-match:", Fault::Unimplemented);
    touch_until_it_shows(store, PATH).await;
    let refused = proxy.hits();
    assert!(refused > 0);
    store.touch(&key(PATH), size).await.unwrap();
    assert_eq!(proxy.hits(), refused);
    let there = store.read_small(&key(PATH), u64::MAX).await.unwrap();
    assert!(there == whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_knows_no_conditions_is_touched_without_them() {
    let (minio, mut config) = minio().await;
    let proxy = Proxy::start(minio.address()).await.unwrap();
    config.endpoint = Some(proxy.endpoint());
    config.copy_limit = 5 * MIB;
    let in_parts = connect(&config).await;
    renews_without_conditions(&in_parts, &proxy, 11 * MIB).await;

    let server = VersityGw::start(LOOPBACK).await.unwrap();
    server.bucket("backups").await.unwrap();
    let address = server.endpoint().replace("http://", "").parse().unwrap();
    let proxy = Proxy::start(address).await.unwrap();
    let root = server.root();
    let written_again = connect(&self::config(&proxy.endpoint(), &root.id, &root.secret)).await;
    renews_without_conditions(&written_again, &proxy, 1000).await;
}
