//! RMI's wire protocol (JRMP), as far as a JMX client needs it: the Stream protocol, calls of
//! known methods, and remote references out of stubs.
//!
//! Source: "Java Remote Method Invocation Specification", chapter 10, and the JDK's stubs for the
//! hashes. No leases (DGC) are taken out: JMX connectors are exported permanently.

mod call;
mod connection;
mod reply;
mod tls;

pub(crate) use call::{Call, Method, RemoteRef};
pub(crate) use connection::{CallFailure, Connection};
pub(crate) use reply::{Expect, Outcome};
pub(crate) use tls::Connector;
