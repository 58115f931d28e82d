//! The way to the engine: one bounded queue, emptied by the thread that owns the engine.
//!
//! RPC handlers, the miner and signals put messages in and, where there is an answer, wait for it on a channel of their
//! own. A full queue refuses at once, so overload shows at the edge and never piles up inside. The network has a queue of
//! its own, so that whoever floods it keeps nobody here from being heard.

use drystone_core::hash::BlockHash;
use drystone_core::validation::{CheckedBlock, CheckedTransaction};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;

use crate::engine::Engine;
use crate::engine::message::{Accepted, Input};
use crate::engine::verdict::Refusal;

/// Messages that wait. A message is handled in a quarter of a second at worst and mostly in microseconds, so a full queue
/// is a node that cannot keep up, and its callers must hear of it.
pub const CAPACITY: usize = 256;

/// What became of a submission.
pub type Verdict = Result<Accepted, Refusal>;

/// Work for the engine's thread, given the engine and the present Unix time in milliseconds.
pub type Call = Box<dyn FnOnce(&mut Engine, u64) + Send>;

/// Something for the thread that owns the engine.
pub enum Message {
    /// Do this.
    Call(Call),
    /// Judge this and tell who waits for it.
    Submit(Submission, oneshot::Sender<Verdict>),
    /// Handle this; nobody waits.
    Input(Input),
    /// Save what is worth saving and end.
    Stop,
}

/// What somebody hands in and waits for a verdict on.
pub enum Submission {
    /// A block whose context-free checks hold.
    Block(Box<CheckedBlock>),
    /// A block that was found invalid and is to be judged again.
    Reconsider(BlockHash),
    /// A transaction whose context-free checks hold.
    Transaction(Box<CheckedTransaction>),
}

/// Why the engine was not reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailboxError {
    /// The queue is full.
    #[error("the node is busy; try again")]
    Busy,
    /// The engine has ended, or ended before it came to this message.
    #[error("the node is stopping")]
    Stopped,
}

/// A sender of messages to the engine. Clones share one queue.
#[derive(Clone)]
pub struct Mailbox {
    sender: Sender<Message>,
}

impl Mailbox {
    /// A queue: the end that everybody shares and the end of the engine's thread.
    pub fn new() -> (Mailbox, Receiver<Message>) {
        let (sender, receiver) = channel(CAPACITY);
        (Mailbox { sender }, receiver)
    }

    /// Runs `f` on the engine's thread, with the engine and the present Unix time in milliseconds. It must be quick:
    /// everything else waits for it.
    ///
    /// # Errors
    /// If the queue is full or the engine has ended.
    pub async fn call<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Engine, u64) -> R + Send + 'static,
    ) -> Result<R, MailboxError> {
        let (reply, answer) = oneshot::channel();
        self.post(Message::Call(Box::new(move |engine, now| {
            // A caller that has gone away misses nothing.
            let _ = reply.send(f(engine, now));
        })))?;
        answer.await.map_err(|_| MailboxError::Stopped)
    }

    /// Hands in a block and waits for the engine's verdict, which a long chain update can delay.
    ///
    /// # Errors
    /// If the queue is full or the engine has ended.
    pub async fn submit_block(&self, block: CheckedBlock) -> Result<Verdict, MailboxError> {
        self.submit(Submission::Block(Box::new(block))).await
    }

    /// Hands in a transaction and waits for the engine's verdict.
    ///
    /// # Errors
    /// If the queue is full or the engine has ended.
    pub async fn submit_transaction(&self, transaction: CheckedTransaction) -> Result<Verdict, MailboxError> {
        self.submit(Submission::Transaction(Box::new(transaction))).await
    }

    /// Has a block judged again that was found invalid, and waits until nothing is held against it any more.
    ///
    /// # Errors
    /// If the queue is full or the engine has ended.
    pub async fn reconsider(&self, hash: BlockHash) -> Result<Verdict, MailboxError> {
        self.submit(Submission::Reconsider(hash)).await
    }

    async fn submit(&self, submission: Submission) -> Result<Verdict, MailboxError> {
        let (reply, answer) = oneshot::channel();
        self.post(Message::Submit(submission, reply))?;
        answer.await.map_err(|_| MailboxError::Stopped)
    }

    /// Puts a message into the queue, if there is room.
    ///
    /// # Errors
    /// If the queue is full or the engine has ended.
    pub fn post(&self, message: Message) -> Result<(), MailboxError> {
        self.sender.try_send(message).map_err(|error| match error {
            TrySendError::Full(_) => MailboxError::Busy,
            TrySendError::Closed(_) => MailboxError::Stopped,
        })
    }

    /// Puts a message into the queue as soon as there is room: for threads of this program that may wait, and whose
    /// message must not be lost.
    ///
    /// # Errors
    /// If the engine has ended.
    ///
    /// # Panics
    /// On a task of the runtime, which must not wait like this.
    pub fn post_waiting(&self, message: Message) -> Result<(), MailboxError> {
        self.sender.blocking_send(message).map_err(|_| MailboxError::Stopped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_refuses_and_an_ended_engine_is_told_apart() {
        let (mailbox, mut inbox) = Mailbox::new();
        for _ in 0..CAPACITY {
            assert_eq!(mailbox.post(Message::Input(Input::Tick)), Ok(()));
        }
        assert_eq!(mailbox.post(Message::Input(Input::Tick)), Err(MailboxError::Busy));
        inbox.blocking_recv().expect("a message");
        assert_eq!(mailbox.clone().post(Message::Stop), Ok(()));
        drop(inbox);
        assert_eq!(mailbox.post(Message::Stop), Err(MailboxError::Stopped));
        assert_eq!(mailbox.post_waiting(Message::Stop), Err(MailboxError::Stopped));
    }

    #[tokio::test]
    async fn a_call_that_the_engine_never_reaches_ends() {
        let (mailbox, inbox) = Mailbox::new();
        let call = mailbox.call(|_, now| now);
        drop(inbox);
        assert_eq!(call.await, Err(MailboxError::Stopped));
    }
}
