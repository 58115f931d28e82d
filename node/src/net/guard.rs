//! A stream that gives up on a peer which no longer reads: a write that is stuck for too long is an error.
//!
//! Without it a connection that is being closed waits for its last bytes to leave, which a peer that keeps its window shut can
//! put off for ever, and the place that the connection takes is never free again.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{AsyncRead, AsyncWrite};
use tokio::time::{Sleep, sleep};

/// How long a write may be stuck.
const PATIENCE: Duration = Duration::from_secs(30);

/// A stream with patience.
pub(super) struct Guarded<S> {
    stream: S,
    /// Runs while a write is stuck.
    stuck: Option<Pin<Box<Sleep>>>,
    patience: Duration,
}

impl<S> Guarded<S> {
    /// Watches over a stream.
    pub(super) fn new(stream: S) -> Guarded<S> {
        Guarded { stream, stuck: None, patience: PATIENCE }
    }

    /// What a write led to, or that it is stuck for too long.
    fn watch<T>(&mut self, context: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.stuck = None;
            return poll;
        }
        let patience = self.patience;
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(sleep(patience)));
        stuck.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read(cx, bytes)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, poll)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_close(cx);
        self.watch(cx, poll)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::AsyncWriteExt;
    use futures::io::Cursor;

    /// A stream that takes nothing.
    struct Shut;

    impl AsyncWrite for Shut {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn a_write_that_is_stuck_ends_and_others_are_left_alone() {
        let mut shut = Guarded { patience: Duration::from_millis(10), ..Guarded::new(Shut) };
        assert_eq!(shut.write(b"x").await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(shut.close().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let mut open = Guarded::new(Cursor::new(Vec::new()));
        open.write_all(b"xyz").await.unwrap();
        assert_eq!(open.stream.into_inner(), b"xyz");
    }
}
