//! Watches the resources, runs the agent in the pods, writes status.
//!
//! It knows no cloud: what talks to a storage is the agent, as a process in a pod or as a child
//! of this one.

mod arguments;
mod generate;
mod run;

pub use arguments::Arguments;
pub use run::run;
