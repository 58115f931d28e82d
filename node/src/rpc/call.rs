//! One call: its positional parameters, read one after the other, and its reply, serialised within a bound.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use drystone_core::address::{AddressError, decode_address};
use drystone_core::api::ErrorCode;
use drystone_core::key::AccountId;
use serde::de::{DeserializeOwned, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use tokio::runtime::Handle;

use super::Rpc;
use super::error::RpcError;
use super::events::{Follower, needs_a_websocket};
use super::limits::{MAX_PARAMS, max_reply_bytes};
use super::methods::Method;
use crate::engine::Engine;
use crate::mailbox::MailboxError;

/// A serialised result.
pub(super) type Reply = Box<RawValue>;

/// What a method works with. Methods run on threads that may block.
pub(super) struct Call {
    /// What the methods answer from.
    pub(super) rpc: Arc<Rpc>,
    method: &'static Method,
    values: Vec<Box<RawValue>>,
    read: usize,
    cancelled: Cancelled,
    runtime: Handle,
    follower: Option<Follower>,
}

/// Whether nobody waits for a reply any more.
#[derive(Clone, Default)]
pub(super) struct Cancelled(Arc<AtomicBool>);

impl Cancelled {
    /// Gives the call up.
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Call {
    /// A call of `method` with the `params` member of the request; `follower` where it came over a WebSocket.
    pub(super) fn new(
        rpc: Arc<Rpc>,
        method: &'static Method,
        params: Option<&str>,
        cancelled: Cancelled,
        runtime: Handle,
        follower: Option<Follower>,
    ) -> Result<Call, RpcError> {
        let values = match params {
            None => Vec::new(),
            Some(text) => serde_json::from_str::<AtMost<MAX_PARAMS>>(text)
                .map_err(|error| usage(method, format_args!("params: {}", reason(&error))))?
                .0
                .into_iter()
                .map(ToOwned::to_owned)
                .collect(),
        };
        let (given, most) = (values.len(), method.parameters.len());
        if given > most {
            return Err(usage(method, format_args!("at most {most} parameters, {given} were given")));
        }
        Ok(Call { rpc, method, values, read: 0, cancelled, runtime, follower })
    }

    /// The next parameter, which must be given.
    pub(super) fn next<T: DeserializeOwned>(&mut self) -> Result<T, RpcError> {
        let name = self.method.parameters[self.read];
        self.optional()?.ok_or_else(|| usage(self.method, format_args!("parameter {name} is missing")))
    }

    /// The next parameter; nothing where it is left out or null.
    pub(super) fn optional<T: DeserializeOwned>(&mut self) -> Result<Option<T>, RpcError> {
        let index = self.read;
        self.read += 1;
        let Some(value) = self.values.get(index) else { return Ok(None) };
        serde_json::from_str(value.get()).map_err(|error| {
            usage(self.method, format_args!("parameter {}: {}", self.method.parameters[index], reason(&error)))
        })
    }

    /// The next parameter as an address of this chain.
    pub(super) fn next_address(&mut self) -> Result<AccountId, RpcError> {
        let (text, prefix) = (self.next::<String>()?, &self.rpc.params.address_prefix);
        decode_address(prefix, &text).map_err(|error| {
            let next = match error {
                AddressError::WrongPrefix { .. } => {
                    "ask a node of that address's chain, or give an address of this one"
                }
                AddressError::Malformed | AddressError::WrongLength(_) => "copy the whole address again",
            };
            RpcError::new(ErrorCode::InvalidAddress, format_args!("{text}: {error}"), next)
        })
    }

    /// An error about the value of the parameter just read.
    pub(super) fn refuse(&self, what: impl fmt::Display) -> RpcError {
        usage(self.method, format_args!("parameter {}: {what}", self.method.parameters[self.read - 1]))
    }

    /// Runs `f` on the engine at the present Unix time in milliseconds. It must be quick.
    pub(super) fn engine<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Engine, u64) -> R + Send + 'static,
    ) -> Result<R, RpcError> {
        self.reach(self.rpc.mailbox.call(f))
    }

    /// Waits for the engine's answer.
    pub(super) fn reach<R>(&self, answer: impl Future<Output = Result<R, MailboxError>>) -> Result<R, RpcError> {
        self.runtime.block_on(answer).map_err(|error| match error {
            MailboxError::Busy => RpcError::new(ErrorCode::Busy, "the node is busy", "ask again in a moment"),
            MailboxError::Stopped => RpcError::stopping(),
        })
    }

    /// Where the caller is told the chain's steps.
    pub(super) fn follower(&self) -> Result<&Follower, RpcError> {
        self.follower.as_ref().ok_or_else(|| needs_a_websocket(self.method.name))
    }

    /// Whether nobody waits for the reply any more: long work ends then.
    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.0.load(Ordering::Relaxed)
    }

    /// Ends long work that nobody waits for.
    pub(super) fn check_cancelled(&self) -> Result<(), RpcError> {
        if self.is_cancelled() { Err(RpcError::timed_out(self.method.name, self.method.patience)) } else { Ok(()) }
    }

    /// Serialises the result.
    pub(super) fn reply<T: Serialize>(&self, result: &T) -> Result<Reply, RpcError> {
        let mut bounded = Bounded { bytes: Vec::new(), max: max_reply_bytes(&self.rpc.params) };
        serde_json::to_writer(&mut bounded, result).map_err(|_| too_large())?;
        let text = String::from_utf8(bounded.bytes).expect("JSON is UTF-8");
        Ok(RawValue::from_string(text).expect("serialised just now"))
    }
}

/// The refusal of a reply, or of a batch of them, that is too long.
pub(super) fn too_large() -> RpcError {
    RpcError::new(ErrorCode::TooLarge, "the reply would be too large", "ask for less in one request")
}

fn usage(method: &Method, what: impl fmt::Display) -> RpcError {
    RpcError::new(
        ErrorCode::InvalidParams,
        format_args!("{}: {what}", method.name),
        format_args!("call {} with params [{}]", method.name, method.parameters.join(", ")),
    )
}

/// What a JSON error says, without the line and column: they count within a part of the request.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

/// A JSON array of at most `MAX` elements, each left as it is. A longer one is refused at the first element too many.
pub(super) struct AtMost<'a, const MAX: usize>(pub(super) Vec<&'a RawValue>);

impl<'de: 'a, 'a, const MAX: usize> Deserialize<'de> for AtMost<'a, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<const MAX: usize>;
        impl<'de, const MAX: usize> Visitor<'de> for Elements<MAX> {
            type Value = Vec<&'de RawValue>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = seq.next_element()? {
                    if elements.len() == MAX {
                        return Err(A::Error::custom(format_args!("more than {MAX} elements")));
                    }
                    elements.push(element);
                }
                Ok(elements)
            }
        }
        deserializer.deserialize_seq(Elements::<MAX>).map(AtMost)
    }
}

/// Memory that takes no more than `max` bytes.
struct Bounded {
    bytes: Vec<u8>,
    max: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn memory_ends_where_it_must() {
        let mut bounded = Bounded { bytes: Vec::new(), max: 5 };
        assert!(bounded.write_all(b"12345").is_ok());
        assert!(bounded.write_all(b"6").is_err());
        assert_eq!(bounded.bytes, b"12345");
    }

    #[test]
    fn an_array_is_read_to_its_bound() {
        let read = |text| serde_json::from_str::<AtMost<2>>(text).map(|AtMost(elements)| elements.len());
        assert_eq!((read("[]").unwrap(), read("[[[1]],2]").unwrap()), (0, 2));
        for wrong in ["[1,2,3]", "{}", "1", "[1", "[1,]", "null"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
