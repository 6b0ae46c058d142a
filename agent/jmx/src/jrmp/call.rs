//! Calls: which object, which method, which arguments.

use crate::stream::{Annotation, JavaObject, Writer};

/// An object on the server: the port that serves it and its identifier.
///
/// The host that stubs name beside these is not kept: it is whatever the server believes its
/// address to be, which is often not where it can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemoteRef {
    pub port: u16,
    /// `java.rmi.server.ObjID` as on the wire: number 8, unique 4, time 8, count 2 bytes.
    pub id: [u8; 22],
    /// Whether the stub brings a socket factory of its own, which means TLS.
    pub custom_sockets: bool,
}

impl RemoteRef {
    /// The RMI registry, whose identifier is the well-known zero.
    pub fn registry(port: u16) -> Self {
        RemoteRef {
            port,
            id: [0; 22],
            custom_sockets: false,
        }
    }
}

/// A remote method. Hashes are the first 8 bytes of the SHA-1 of its signature, as in the stubs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// `java.rmi.registry.Registry.lookup(String)`
    Lookup,
    /// `javax.management.remote.rmi.RMIServer.newClient(Object)`
    NewClient,
    /// The rest are of `javax.management.remote.rmi.RMIConnection`.
    GetAttribute,
    GetAttributes,
    SetAttribute,
    Invoke,
    QueryNames,
    IsRegistered,
    GetConnectionId,
    Close,
}

impl Method {
    fn hash(self) -> i64 {
        match self {
            // The registry's stub is of the older kind: one hash for its interface, and numbers.
            Method::Lookup => 4905912898345647071,
            Method::NewClient => -1089742558549201240,
            Method::GetAttribute => -1089783104982388203,
            Method::GetAttributes => 6285293806596348999,
            Method::SetAttribute => 6738606893952597516,
            Method::Invoke => 1434350937885235744,
            Method::QueryNames => 9152567528369059802,
            Method::IsRegistered => 8325683335228268564,
            Method::GetConnectionId => -67907180346059933,
            Method::Close => -4742752445160157748,
        }
    }

    fn number(self) -> i32 {
        match self {
            Method::Lookup => 2,
            _ => -1,
        }
    }
}

/// A call, ready to be sent any number of times. No `Debug`: arguments may be a password.
pub(crate) struct Call {
    pub method: Method,
    pub arguments: Vec<JavaObject>,
}

impl Call {
    pub fn new(method: Method, arguments: impl Into<Vec<JavaObject>>) -> Self {
        Call {
            method,
            arguments: arguments.into(),
        }
    }

    /// The message, from the first byte to the last.
    pub fn encode(&self, target: &RemoteRef) -> Vec<u8> {
        const CALL: u8 = 0x50;
        let mut writer = Writer::new(Annotation::NoCodebase);
        writer.raw(&[CALL]);
        writer.header();
        let mut head = Vec::with_capacity(34);
        head.extend(target.id);
        head.extend(self.method.number().to_be_bytes());
        head.extend(self.method.hash().to_be_bytes());
        writer.block(&head);
        for argument in &self.arguments {
            writer.object(argument);
        }
        writer.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_lookup_is_encoded_as_the_jdk_does() {
        let call = Call::new(Method::Lookup, ["jmxrmi".into()]);
        let mut expected = vec![0x50, 0xac, 0xed, 0, 5, 0x77, 34];
        expected.extend([0; 22]);
        expected.extend([0, 0, 0, 2, 0x44, 0x15, 0x4d, 0xc9, 0xd4, 0xe6, 0x3b, 0xdf]);
        expected.extend([0x74, 0, 6]);
        expected.extend(b"jmxrmi");
        assert_eq!(call.encode(&RemoteRef::registry(7199)), expected);
    }
}
