//! The test bed: real Kubernetes, real Cassandra, real stores.
//!
//! [`bed`] is what tests and the demo use, [`backup`] how they judge backups; [`parts`] is what it is made of, one module each;
//! [`host`] is what they ask of the machine.

pub mod backup;
pub mod bed;
pub mod host;
pub mod parts;
