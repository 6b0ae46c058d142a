//! Replies: a return code, then what was returned or thrown.

use std::io::Read;

use super::RemoteRef;
use crate::stream::{
    Graph, Item, Limits, Object, Slot, StreamError, StreamReader, Throwable, Value,
};

/// What a method returns, which the reply itself does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    Nothing,
    Boolean,
    Value,
    Stub,
}

/// What came back.
#[derive(Debug)]
pub(crate) enum Outcome {
    Value(Value),
    Stub(RemoteRef),
    Thrown(Throwable),
}

const RETURN_DATA: u8 = 0x51;
const NORMAL: u8 = 1;
const EXCEPTIONAL: u8 = 2;
/// The return code and the reply's UID, in front of a result that is a primitive.
const HEAD: usize = 1 + 14;

/// Reads one reply from `input`, and no more than that.
pub(crate) fn read(
    input: impl Read,
    limits: Limits,
    expect: Expect,
) -> Result<Outcome, StreamError> {
    let mut reader = StreamReader::new(input, limits);
    let first = reader.raw_byte()?;
    if first != RETURN_DATA {
        return Err(reader.invalid(format!("{first:02x} does not begin a reply")));
    }
    reader.header()?;
    let head = match reader.item()? {
        Item::Block(head) if head.len() >= HEAD => head,
        _ => return Err(reader.invalid("a reply without a return code")),
    };
    match (head[0], expect) {
        (EXCEPTIONAL, _) => {
            let slot = reader.object()?;
            let not_thrown = reader.invalid("what was thrown is no exception");
            let thrown = reader.into_decoder().throwable(slot);
            thrown.map(Outcome::Thrown).ok_or(not_thrown)
        }
        (NORMAL, Expect::Nothing) => Ok(Outcome::Value(Value::Null)),
        (NORMAL, Expect::Boolean) => match head.get(HEAD) {
            Some(value) => Ok(Outcome::Value(Value::Bool(*value != 0))),
            None => Err(reader.invalid("no boolean after the return code")),
        },
        (NORMAL, Expect::Value) => {
            let slot = reader.object()?;
            reader.into_decoder().value(slot).map(Outcome::Value)
        }
        (NORMAL, Expect::Stub) => {
            let slot = reader.object()?;
            match find_reference(reader.graph(), slot) {
                Some(reference) => Ok(Outcome::Stub(reference)),
                None => Err(reader.invalid("an object without a reference that is understood")),
            }
        }
        (code, _) => Err(reader.invalid(format!("return code {code:02x}"))),
    }
}

/// The remote reference in a stub of any class: in the data of its ancestor `RemoteObject`, or,
/// for a dynamic proxy, in that of its invocation handler.
fn find_reference(graph: &Graph, slot: Slot) -> Option<RemoteRef> {
    let object = graph.object(slot)?;
    reference_of(graph, object).or_else(|| {
        let proxy = graph.part(object, "java.lang.reflect.Proxy")?;
        reference_of(graph, graph.object(graph.field(proxy, "h")?)?)
    })
}

fn reference_of(graph: &Graph, object: &Object) -> Option<RemoteRef> {
    let part = graph.part(object, "java.rmi.server.RemoteObject")?;
    let bytes = part.bytes();
    let mut rest = bytes.as_slice();
    let kind = text(&mut rest)?;
    let custom_sockets = match kind {
        b"UnicastRef" => false,
        b"UnicastRef2" => take(&mut rest, 1)?[0] != 0,
        _ => return None,
    };
    let _host = text(&mut rest)?;
    let port = i32::from_be_bytes(take(&mut rest, 4)?.try_into().ok()?);
    Some(RemoteRef {
        port: u16::try_from(port).ok()?,
        id: take(&mut rest, 22)?.try_into().ok()?,
        custom_sockets,
    })
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u16::from_be_bytes(take(rest, 2)?.try_into().ok()?);
    take(rest, usize::from(length))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    macro_rules! recorded {
        ($($name:literal $expect:ident,)*) => {
            &[$(($name, Expect::$expect, include_bytes!(
                concat!("../../tests/data/replies/", $name, ".bin")
            )),)*]
        };
    }

    /// Whole replies of Cassandra 5.0.9 on JDK 17, as they came from the network.
    const RECORDED: &[(&str, Expect, &[u8])] = recorded! {
        "lookup" Stub,
        "lookup-tls" Stub,
        "new-client-tls" Stub,
        "new-client-denied" Stub,
        "map" Value,
        "ownership" Value,
        "strings" Value,
        "list" Value,
        "snapshots" Value,
        "names" Value,
        "nothing" Nothing,
    };

    fn parse(bytes: &[u8], expect: Expect) -> Result<Outcome, StreamError> {
        read(bytes, Limits::default(), expect)
    }

    fn any_reply() -> impl Strategy<Value = (Expect, Vec<u8>)> {
        (0..RECORDED.len()).prop_map(|at| (RECORDED[at].1, RECORDED[at].2.to_vec()))
    }

    #[test]
    fn real_replies_are_what_they_were_asked_for() {
        for (name, expect, bytes) in RECORDED {
            let outcome = parse(bytes, *expect).unwrap();
            let fits = match (*name, expect) {
                ("new-client-denied", _) => {
                    matches!(&outcome, Outcome::Thrown(thrown)
                        if thrown.class == "java.lang.SecurityException")
                }
                (_, Expect::Stub) => matches!(&outcome, Outcome::Stub(stub)
                    if stub.custom_sockets == name.ends_with("-tls")),
                (_, Expect::Nothing) => matches!(outcome, Outcome::Value(Value::Null)),
                _ => matches!(&outcome, Outcome::Value(value) if value != &Value::Null),
            };
            assert!(fits, "{name}: {outcome:?}");
        }
    }

    /// A reply has no length: it ends where its parser says.
    #[test]
    fn a_real_reply_cut_anywhere_has_ended_and_bytes_behind_it_are_left_alone() {
        for (name, expect, bytes) in RECORDED {
            for cut in 0..bytes.len() {
                let error = parse(&bytes[..cut], *expect).err();
                let ended = matches!(error, Some(StreamError::Ended { .. }));
                assert!(ended, "{name} cut at {cut}: {error:?}");
            }
            let mut rest = bytes
                .iter()
                .chain([0x51, 7].iter())
                .copied()
                .collect::<std::collections::VecDeque<u8>>();
            read(&mut rest, Limits::default(), *expect).unwrap();
            assert_eq!(rest, [0x51, 7], "{name}");
        }
    }

    #[test]
    fn a_real_reply_with_any_one_byte_changed_does_not_panic_or_hang() {
        for (_, expect, bytes) in RECORDED {
            let mut changed = bytes.to_vec();
            for (at, original) in bytes.iter().enumerate() {
                // Small numbers, type codes, lengths with and without their sign, and one bit off.
                for other in [0, 1, 0x70, 0x71, 0x77, 0x7a, 0x7f, 0x80, 0xff, original ^ 1] {
                    changed[at] = other;
                    let _ = parse(&changed, *expect);
                }
                changed[at] = *original;
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 2000,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn real_replies_cut_joined_and_damaged_do_not_panic(
            (expect, mut bytes) in any_reply(),
            (_, donor) in any_reply(),
            at in any::<prop::sample::Index>(),
            from in any::<prop::sample::Index>(),
            replaced in 0usize..64,
            damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        ) {
            let start = at.index(bytes.len());
            let end = (start + replaced).min(bytes.len());
            let graft = donor[from.index(donor.len())..].to_vec();
            bytes.splice(start..end, graft);
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = parse(&bytes, expect);
        }
    }
}
