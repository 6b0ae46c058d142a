//! What can go wrong with a call, told apart by what the caller can do about it.

use std::io;
use std::time::Duration;

use crate::stream::{StreamError, Throwable, UnexpectedValue};

/// Why a JMX call has no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing accepts connections there, or not in time.
    #[error(
        "cannot connect to {address}: {source}; is Cassandra running, and is this its JMX address and port?"
    )]
    Unreachable {
        /// Host and port dialled.
        address: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// Something answers there that is not a JMX server.
    #[error("{address} is not a JMX port: {found}")]
    NotJmx {
        /// Host and port dialled.
        address: String,
        /// What was seen instead.
        found: String,
    },
    /// The server refuses: wrong or missing credentials when connecting, missing rights later.
    #[error("{operation} is denied: {message}")]
    Denied {
        /// What was tried.
        operation: String,
        /// The server's words.
        message: String,
    },
    /// TLS cannot be set up: certificates that do not fit, or only one side speaks TLS.
    #[error("TLS with {address} failed: {problem}")]
    Tls {
        /// Host and port dialled.
        address: String,
        /// What failed, and what to look at.
        problem: String,
    },
    /// No answer in time. A call that changes something may still be carried out.
    #[error("{operation} was not answered within {after:?}; the server may still be working on it")]
    Timeout {
        /// What was tried.
        operation: String,
        /// The time given.
        after: Duration,
    },
    /// There is no MBean of this name.
    #[error("there is no MBean {mbean}; has what answers there started completely?")]
    InstanceNotFound {
        /// Its name.
        mbean: String,
    },
    /// The MBean has no such attribute.
    #[error("MBean {mbean} has no attribute {attribute}")]
    AttributeNotFound {
        /// The MBean.
        mbean: String,
        /// The attribute.
        attribute: String,
    },
    /// The MBean has no operation of this name and these types.
    #[error("MBean {mbean} has no operation {operation}")]
    OperationNotFound {
        /// The MBean.
        mbean: String,
        /// The operation, with the types of its arguments.
        operation: String,
    },
    /// The MBean's own code failed; this is the innermost exception that JMX wrapped.
    #[error("{operation} failed: {message} ({class})")]
    Mbean {
        /// What was called.
        operation: String,
        /// Full name of the exception's class.
        class: String,
        /// Its message, or its class again if it has none.
        message: String,
    },
    /// The server's RMI layer could not carry out the call (for instance a serialization filter
    /// that refuses an argument).
    #[error("the server could not carry out {operation}: {throwable}")]
    Server {
        /// What was called.
        operation: String,
        /// The exception.
        throwable: Box<Throwable>,
    },
    /// The connection ended during the call: nobody knows whether it was carried out.
    #[error(
        "the connection ended during {operation}: {source}; whether it was carried out is unknown"
    )]
    Lost {
        /// What was called.
        operation: String,
        /// What ended it.
        source: io::Error,
    },
    /// The answer is not a well-formed object stream within bounds.
    #[error("the answer to {operation} is malformed: {source}")]
    Malformed {
        /// What was called.
        operation: String,
        /// Where and why.
        source: StreamError,
    },
    /// The answer is well-formed, but not of the type that this operation has.
    #[error("the answer to {operation} is of another type: {source}")]
    Unexpected {
        /// What was called.
        operation: String,
        /// What was expected and found.
        source: UnexpectedValue,
    },
}

impl Error {
    /// Whether the server lacks the attribute or operation, as older versions lack newer ones.
    pub fn is_missing_member(&self) -> bool {
        matches!(
            self,
            Error::AttributeNotFound { .. } | Error::OperationNotFound { .. }
        )
    }

    /// Whether a call that changes something may have been carried out in spite of this error.
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(
            self,
            Error::Timeout { .. }
                | Error::Lost { .. }
                | Error::Malformed { .. }
                | Error::Unexpected { .. }
                | Error::Server { .. }
        )
    }
}
