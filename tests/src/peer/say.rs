//! What a hand-driven peer writes on a stream, byte for byte, and what it reads there.

use std::fmt;
use std::future::pending;
use std::io;
use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::{StreamProtocol, request_response};
use tokio::time::sleep;

/// The longest message that is read: every cap of the protocol is below it.
const MAX_READ: usize = 32 << 20;

/// Pieces of bytes, made one after the other as the stream takes them.
pub type Pieces = Box<dyn Iterator<Item = Vec<u8>> + Send>;

/// What is written on a stream.
pub enum Say {
    /// A whole message, with its length before it.
    Message(Vec<u8>),
    /// Bytes as they are, then the end of the stream.
    Bytes(Vec<u8>),
    /// Bytes as they are; the stream stays open and nothing more comes.
    Half(Vec<u8>),
    /// Bytes as they are, this many at a time, with a rest after each time.
    Trickle(Vec<u8>, usize, Duration),
    /// Pieces as they are, as fast as they are read; then the stream stays open.
    Flood(Pieces),
    /// Nothing, and the stream stays open.
    Nothing,
    /// Nothing, and the stream ends.
    End,
}

/// A message with its length before it.
pub fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a test's message is short");
    [&length.to_le_bytes()[..], message].concat()
}

impl fmt::Debug for Say {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("words on a stream")
    }
}

impl Say {
    async fn write(self, stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        match self {
            Say::Message(message) => stream.write_all(&frame(&message)).await,
            Say::Bytes(bytes) => stream.write_all(&bytes).await,
            Say::Half(bytes) => {
                stream.write_all(&bytes).await?;
                stream.flush().await?;
                pending().await
            }
            Say::Trickle(bytes, count, rest) => {
                for piece in bytes.chunks(count) {
                    stream.write_all(piece).await?;
                    stream.flush().await?;
                    sleep(rest).await;
                }
                Ok(())
            }
            Say::Flood(pieces) => {
                for piece in pieces {
                    stream.write_all(&piece).await?;
                }
                stream.flush().await?;
                pending().await
            }
            Say::Nothing => pending().await,
            Say::End => Ok(()),
        }
    }
}

/// Writes what it is told and reads whole messages, or on another protocol than requests nothing.
#[derive(Clone, Default)]
pub(super) struct Raw;

/// A message that was read, or what is to be written.
pub(super) type Words = Say;

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Words> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_READ {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(Say::Message(message))
}

impl request_response::Codec for Raw {
    type Protocol = StreamProtocol;
    type Request = Words;
    type Response = Words;

    async fn read_request<T>(&mut self, _: &StreamProtocol, stream: &mut T) -> io::Result<Words>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(stream).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, stream: &mut T) -> io::Result<Words>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(stream).await
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, stream: &mut T, words: Words) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        words.write(stream).await
    }

    async fn write_response<T>(&mut self, _: &StreamProtocol, stream: &mut T, words: Words) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        words.write(stream).await
    }
}
