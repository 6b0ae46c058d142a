//! The stores of the bed: MinIO with users and small disks, and file systems of their own.

use std::net::{IpAddr, Ipv4Addr};

use e2e::parts::filesystem::{Filesystem, Kind};
use e2e::parts::minio::{Key, Minio, Setup, User};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[tokio::test(flavor = "multi_thread")]
async fn minio_keeps_objects_over_a_restart_and_a_restricted_user_is_refused() {
    let mut minio = Minio::start(LOOPBACK).await.unwrap();
    let reader = User::allowed("reader", "reader-secret", &["s3:GetObject"], &["backups"]);
    let setup = Setup {
        buckets: vec!["backups".into()],
        users: vec![reader],
        ..Setup::default()
    };
    minio.set_up(setup.clone()).await.unwrap();
    minio.set_up(setup).await.unwrap();

    let put = |client: aws_sdk_s3::Client, key: &'static str| async move {
        client
            .put_object()
            .bucket("backups")
            .key(key)
            .body(vec![7; 100].into())
            .send()
            .await
    };
    put(minio.client(), "a").await.unwrap();
    let key = |secret: &str| Key {
        id: "reader".into(),
        secret: secret.into(),
    };
    let reader = minio.client_of(&key("reader-secret"));
    let got = reader
        .get_object()
        .bucket("backups")
        .key("a")
        .send()
        .await
        .unwrap();
    assert_eq!(got.content_length(), Some(100));
    let refused = put(reader, "b").await.unwrap_err().into_service_error();
    assert_eq!(refused.meta().code(), Some("AccessDenied"));
    // Asked for something that the reader may do: what it may not is refused before its signature
    // is looked at.
    let stranger = minio.client_of(&key("wrong-secret"));
    let stranger = stranger
        .get_object()
        .bucket("backups")
        .key("a")
        .send()
        .await
        .unwrap_err();
    let stranger = stranger.into_service_error();
    assert_eq!(
        stranger.meta().code(),
        Some("SignatureDoesNotMatch"),
        "{stranger:?}"
    );

    minio.restart().await.unwrap();
    minio
        .client()
        .head_object()
        .bucket("backups")
        .key("a")
        .send()
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn minio_on_a_small_file_system_says_that_it_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let small = Filesystem::mount(folder.path(), "small", Kind::Ext4, 64 << 20)
        .await
        .unwrap();
    let minio = Minio::start_in(LOOPBACK, small.path()).await.unwrap();
    minio.bucket("backups").await.unwrap();
    let client = minio.client();
    let put = |n: usize| {
        let put = client.put_object().bucket("backups").key(format!("{n}"));
        put.body(vec![7; 8 << 20].into()).send()
    };
    put(0).await.unwrap();
    let mut refused = None;
    for n in 1..20 {
        if let Err(error) = put(n).await {
            refused = Some(
                error
                    .into_service_error()
                    .meta()
                    .code()
                    .map(ToOwned::to_owned),
            );
            break;
        }
    }
    assert_eq!(refused, Some(Some("XMinioStorageFull".into())));
}

#[tokio::test]
async fn a_file_system_is_another_device_fills_up_and_leaves_no_mount() {
    use std::os::unix::fs::MetadataExt as _;
    let folder = tempfile::tempdir().unwrap();
    for kind in [Kind::Tmpfs, Kind::Ext4] {
        let filesystem = Filesystem::mount(folder.path(), "backup", kind, 32 << 20)
            .await
            .unwrap();
        let path = filesystem.path().to_owned();
        let device = |path: &std::path::Path| std::fs::metadata(path).unwrap().dev();
        assert_ne!(device(&path), device(folder.path()));
        filesystem.fill(1 << 20).unwrap();
        let full = std::fs::write(path.join("more"), vec![0; 2 << 20]).unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
        filesystem.relieve().unwrap();
        std::fs::write(path.join("more"), vec![0; 2 << 20]).unwrap();
        drop(filesystem);
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
        assert!(!mounts.contains(path.to_str().unwrap()), "{mounts}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
