//! What is on trial: the operator as a pod, installed with helm as users install it, the resources
//! that its users apply, and the agent as a command line.

pub mod agent;
pub mod alerts;
pub mod ground;
pub mod operator;
pub mod resources;
pub mod sbom;

pub use ground::{BUCKET, DISK, OneNode, STORAGE, bucket_server, one_node, shared_disk, start};
pub use operator::Operator;
pub use resources::{back_up, bring_back, brought_back, ended, file_storage, s3_storage};
