//! The identities of the environment with which the agent goes to S3, each where it is the only one.
//! The server is MinIO. What gives out keys on Amazon's machines and in its clusters is there only, so
//! small services of the test stand in for it, and hand out temporary keys of MinIO's.

mod issuer;
mod service;

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use e2e::parts::binaries;
use e2e::parts::minio::{Minio, REGION};
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

use self::issuer::{AUDIENCE, Issuer, temporary_keys};
use self::service::Service;

const BUCKET: &str = "backups";
/// A policy that MinIO has from the start: everything with objects.
const READWRITE: &str = "readwrite";

/// A MinIO that trusts an issuer, and the home of somebody who has no other identity than a test
/// gives them.
struct Ground {
    minio: Minio,
    issuer: Issuer,
    home: TempDir,
    /// Where the agent is told that the storage is.
    endpoint: String,
}

impl Ground {
    async fn new() -> Self {
        let issuer = Issuer::start().await;
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let minio = Minio::start_with_issuer(address, &issuer.document(), AUDIENCE)
            .await
            .unwrap();
        minio.bucket(BUCKET).await.unwrap();
        Self {
            endpoint: minio.endpoint(),
            minio,
            issuer,
            home: tempfile::tempdir().unwrap(),
        }
    }

    /// Writes a file at home that only its owner reads.
    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.home.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    async fn temporary_keys(&self) -> Value {
        let token = self.issuer.token(READWRITE);
        temporary_keys(self.minio.address(), &token).await
    }

    /// Has the agent look at the bucket, with this environment and no other.
    async fn check(&self, environment: &[(&str, &str)]) -> Output {
        let agent = binaries::build().await.unwrap().agent;
        let mut command = tokio::process::Command::new(agent);
        command
            .args(["check", "--no-cassandra", "--cluster", "prod"])
            .args(["--blob-storage", "s3", "--bucket", BUCKET, "--path-style"])
            .args(["--endpoint", &self.endpoint, "--output", "json"])
            .env_clear()
            .env("HOME", self.home.path());
        // Else every identity that is not found is also looked for on the network of the cloud.
        if !environment
            .iter()
            .any(|(name, _)| name.starts_with("AWS_EC2"))
        {
            command.env("AWS_EC2_METADATA_DISABLED", "true");
        }
        command.envs(environment.iter().copied());
        command.output().await.unwrap()
    }

    async fn works(&self, environment: &[(&str, &str)]) {
        let output = self.check(environment).await;
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        for what in ["storage", "write", "touch", "delete"] {
            assert_eq!(state(&output, what), "Works", "{what}: {output:?}");
        }
    }

    /// The storage is not there for whoever has this environment. Gives what they are told.
    async fn is_denied(&self, environment: &[(&str, &str)]) -> String {
        let output = self.check(environment).await;
        assert_eq!(output.status.code(), Some(12), "{output:?}");
        assert_eq!(state(&output, "storage"), "Fails", "{output:?}");
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        document["checks"][0]["detail"].as_str().unwrap().to_owned()
    }
}

/// How one thing was found to be.
fn state(output: &Output, what: &str) -> String {
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = document["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["check"] == what);
    let state = found.and_then(|check| check["state"].as_str());
    state.unwrap_or("not looked at").to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_identity_access_is_denied_and_the_message_says_where_one_was_looked_for() {
    let ground = Ground::new().await;
    let told = ground.is_denied(&[]).await;
    for place in [
        "Environment",
        "Profile",
        "WebIdentityToken",
        "EcsContainer",
        "Ec2InstanceMetadata",
    ] {
        assert!(told.contains(place), "{place}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_of_the_shared_files_is_used() {
    let ground = Ground::new().await;
    let root = ground.minio.root();
    let (id, secret) = (&root.id, &root.secret);
    let profile = format!(
        "[default]\naws_access_key_id = nobody\naws_secret_access_key = nothing\n\n\
         [backup]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n"
    );
    let elsewhere = ground.write("elsewhere/credentials", &profile);
    let elsewhere = ("AWS_SHARED_CREDENTIALS_FILE", text(&elsewhere));
    ground.works(&[elsewhere, ("AWS_PROFILE", "backup")]).await;
    let told = ground.is_denied(&[elsewhere]).await;
    assert!(told.contains("InvalidAccessKeyId"), "{told}");
    // Where it is by default.
    ground.write(".aws/credentials", &profile);
    ground.works(&[("AWS_PROFILE", "backup")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_credentials_of_a_container_are_used_as_by_eks_pod_identity() {
    let ground = Ground::new().await;
    let keys = ground.temporary_keys().await.to_string();
    let service = Service::start(move |request| {
        let allowed = request.header("authorization") == Some("token of the pod");
        (allowed && request.line() == "GET /v1/credentials").then(|| keys.clone())
    });
    let service = service.await;
    let uri = format!("{}/v1/credentials", service.endpoint());
    let token = ground.write("pod-identity/token", "token of the pod");
    let uri = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*uri);
    let file = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
    ground.works(&[uri, (file, text(&token))]).await;
    assert_eq!(service.asked(), ["GET /v1/credentials"]);
    // A token that the service refuses, as after the association was deleted.
    let other = ground.write("pod-identity/other", "another token");
    ground.is_denied(&[uri, (file, text(&other))]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_of_a_machine_is_used_by_its_metadata_service_in_version_two() {
    let ground = Ground::new().await;
    let keys = ground.temporary_keys().await.to_string();
    let service = Service::start(move |request| {
        let line = request.line();
        if line == "PUT /latest/api/token" {
            return Some("session".into());
        }
        // Version one, which asks without a token, is refused.
        if request.header("x-aws-ec2-metadata-token") != Some("session") {
            return None;
        }
        match line.strip_prefix("GET /latest/meta-data/")? {
            "iam/security-credentials/" => Some("backup-role".into()),
            "iam/security-credentials/backup-role" => Some(keys.clone()),
            "placement/region" => Some(REGION.into()),
            _ => None,
        }
    });
    let service = service.await;
    let endpoint = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.endpoint());
    ground.works(&[endpoint]).await;
    // Machines are asked without the proxy. Here it is the storage itself, which would not know.
    let proxy = ground.minio.endpoint();
    ground.works(&[endpoint, ("HTTP_PROXY", &proxy)]).await;
    let role = "GET /latest/meta-data/iam/security-credentials/backup-role";
    assert!(
        service.asked().iter().any(|asked| asked == role),
        "{:?}",
        service.asked()
    );
}

/// A server is a proxy for itself: it takes the whole address in the first line of a request.
#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_of_the_environment_is_used_but_for_what_it_excepts() {
    let mut ground = Ground::new().await;
    ground.endpoint = "http://storage.invalid:9000".into();
    let keys = ground.temporary_keys().await;
    let key = |name: &str| keys[name].as_str().unwrap();
    let proxy = ground.minio.endpoint();
    let mut environment = vec![
        ("AWS_ACCESS_KEY_ID", key("AccessKeyId")),
        ("AWS_SECRET_ACCESS_KEY", key("SecretAccessKey")),
        ("AWS_SESSION_TOKEN", key("Token")),
        ("HTTP_PROXY", proxy.as_str()),
    ];
    ground.works(&environment).await;
    environment.push(("NO_PROXY", "storage.invalid"));
    let output = ground.check(&environment).await;
    assert_eq!(output.status.code(), Some(75), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_of_a_service_account_is_exchanged_at_the_sts_as_by_irsa() {
    let ground = Ground::new().await;
    let token = ground.issuer.token(READWRITE);
    let keys = temporary_keys(ground.minio.address(), &token).await;
    let key = |name: &str| keys[name].as_str().unwrap().to_owned();
    // MinIO's own answer has no name of who the keys are for, which the SDK does not take.
    let answer = format!(
        "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><AssumedRoleUser>\
         <Arn>arn:aws:sts::123456789012:assumed-role/backup/pod</Arn>\
         <AssumedRoleId>AROA:pod</AssumedRoleId></AssumedRoleUser><Credentials>\
         <AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey>\
         <SessionToken>{}</SessionToken><Expiration>{}</Expiration></Credentials>\
         </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>",
        key("AccessKeyId"),
        key("SecretAccessKey"),
        key("Token"),
        key("Expiration"),
    );
    let expected = [
        "Action=AssumeRoleWithWebIdentity".to_owned(),
        "RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fbackup".to_owned(),
        format!("WebIdentityToken={token}"),
    ];
    let sts = Service::start(move |request| {
        let fields: Vec<_> = request.body.split('&').collect();
        let whole = expected
            .iter()
            .all(|field| fields.contains(&field.as_str()));
        (request.line() == "POST /" && whole).then(|| answer.clone())
    });
    let sts = sts.await;
    // What the webhook of EKS sets, and where the STS is.
    let role = ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/backup");
    let region = ("AWS_REGION", REGION);
    let endpoint = ("AWS_ENDPOINT_URL_STS", sts.endpoint());
    let file = "AWS_WEB_IDENTITY_TOKEN_FILE";
    let good = ground.write("token", &token);
    ground
        .works(&[role, region, endpoint, (file, text(&good))])
        .await;
    assert_eq!(sts.asked(), ["POST /"]);
    let other = ground.write("other", &ground.issuer.token("another"));
    let told = ground
        .is_denied(&[role, region, endpoint, (file, text(&other))])
        .await;
    assert!(!told.contains("eyJ"), "the token is told: {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_of_a_profile_is_asked_for_credentials() {
    let ground = Ground::new().await;
    let keys = ground.temporary_keys().await;
    let answer = json!({
        "Version": 1, "AccessKeyId": keys["AccessKeyId"], "SecretAccessKey": keys["SecretAccessKey"],
        "SessionToken": keys["Token"], "Expiration": keys["Expiration"],
    });
    let answer = ground.write("answer.json", &answer.to_string());
    let script = format!(
        "#!/bin/sh\nread -r line < {}\necho \"$line\"\n",
        answer.display()
    );
    let script = ground.write("credentials.sh", &script);
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
    let config = format!("[default]\ncredential_process = {}\n", script.display());
    ground.write(".aws/config", &config);
    ground.works(&[]).await;
    fs::write(&script, "#!/bin/sh\necho 'no login' >&2\nexit 1\n").unwrap();
    let told = ground.is_denied(&[]).await;
    assert!(told.contains("no login"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_by_sso_is_used() {
    let ground = Ground::new().await;
    let keys = ground.temporary_keys().await;
    let expiry: Timestamp = keys["Expiration"].as_str().unwrap().parse().unwrap();
    let answer = json!({"roleCredentials": {
        "accessKeyId": keys["AccessKeyId"], "secretAccessKey": keys["SecretAccessKey"],
        "sessionToken": keys["Token"], "expiration": expiry.as_millisecond(),
    }});
    let answer = answer.to_string();
    let service = Service::start(move |request| {
        let allowed = request.header("x-amz-sso_bearer_token") == Some("logged in");
        (allowed && request.line() == "GET /federation/credentials").then(|| answer.clone())
    });
    let service = service.await;
    let config = "[default]\nsso_session = bed\nsso_account_id = 123456789012\n\
         sso_role_name = backup\n\n\
         [sso-session bed]\nsso_region = us-east-1\nsso_start_url = https://bed.example\n";
    ground.write(".aws/config", config);
    let portal = ("AWS_ENDPOINT_URL_SSO", service.endpoint());
    let told = ground.is_denied(&[portal]).await;
    assert!(told.contains("token"), "{told}");
    // What `aws sso login` leaves; the file's name is the SHA-1 of the session's.
    let login = json!({
        "accessToken": "logged in", "expiresAt": expiry, "region": REGION,
        "startUrl": "https://bed.example",
    });
    let file = ".aws/sso/cache/fefe2393a7fc8eafc6f15a3953f6102dfebf6d1a.json";
    ground.write(file, &login.to_string());
    ground.works(&[portal]).await;
    assert_eq!(service.asked(), ["GET /federation/credentials"]);
}
