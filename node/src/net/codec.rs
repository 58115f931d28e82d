//! Requests and responses on a stream: a length of four bytes, little-endian, then the message.
//!
//! The kind's number, the first four bytes of a message, is read before the rest, and a length over the kind's cap ends
//! the reading there. The buffer grows with what arrives and not with what is claimed. Decoding happens here, on the
//! task of the connection, so that the engine never waits for it. What does not decode is handed on as such, because
//! whoever sent it is to answer for it; a stream that only breaks is an error of the connection.

use std::io;
use std::sync::Arc;

use drystone_core::encode::DecodeError;
use drystone_core::params::ChainParams;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::StreamProtocol;
use libp2p::request_response;

use crate::engine::wire::{Request, Response};
use crate::metrics::{Metrics, Traffic};

/// What came in on a stream, or why it is no message.
pub(super) type Received<T> = Result<T, DecodeError>;

/// Bytes of the length, and of the kind's number after it.
const PREFIX_BYTES: usize = 4;

/// Reads and writes the messages of one chain.
#[derive(Clone)]
pub(super) struct Codec {
    pub(super) params: Arc<ChainParams>,
    pub(super) metrics: Arc<Metrics>,
}

impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = Received<Request>;
    type Response = Received<Response>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, stream: &mut T) -> io::Result<Self::Request>
    where
        T: AsyncRead + Unpin + Send,
    {
        let bytes = read_message(stream, |kind| Request::max_bytes(kind, &self.params)).await?;
        Ok(bytes.and_then(|bytes| {
            self.metrics.received_bytes(Traffic::Request, bytes.len() as u64);
            Request::from_bytes(&bytes, &self.params)
        }))
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, stream: &mut T) -> io::Result<Self::Response>
    where
        T: AsyncRead + Unpin + Send,
    {
        let bytes = read_message(stream, |kind| Response::max_bytes(kind, &self.params)).await?;
        Ok(bytes.and_then(|bytes| {
            self.metrics.received_bytes(Traffic::Response, bytes.len() as u64);
            Response::from_bytes(&bytes, &self.params)
        }))
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, stream: &mut T, request: Self::Request) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        let bytes = request.map_err(io::Error::other)?.to_bytes();
        self.metrics.sent_bytes(Traffic::Request, bytes.len() as u64);
        stream.write_all(&frame(&bytes)).await
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        stream: &mut T,
        response: Self::Response,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        let bytes = response.map_err(io::Error::other)?.to_bytes();
        self.metrics.sent_bytes(Traffic::Response, bytes.len() as u64);
        stream.write_all(&frame(&bytes)).await
    }
}

/// Reads one message, undecoded, or says why there is none; `max_bytes` gives the cap of each kind.
///
/// # Errors
/// If the stream breaks.
pub async fn read_message(
    stream: &mut (impl AsyncRead + Unpin),
    max_bytes: impl Fn(u32) -> Option<usize>,
) -> io::Result<Result<Vec<u8>, DecodeError>> {
    let mut prefix = [0; PREFIX_BYTES];
    stream.read_exact(&mut prefix).await?;
    let length = u32::from_le_bytes(prefix) as usize;
    if length < PREFIX_BYTES {
        return Ok(Err(DecodeError::Malformed("the bytes end early")));
    }
    stream.read_exact(&mut prefix).await?;
    let Some(max) = max_bytes(u32::from_le_bytes(prefix)) else {
        return Ok(Err(DecodeError::Malformed("a field holds no possible value")));
    };
    if length > max {
        return Ok(Err(DecodeError::TooLong { length, max }));
    }
    let mut bytes = prefix.to_vec();
    stream.take((length - PREFIX_BYTES) as u64).read_to_end(&mut bytes).await?;
    if bytes.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Ok(bytes))
}

/// A message with its length before it.
pub fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("every message has a cap far below 4 GiB");
    [&length.to_le_bytes(), message].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use drystone_core::genesis::dev_params;
    use drystone_core::hash::BlockHash;
    use futures::executor::block_on;
    use libp2p::request_response::Codec as _;

    const PROTOCOL: StreamProtocol = StreamProtocol::new("/test");

    fn codec() -> Codec {
        Codec { params: Arc::new(dev_params()), metrics: Arc::new(Metrics::new(0, Default::default())) }
    }

    fn read(bytes: &[u8]) -> io::Result<Received<Request>> {
        block_on(codec().read_request(&PROTOCOL, &mut &bytes[..]))
    }

    #[test]
    fn a_message_is_written_and_read_back() {
        let request = Request::Bodies(vec![BlockHash([1; 32])]);
        let mut bytes = Vec::new();
        block_on(codec().write_request(&PROTOCOL, &mut bytes, Ok(request.clone()))).unwrap();
        assert_eq!(bytes.len(), 4 + 4 + 8 + 32);
        assert_eq!(read(&bytes).unwrap(), Ok(request));
        let response = Response::Headers(Vec::new());
        let mut bytes = Vec::new();
        block_on(codec().write_response(&PROTOCOL, &mut bytes, Ok(response.clone()))).unwrap();
        assert_eq!(block_on(codec().read_response(&PROTOCOL, &mut &bytes[..])).unwrap(), Ok(response));
    }

    #[test]
    fn what_is_over_its_cap_is_not_read_and_blamed_on_its_sender() {
        let frame = |length: u32, kind: u32| [length.to_le_bytes(), kind.to_le_bytes()].concat();
        let max = Request::max_bytes(1, &dev_params()).unwrap();
        // Nothing follows, and nothing is waited for.
        assert_eq!(read(&frame(u32::MAX, 1)).unwrap(), Err(DecodeError::TooLong { length: u32::MAX as usize, max }));
        assert_eq!(read(&frame(max as u32 + 1, 1)).unwrap(), Err(DecodeError::TooLong { length: max + 1, max }));
        assert!(matches!(read(&frame(100, 6)).unwrap(), Err(DecodeError::Malformed(_))));
        assert!(matches!(read(&frame(3, 0)).unwrap(), Err(DecodeError::Malformed(_))));
        assert!(matches!(read(&[&frame(13, 1)[..], &[0; 9]].concat()).unwrap(), Err(DecodeError::Trailing(1))));
    }

    #[test]
    fn a_stream_that_ends_early_is_nobodys_lie() {
        for bytes in [&[][..], &[12, 0], &[12, 0, 0, 0, 1, 0, 0, 0, 0]] {
            assert_eq!(read(bytes).unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "{bytes:?}");
        }
    }
}
