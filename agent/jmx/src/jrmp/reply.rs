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
