//! What a call is about, for messages.

use std::fmt;

use crate::name::ObjectName;

/// The verb, the attribute or operation, and the MBean if there is one.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub verb: &'static str,
    pub member: String,
    /// Types of the arguments, where the member is an operation.
    pub signature: String,
    pub mbean: Option<String>,
}

impl Subject {
    pub fn new(verb: &'static str, member: impl Into<String>, mbean: Option<&ObjectName>) -> Self {
        Subject {
            verb,
            member: member.into(),
            signature: String::new(),
            mbean: mbean.map(ObjectName::to_string),
        }
    }

    /// An operation, of which there may be several with one name.
    pub fn operation(name: &str, types: &[String], mbean: &ObjectName) -> Self {
        Subject {
            signature: format!("({})", types.join(", ")),
            ..Subject::new("operation", name, Some(mbean))
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.member)?;
        match &self.mbean {
            Some(mbean) => write!(f, " of {mbean}"),
            None => Ok(()),
        }
    }
}
