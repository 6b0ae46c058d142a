use std::path::PathBuf;

use clap::{Args, ValueEnum};
use protocol::{GcsAccess, S3Access, StorageAccess};

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
    /// s3, gcp: the bucket
    #[arg(long, value_name = "NAME")]
    bucket: Option<String>,
    /// s3, gcp: a prefix of all keys in the bucket
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// s3, gcp: URL of a server other than the cloud's own
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// s3: the region [default: that of the environment, else us-east-1]
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// s3: name the bucket in the path, as MinIO and others want it
    #[arg(long)]
    path_style: bool,
    /// s3, gcp: certificate authorities of the server, in PEM, besides the usual ones
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// s3, gcp: storage class of the data, such as STANDARD_IA or NEARLINE
    #[arg(long, value_name = "CLASS")]
    storage_class: Option<String>,
}

impl StorageFlags {
    /// What the flags mean, or what is wrong with them and what to do.
    pub fn access(&self) -> Result<StorageAccess, String> {
        match self.blob_storage {
            BlobStorage::File => self.file(),
            BlobStorage::S3 => self.s3(),
            BlobStorage::Gcp => self.gcp(),
            BlobStorage::Azure => Err(format!(
                "--blob-storage {} comes with the next version; this one has file, s3 and gcp",
                self.blob_storage.name()
            )),
        }
    }

    fn file(&self) -> Result<StorageAccess, String> {
        let foreign = [
            ("--bucket", self.bucket.is_some()),
            ("--prefix", self.prefix.is_some()),
            ("--endpoint", self.endpoint.is_some()),
            ("--region", self.region.is_some()),
            ("--path-style", self.path_style),
            ("--ca-file", self.ca_file.is_some()),
            ("--storage-class", self.storage_class.is_some()),
        ];
        if let Some((flag, _)) = foreign.iter().find(|(_, given)| *given) {
            return Err(format!(
                "{flag} is for --blob-storage s3; leave it out with file"
            ));
        }
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
        if self.filebackup_location.is_some() {
            return Err(
                "--filebackup-location is for --blob-storage file; leave it out with s3".into(),
            );
        }
        Ok(StorageAccess::S3(S3Access {
            bucket: self.bucket()?,
            prefix: self.prefix.clone().unwrap_or_default(),
            region: self.region.clone(),
            endpoint: self.endpoint.clone(),
            path_style: self.path_style,
            ca_pem: self.ca_pem()?,
            storage_class: self.storage_class.clone(),
            credentials: None,
        }))
    }

    fn gcp(&self) -> Result<StorageAccess, String> {
        let foreign = [
            ("--filebackup-location", self.filebackup_location.is_some()),
            ("--region", self.region.is_some()),
            ("--path-style", self.path_style),
        ];
        if let Some((flag, _)) = foreign.iter().find(|(_, given)| *given) {
            return Err(format!(
                "{flag} is not for --blob-storage gcp; leave it out"
            ));
        }
        Ok(StorageAccess::Gcs(GcsAccess {
            bucket: self.bucket()?,
            prefix: self.prefix.clone().unwrap_or_default(),
            endpoint: self.endpoint.clone(),
            ca_pem: self.ca_pem()?,
            storage_class: self.storage_class.clone(),
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
}
