//! The test bed: real Kubernetes, real Cassandra, real stores.
//!
//! [`bed`] is what tests and the demo use, [`product`] what they try, [`backup`] how they judge
//! backups, [`demo`] the main job shown, [`bench`] how it compares with what others use, [`pictures`]
//! makes those of the README; [`parts`] is what the bed is made of, one module each; [`host`] is what
//! they ask of the machine.

pub mod backup;
pub mod bed;
pub mod bench;
pub mod demo;
pub mod host;
pub mod parts;
pub mod pictures;
pub mod product;
