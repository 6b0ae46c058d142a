//! An issuer of tokens, as each EKS cluster is one for its service accounts, and MinIO's STS, which
//! gives temporary keys for them.

use std::net::SocketAddr;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::service::Service;

/// Whom the tokens are for, as on EKS.
pub const AUDIENCE: &str = "sts.amazonaws.com";
/// Where an issuer says what it is.
const DOCUMENT: &str = "/.well-known/openid-configuration";
/// The name of its key.
const KEY: &str = "bed";

pub struct Issuer {
    key: EcdsaKeyPair,
    service: Service,
}

impl Issuer {
    pub async fn start() -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        // 4, and two numbers of 32 bytes.
        let public = key.public_key().as_ref();
        let (x, y) = public[1..].split_at(32);
        let (x, y) = (encode(x), encode(y));
        let keys = json!({"keys": [{
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": KEY, "x": x, "y": y,
        }]});
        let service = Service::start(move |request| {
            let issuer = format!("http://{}", request.header("host")?);
            match request.line().strip_prefix("GET ")? {
                DOCUMENT => Some(
                    json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys")}).to_string(),
                ),
                "/keys" => Some(keys.to_string()),
                _ => None,
            }
        });
        Self {
            key,
            service: service.await,
        }
    }

    /// The URL of the document that says what it is.
    pub fn document(&self) -> String {
        format!("{}{DOCUMENT}", self.service.endpoint())
    }

    /// A token for an hour. The claim `policy` is MinIO's, which has no policies of roles.
    pub fn token(&self, policy: &str) -> String {
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": KEY});
        let now = Timestamp::now().as_second();
        let claims = json!({
            "iss": self.service.endpoint(), "aud": AUDIENCE, "iat": now, "exp": now + 3600,
            "sub": "system:serviceaccount:db:cassandra", "policy": policy,
        });
        let signed = [header, claims].map(|part| encode(part.to_string().as_bytes()));
        let signed = signed.join(".");
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes());
        format!("{signed}.{}", encode(signature.unwrap().as_ref()))
    }
}

/// Temporary keys for a token, as the metadata services of Amazon word them.
pub async fn temporary_keys(sts: SocketAddr, token: &str) -> Value {
    let form = format!(
        "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&DurationSeconds=3600&WebIdentityToken={token}"
    );
    let request = format!(
        "POST / HTTP/1.0\r\nHost: {sts}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{form}",
        form.len()
    );
    let mut stream = TcpStream::connect(sts).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let field = |name: &str| {
        let (_, rest) = answer.split_once(&format!("<{name}>")).unwrap_or_else(|| {
            panic!("no {name} in {answer}");
        });
        rest.split('<').next().unwrap_or_default().to_owned()
    };
    json!({
        "Code": "Success", "Type": "AWS-HMAC",
        "AccessKeyId": field("AccessKeyId"), "SecretAccessKey": field("SecretAccessKey"),
        "Token": field("SessionToken"), "Expiration": field("Expiration"),
    })
}

fn encode(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}
