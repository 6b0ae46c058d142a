//! What is on trial: the operator as a pod, installed with helm as users install it, and the
//! resources that its users apply.

pub mod ground;
pub mod operator;
pub mod resources;

pub use ground::{BUCKET, DISK, bucket_server, shared_disk, start};
pub use operator::Operator;
pub use resources::{back_up, ended, file_storage, s3_storage};
