//! What the test bed asks of the machine below it: commands, daemons, packages, builds and a cache
//! for what was built. Nothing here knows Kubernetes or Cassandra.

pub mod cache;
pub mod cgroup;
pub mod child;
pub mod clock;
pub mod go;
pub mod mounts;
pub mod packages;
pub mod port;
pub mod process;
pub mod progress;
pub mod proxy;
pub mod run;
pub mod sysctl;
pub mod tools;
