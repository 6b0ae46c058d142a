//! Who the agent is, by what it is given and by what its environment has. Services that give
//! tokens exist in the cloud only: a small one of ours stands for Entra ID and for the machine.

use e2e::parts::azurite::Azurite;
use store::conformance::{self, Subject};
use store::testing::{key, told};
use store::{AzureConfig, AzureCredentials, Error, Store};

use super::{LOOPBACK, config, connect};

#[tokio::test(flavor = "multi_thread")]
async fn azurite_passes_it_by_the_tokens_of_an_application() {
    let azurite = Azurite::start_with_tokens(LOOPBACK).await.unwrap();
    azurite.container("backups").await.unwrap();
    let application = |client_secret: String| AzureCredentials::ServicePrincipal {
        tenant: "bed".into(),
        client_id: azurite.client_id().into(),
        client_secret,
        authority: azurite.authority(),
    };
    let config = config(&azurite, application(azurite.client_secret()));
    let store = connect(&config);
    conformance::all(Subject {
        store: &store,
        part_size: config.block_size,
    })
    .await;

    let mut stranger = config.clone();
    stranger.credentials = application("not-the-secret".into());
    let error = connect(&stranger).probe(None).await.unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error:?}");
    assert!(told(&error).contains("AADSTS7000215"), "{}", told(&error));
    assert!(!told(&error).contains("not-the-secret"), "{}", told(&error));

    let mut distrustful = config.clone();
    distrustful.ca_pem = None;
    distrustful.credentials = AzureCredentials::AccountKey(azurite.key());
    let error = connect(&distrustful).probe(None).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
    assert!(told(&error).contains("certificate"), "{}", told(&error));
}

/// Tells this very test, started again, where the server is.
const CHILD: &str = "STORE_ON_AZURE_CA";

#[tokio::test(flavor = "multi_thread")]
async fn the_identity_of_the_environment_is_found() {
    if let Ok(ca_file) = std::env::var(CHILD) {
        let mut config = AzureConfig::new("", "backups", AzureCredentials::Ambient);
        config.ca_pem = Some(std::fs::read_to_string(ca_file).unwrap());
        let store = connect(&config);
        let report = store.probe(Some(&key("c/probe"))).await.unwrap();
        assert!(report.write.unwrap().may_delete);
        return;
    }
    let azurite = Azurite::start_with_tokens(LOOPBACK).await.unwrap();
    azurite.container("backups").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (ca_file, assertion) = (folder.path().join("ca"), folder.path().join("assertion"));
    std::fs::write(&ca_file, azurite.ca_pem().unwrap()).unwrap();
    std::fs::write(&assertion, azurite.client_secret()).unwrap();
    let assertion = assertion.to_str().unwrap().to_owned();
    let application = || {
        [
            ("AZURE_CLIENT_ID", azurite.client_id().to_owned()),
            ("AZURE_TENANT_ID", "bed".to_owned()),
            ("AZURE_AUTHORITY_HOST", azurite.authority().unwrap()),
        ]
    };
    let workload = ("AZURE_FEDERATED_TOKEN_FILE", assertion.clone());
    let secret = |secret: &str| ("AZURE_CLIENT_SECRET", secret.to_owned());
    let mut environments = vec![
        (vec![("AZURE_STORAGE_ACCOUNT_KEY", azurite.key())], true),
        (
            vec![("AZURE_STORAGE_SAS_TOKEN", azurite.sas("backups", "rcwdl"))],
            true,
        ),
        (vec![workload], true),
        (vec![secret(&azurite.client_secret())], true),
        (vec![secret("not-the-secret")], false),
    ];
    for (environment, _) in &mut environments[2..] {
        environment.extend(application());
    }
    let machine = |header: &str| {
        let endpoint = azurite.identity_endpoint().unwrap();
        let header = ("IDENTITY_HEADER", header.to_owned());
        vec![("IDENTITY_ENDPOINT", endpoint), header]
    };
    environments.push((machine(&azurite.client_secret()), true));
    environments.push((machine("not-the-secret"), false));
    for (environment, found) in environments {
        let names: Vec<_> = environment.iter().map(|(name, _)| *name).collect();
        let output = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "store_on_azure::identities::the_identity_of_the_environment_is_found",
            ])
            .env(CHILD, &ca_file)
            .env("AZURE_STORAGE_ACCOUNT_NAME", azurite.account())
            .env("AZURE_STORAGE_ENDPOINT", azurite.endpoint())
            .envs(environment)
            .output()
            .await
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.success(), found, "{names:?}: {told}");
        assert_eq!(told.contains("Denied"), !found, "{names:?}: {told}");
    }
}
