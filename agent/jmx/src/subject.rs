//! What a call is about, for messages.

use std::fmt;

use crate::name::ObjectName;

/// The verb, the attribute or operation, and the MBean if there is one.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub verb: &'static str,
    pub member: String,
    pub mbean: Option<String>,
}

impl Subject {
    pub fn new(verb: &'static str, member: impl Into<String>, mbean: Option<&ObjectName>) -> Self {
        Subject {
            verb,
            member: member.into(),
            mbean: mbean.map(ObjectName::to_string),
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
