use std::path::PathBuf;

use clap::{Args, ValueEnum};
use protocol::{AzureAccess, GcsAccess, S3Access, S3Encryption, StorageAccess};

/// The storages that the command line names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum BlobStorage {
    /// A directory, such as a mounted NFS export
    File,
    /// Amazon S3, or a server that speaks its protocol
    S3,
    /// Google Cloud Storage
    Gcp,
    /// Azure Blob Storage
    Azure,
}

impl BlobStorage {
    fn name(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }
}

/// Where backups go.
#[derive(Debug, Args)]
#[command(next_help_heading = "Storage")]
pub(super) struct StorageFlags {
    /// Kind of storage
    #[arg(long, value_enum, value_name = "KIND")]
    blob_storage: BlobStorage,
    /// file: the directory, which all nodes of the cluster mount
    #[arg(long, value_name = "DIR")]
    filebackup_location: Option<PathBuf>,
    /// s3, gcp: the bucket; azure: the container
    #[arg(long, value_name = "NAME")]
    bucket: Option<String>,
    /// azure: the storage account [default: $AZURE_STORAGE_ACCOUNT_NAME]
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// s3, gcp, azure: a prefix of all keys in the bucket
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// s3, gcp, azure: URL of a server other than the cloud's own
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// s3: the region [default: that of the environment, else us-east-1]
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// s3: name the bucket in the path, as MinIO and others want it
    #[arg(long)]
    path_style: bool,
    /// s3, gcp, azure: certificate authorities of the server, in PEM, besides the usual ones
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// s3, gcp: storage class of the data, such as STANDARD_IA or NEARLINE
    #[arg(long, value_name = "CLASS")]
    storage_class: Option<String>,
    /// gcp: how times are renewed: rewrite, for lifecycle rules by age, or custom-time, for rules by
    /// daysSinceCustomTime [default: rewrite]
    #[arg(long, value_enum, value_name = "HOW", hide_possible_values = true)]
    gcs_touch: Option<GcsTouch>,
    /// s3: encryption by the server [default: as the bucket is set up]
    #[arg(long, value_enum, value_name = "KIND")]
    sse: Option<Sse>,
    /// s3: id or ARN of the key for --sse aws:kms [default: the account's own for S3]
    #[arg(long, value_name = "ID")]
    sse_kms_key_id: Option<String>,
}

/// Encryption at rest, by the names that AWS has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Sse {
    /// With keys of S3
    #[value(name = "AES256")]
    Aes256,
    /// With a key of KMS
    #[value(name = "aws:kms")]
    Kms,
}

/// How the times of objects are renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum GcsTouch {
    /// The server rewrites them
    Rewrite,
    /// Their custom time is set
    CustomTime,
}

impl StorageFlags {
    /// What the flags mean, or what is wrong with them and what to do.
    pub fn access(&self) -> Result<StorageAccess, String> {
        match self.blob_storage {
            BlobStorage::File => self.file(),
            BlobStorage::S3 => self.s3(),
            BlobStorage::Gcp => self.gcp(),
            BlobStorage::Azure => self.azure(),
        }
    }

    fn file(&self) -> Result<StorageAccess, String> {
        self.refuse_others(&[])?;
        let path = self
            .filebackup_location
            .as_deref()
            .ok_or("--blob-storage file needs --filebackup-location DIR")?;
        let absolute = std::path::absolute(path)
            .map_err(|error| format!("--filebackup-location {}: {error}", path.display()))?;
        let path = absolute.into_os_string().into_string().map_err(|path| {
            format!(
                "--filebackup-location {}: the path must be UTF-8",
                path.display()
            )
        })?;
        Ok(StorageAccess::File { path })
    }

    fn s3(&self) -> Result<StorageAccess, String> {
        self.refuse_others(&[
            "--bucket",
            "--prefix",
            "--endpoint",
            "--region",
            "--path-style",
            "--ca-file",
            "--storage-class",
            "--sse",
            "--sse-kms-key-id",
        ])?;
        let encryption = match (self.sse, &self.sse_kms_key_id) {
            (Some(Sse::Kms), key_id) => Some(S3Encryption::Kms {
                key_id: key_id.clone(),
            }),
            (_, Some(_)) => return Err("--sse-kms-key-id is for --sse aws:kms".into()),
            (Some(Sse::Aes256), None) => Some(S3Encryption::S3),
            (None, None) => None,
        };
        Ok(StorageAccess::S3(S3Access {
            bucket: self.bucket()?,
            prefix: self.prefix.clone().unwrap_or_default(),
            region: self.region.clone(),
            endpoint: self.endpoint.clone(),
            path_style: self.path_style,
            ca_pem: self.ca_pem()?,
            storage_class: self.storage_class.clone(),
            encryption,
            credentials: None,
        }))
    }

    fn gcp(&self) -> Result<StorageAccess, String> {
        self.refuse_others(&[
            "--bucket",
            "--prefix",
            "--endpoint",
            "--ca-file",
            "--storage-class",
            "--gcs-touch",
        ])?;
        Ok(StorageAccess::Gcs(GcsAccess {
            bucket: self.bucket()?,
            prefix: self.prefix.clone().unwrap_or_default(),
            endpoint: self.endpoint.clone(),
            ca_pem: self.ca_pem()?,
            storage_class: self.storage_class.clone(),
            touch: match self.gcs_touch {
                None | Some(GcsTouch::Rewrite) => protocol::GcsTouch::Rewrite,
                Some(GcsTouch::CustomTime) => protocol::GcsTouch::CustomTime,
            },
            credentials: None,
        }))
    }

    fn azure(&self) -> Result<StorageAccess, String> {
        self.refuse_others(&[
            "--bucket",
            "--account",
            "--prefix",
            "--endpoint",
            "--ca-file",
        ])?;
        let container = self.bucket()?;
        let account = self.account.clone();
        let account = account.or_else(|| std::env::var("AZURE_STORAGE_ACCOUNT_NAME").ok());
        Ok(StorageAccess::Azure(AzureAccess {
            account: account.ok_or(
                "--blob-storage azure needs --account NAME, or AZURE_STORAGE_ACCOUNT_NAME in the \
                 environment",
            )?,
            container,
            prefix: self.prefix.clone().unwrap_or_default(),
            endpoint: self.endpoint.clone(),
            ca_pem: self.ca_pem()?,
            credentials: None,
        }))
    }

    fn bucket(&self) -> Result<String, String> {
        let bucket = self.bucket.clone().filter(|bucket| !bucket.is_empty());
        let kind = self.blob_storage.name();
        bucket.ok_or_else(|| format!("--blob-storage {kind} needs --bucket NAME"))
    }

    fn ca_pem(&self) -> Result<Option<String>, String> {
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path)
                .map_err(|error| format!("--ca-file {}: {error}", path.display()))
        };
        self.ca_file.as_ref().map(read).transpose()
    }

    /// Refuses the flags that are given and belong to storages of other kinds.
    fn refuse_others(&self, ours: &[&str]) -> Result<(), String> {
        let file = self.blob_storage == BlobStorage::File;
        let given = [
            (
                "--filebackup-location",
                !file && self.filebackup_location.is_some(),
            ),
            ("--bucket", self.bucket.is_some()),
            ("--account", self.account.is_some()),
            ("--prefix", self.prefix.is_some()),
            ("--endpoint", self.endpoint.is_some()),
            ("--region", self.region.is_some()),
            ("--path-style", self.path_style),
            ("--ca-file", self.ca_file.is_some()),
            ("--storage-class", self.storage_class.is_some()),
            ("--gcs-touch", self.gcs_touch.is_some()),
            ("--sse", self.sse.is_some()),
            ("--sse-kms-key-id", self.sse_kms_key_id.is_some()),
        ];
        match given
            .iter()
            .find(|(flag, given)| *given && !ours.contains(flag))
        {
            Some((flag, _)) => Err(format!(
                "{flag} is not for --blob-storage {}; leave it out",
                self.blob_storage.name()
            )),
            None => Ok(()),
        }
    }
}
