use std::fs;
use std::path::Path;

use protocol::{
    BackupRequest, ClientCertificate, CqlAccess, JmxAccess, JmxTls, Limits, Operation, Password,
    S3Access, S3Credentials, Scope, Secret, StorageAccess,
};

use crate::harness::Place;

fn with_secrets(place: &Place) -> protocol::Request {
    let password = |text| {
        Some(Password {
            username: "ops".into(),
            password: Secret::new(text),
        })
    };
    let mut request = place.request();
    request.operation = Operation::Backup(Box::new(BackupRequest {
        backup: "b1".into(),
        cluster: "prod".into(),
        series: None,
        scope: Scope::default(),
        storage: StorageAccess::S3(S3Access {
            bucket: "b".into(),
            credentials: Some(S3Credentials {
                access_key: "key".into(),
                secret_key: Secret::new("hunter2-s3"),
                session_token: Some(Secret::new("hunter2-session")),
            }),
            ..S3Access::default()
        }),
        jmx: JmxAccess {
            credentials: password("hunter2-jmx"),
            tls: Some(JmxTls {
                client: Some(ClientCertificate {
                    certificate_pem: "certificate".into(),
                    key_pem: Secret::new("hunter2-key"),
                }),
                ..JmxTls::default()
            }),
            ..JmxAccess::default()
        },
        cql: CqlAccess {
            credentials: password("hunter2-cql"),
            ..CqlAccess::default()
        },
        pod: None,
        snapshot_at: None,
        hold: false,
        without_ring: false,
        limits: Limits::default(),
        touch_after_seconds: 0,
        allow_corrupt: false,
        require_own_device: false,
    }));
    request
}

fn files(directory: &Path) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(fs::read(&path).unwrap()),
        }
    }
    found
}

#[test]
fn secrets_are_in_no_file_no_argument_and_no_variable() {
    let place = Place::new();
    let request = with_secrets(&place);
    assert!(request.to_line().unwrap().contains("hunter2"));
    let mut run = place.start(&request, &["warn=one", &place.awaiting("gate")]);
    run.until_warning("one");
    let process = |file| fs::read(format!("/proc/{}/{file}", run.pid())).unwrap();
    let mut places = vec![process("cmdline"), process("environ")];
    assert!(!places[0].is_empty());
    place.open("gate");
    run.outcome();
    places.extend(files(&place.state()));
    assert!(places.len() >= 3, "the journal is among them");
    for bytes in places {
        assert!(!String::from_utf8_lossy(&bytes).contains("hunter2"));
    }
}
