//! What the test bed asks of the machine below it: commands, daemons, packages, builds and a cache
//! for what was built. Nothing here knows Kubernetes or Cassandra.

pub mod cache;
pub mod child;
pub mod go;
pub mod packages;
pub mod process;
pub mod progress;
pub mod run;
pub mod tools;
