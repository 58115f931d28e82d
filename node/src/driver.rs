//! The engine's thread: takes what reaches it, hands it to the engine with the time, and does what comes out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use drystone_core::hash::BlockHash;
use drystone_node::engine::Engine;
use drystone_node::engine::message::{
    Accepted, ChainEvent, Direction, DisconnectReason, Input, NetEvent, Origin, Output, Token,
};
use drystone_node::engine::mining::MiningRefusal;
use drystone_node::mailbox::{Message, Submission, Verdict};
use drystone_node::metrics::Metrics;
use drystone_node::store::StoreError;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;
use tracing::{debug, error, info, warn};

use crate::clock::now;
use crate::miner::Miner;
use crate::workers::Workers;

/// The longest sleep, in case the clock on the wall was moved back while the engine waits for a moment on it.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// Blocks behind the best header, and in one call, up to which each block has a line of the log.
const FEW_BLOCKS: u64 = 4;

/// Lines about what costs a stranger nothing (to come, to be refused, to tell a false state): so many at once.
const STRANGERS_LINES: u32 = 60;

/// And then one in so long: a day of them is a megabyte and a half at the worst.
const STRANGERS_APART: Duration = Duration::from_secs(10);

/// How often there is a line further behind.
const CATCHING_UP: Duration = Duration::from_secs(1);

/// What reaches the engine's thread. Each queue gets its turn, whatever the others hold.
pub(crate) struct Inbox {
    /// From RPC, miner and signals.
    pub(crate) messages: Receiver<Message>,
    /// From peers. The network waits where it is full.
    pub(crate) network: Receiver<Input>,
    /// From the workers.
    pub(crate) done: Receiver<Input>,
}

/// What carries out what the engine wants.
pub(crate) struct Hands {
    pub(crate) miner: Miner,
    pub(crate) workers: Workers,
    /// The network. It always reads, so this never waits for long.
    pub(crate) network: Sender<Output>,
    /// Who waits for a new tip; nothing while the state is made anew.
    pub(crate) tips: watch::Sender<Option<BlockHash>>,
}

/// The owner of the engine.
pub(crate) struct Driver {
    engine: Engine,
    inbox: Inbox,
    hands: Hands,
    metrics: Arc<Metrics>,
    runtime: Handle,
    /// Who waits for which verdict. The engine bounds how many it keeps waiting.
    callers: BTreeMap<Token, oneshot::Sender<Verdict>>,
    submissions: u64,
    /// What jobs led to that no worker had time for.
    done_here: VecDeque<Input>,
    /// What was connected since the last line of the log about it; nothing where each block has one.
    catching_up: Option<CatchingUp>,
    strangers: Pace,
}

/// How fast lines about strangers may follow each other.
#[derive(Default)]
struct Pace {
    /// When the lines until now would have ended, [`STRANGERS_APART`] each.
    end: Option<Instant>,
}

impl Pace {
    /// Whether one more may be written at `now`.
    fn take(&mut self, now: Instant) -> bool {
        let end = self.end.map_or(now, |end| end.max(now));
        let may = end - now <= STRANGERS_APART * (STRANGERS_LINES - 1);
        if may {
            self.end = Some(end + STRANGERS_APART);
        }
        may
    }
}

/// A line of the log, at the level that is named where it is `aloud`, else for whoever looks closely.
macro_rules! line {
    ($aloud:expr, $level:ident, $($line:tt)*) => {
        if $aloud { $level!($($line)*) } else { debug!($($line)*) }
    };
}

/// Blocks that have one line of the log together.
struct CatchingUp {
    /// When the last such line was.
    said: Option<Instant>,
    blocks: u64,
    txs: usize,
}

impl Driver {
    /// Ties an engine to what reaches it, to what it directs and to what counts. Timers are the runtime's.
    pub(crate) fn new(engine: Engine, inbox: Inbox, hands: Hands, metrics: Arc<Metrics>, runtime: Handle) -> Driver {
        Driver {
            engine,
            inbox,
            hands,
            metrics,
            runtime,
            callers: BTreeMap::new(),
            submissions: 0,
            done_here: VecDeque::new(),
            catching_up: None,
            strangers: Pace::default(),
        }
    }

    /// Drives the engine until it is told to stop.
    ///
    /// # Errors
    /// The store's: the program cannot go on, and what was committed is safe.
    pub(crate) fn run(mut self) -> Result<(), StoreError> {
        let result = self.serve();
        // The miner may be waiting for room in the queue; with the queue gone it ends.
        drop(self.inbox);
        self.hands.miner.end();
        self.hands.workers.end();
        result
    }

    fn serve(&mut self) -> Result<(), StoreError> {
        self.handle(Input::Tick)?;
        loop {
            match self.next() {
                Some(Message::Call(call)) => {
                    call(&mut self.engine, now());
                    // It may have changed what the engine wants.
                    self.handle(Input::Tick)?;
                }
                Some(Message::Submit(submission, caller)) => {
                    let input = self.register(submission, caller);
                    self.handle(input)?;
                }
                Some(Message::Input(input)) => self.handle(input)?,
                Some(Message::Stop) | None => return self.handle(Input::Shutdown),
            }
        }
    }

    /// Waits for what comes next; nothing where there is nobody left who could send something.
    fn next(&mut self) -> Option<Message> {
        if let Some(input) = self.done_here.pop_front() {
            return Some(Message::Input(input));
        }
        let time_to_sleep = self.time_to_sleep();
        let Inbox { messages, network, done } = &mut self.inbox;
        self.runtime.block_on(async {
            tokio::select! {
                message = messages.recv() => message,
                Some(input) = network.recv() => Some(Message::Input(input)),
                Some(input) = done.recv() => Some(Message::Input(input)),
                () = rest(time_to_sleep) => Some(Message::Input(Input::Tick)),
            }
        })
    }

    /// How long the engine has nothing to do by itself.
    fn time_to_sleep(&self) -> Duration {
        let now = now();
        let deadline = self.engine.next_deadline(now).map(|due| Duration::from_millis(due.saturating_sub(now)));
        deadline.map_or(LONGEST_SLEEP, |sleep| sleep.min(LONGEST_SLEEP))
    }

    /// Notes who waits for the verdict on a submission, and makes an input of it.
    fn register(&mut self, submission: Submission, caller: oneshot::Sender<Verdict>) -> Input {
        let token = Token(self.submissions);
        self.submissions += 1;
        self.callers.insert(token, caller);
        let origin = Origin::Rpc(token);
        match submission {
            Submission::Block(block) => Input::Block { origin, block },
            Submission::Reconsider(hash) => Input::Reconsider { origin, hash },
            Submission::Transaction(transaction) => Input::Transactions { origin, transactions: vec![*transaction] },
        }
    }

    #[allow(clippy::disallowed_methods, reason = "the shell measures how long the engine takes")]
    fn handle(&mut self, input: Input) -> Result<(), StoreError> {
        let (start, commits) = (Instant::now(), self.engine.counters().commits);
        let outputs = self.engine.handle(now(), input).inspect_err(|error| error!("the store failed: {error}"))?;
        let took = start.elapsed();
        self.metrics.call(took, self.engine.counters().commits > commits);
        let together = self.log_together(&outputs);
        for output in outputs {
            self.metrics.observe(&output);
            self.execute(output, took.as_millis(), together);
        }
        let tip = self.engine.settled_tip();
        self.hands.tips.send_if_modified(|told| std::mem::replace(told, tip) != tip);
        Ok(())
    }

    /// Whether one more line about what a stranger does for nothing is for all to see.
    #[allow(clippy::disallowed_methods, reason = "how often is a matter of whoever reads")]
    fn speaks_of_strangers(&mut self) -> bool {
        self.strangers.take(Instant::now())
    }

    /// While the node catches up, one line a second about all blocks that it connects; whether these are among them.
    #[allow(clippy::disallowed_methods, reason = "how often is a matter of whoever reads")]
    fn log_together(&mut self, outputs: &[Output]) -> bool {
        let connected = outputs.iter().filter_map(|output| match output {
            Output::Event(ChainEvent::Connected { height, hash, txids, .. }) => Some((height, hash, txids.len())),
            _ => None,
        });
        let Some((height, hash, _)) = connected.clone().next_back() else { return false };
        let blocks = connected.clone().count() as u64;
        let progress = self.engine.progress();
        let behind = progress.headers > progress.height + FEW_BLOCKS;
        if !behind && blocks <= FEW_BLOCKS && self.catching_up.is_none() {
            return false;
        }
        let so_far = self.catching_up.get_or_insert(CatchingUp { said: None, blocks: 0, txs: 0 });
        so_far.blocks += blocks;
        so_far.txs += connected.map(|(.., txs)| txs).sum::<usize>();
        if !behind || so_far.said.is_none_or(|said| said.elapsed() >= CATCHING_UP) {
            info!(height, %hash, blocks = so_far.blocks, txs = so_far.txs, "blocks connected");
            self.catching_up = behind.then(|| CatchingUp { said: Some(Instant::now()), blocks: 0, txs: 0 });
        }
        true
    }

    fn execute(&mut self, output: Output, took_ms: u128, together: bool) {
        match output {
            Output::Verdict { origin: Origin::Rpc(token), result } => {
                if let Err(refusal) = &result {
                    debug!("submission refused: {refusal}");
                }
                if let Some(caller) = self.callers.remove(&token) {
                    // A caller that has gone away misses nothing.
                    let _ = caller.send(result);
                }
            }
            Output::Verdict { origin: Origin::Own, result } => log_own(&result),
            Output::Verdict { origin: Origin::Delayed, result } => {
                if let Err(refusal) = result {
                    info!("block from the future refused now that its time has come: {refusal}");
                }
            }
            Output::Mine(job) => {
                debug!(height = job.height, threads = job.threads, "mining");
                self.hands.miner.work_on(job);
            }
            Output::StopMining(refusal) => {
                self.hands.miner.rest();
                match refusal {
                    // These pass by themselves, and often.
                    MiningRefusal::Interval { .. } | MiningRefusal::Updating => debug!("not mining: {refusal}"),
                    _ => info!("not mining: {refusal}"),
                }
            }
            Output::Event(ChainEvent::Connected { height, hash, .. }) if together => {
                debug!(height, %hash, "block connected")
            }
            Output::Event(event) => log_event(&event, took_ms),
            Output::Work { id, job } => self.done_here.extend(self.hands.workers.give(id, job)),
            Output::Net(event) => {
                let aloud = !is_for_nothing(&event) || self.speaks_of_strangers();
                log_network(&event, aloud);
                if let NetEvent::Joined { .. } = event {
                    self.send(Output::Net(event));
                }
            }
            // Peers hear what becomes of what they sent by other ways.
            Output::Verdict { origin: Origin::Peer(_) | Origin::Download, .. } => {}
            Output::Disconnect { peer, ref reason } => {
                match reason {
                    DisconnectReason::Feeler
                    | DisconnectReason::Full
                    | DisconnectReason::Itself
                    | DisconnectReason::AddressBanned => debug!(%peer, "disconnected: {reason}"),
                    DisconnectReason::OtherChain(_)
                    | DisconnectReason::OtherVersion(_)
                    | DisconnectReason::Stranger => {
                        line!(self.speaks_of_strangers(), warn, %peer, "peer refused: {reason}");
                    }
                    DisconnectReason::NoHandshake | DisconnectReason::Unresponsive => {
                        line!(self.speaks_of_strangers(), info, %peer, "peer disconnected: {reason}");
                    }
                    DisconnectReason::Banned(_) => info!(%peer, "peer disconnected: {reason}"),
                }
                self.send(output);
            }
            Output::Dial(_)
            | Output::Request { .. }
            | Output::Respond { .. }
            | Output::Publish(_)
            | Output::Judge { .. } => self.send(output),
        }
    }

    /// Hands something to the network. Fails only where that has ended, and then the program is ending too.
    fn send(&self, output: Output) {
        let _ = self.hands.network.blocking_send(output);
    }
}

/// Sleeps, and where there is work not at all: the shortest sleep of a timer is up to a millisecond, more than most blocks take.
async fn rest(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

/// One line about a block or a saved transaction of this node's own.
fn log_own(result: &Verdict) {
    match result {
        Ok(Accepted::Beside { height }) => {
            info!(height, "own block came second: another of its height is on the chain")
        }
        Ok(_) => {}
        Err(refusal) => warn!("own submission refused: {refusal}"),
    }
}

/// Whether a stranger can bring this about as often as it likes.
fn is_for_nothing(event: &NetEvent) -> bool {
    match event {
        NetEvent::Joined { direction, .. } => *direction == Direction::Inbound,
        NetEvent::Penalty { points, .. } => *points == 0,
        NetEvent::LowWork { .. } | NetEvent::StateMismatch { .. } | NetEvent::Unserved { .. } => true,
        NetEvent::Reassigned { .. } | NetEvent::Unavailable { .. } => false,
    }
}

/// One line about what happened on the network, `aloud` or not.
fn log_network(event: &NetEvent, aloud: bool) {
    match event {
        NetEvent::Joined { peer, direction, height } => {
            line!(aloud, info, %peer, ?direction, height, "peer connected");
        }
        NetEvent::Penalty { peer, offence, points } => line!(aloud, warn, %peer, points, "penalty: {offence}"),
        NetEvent::Reassigned { peer, hash, reason } => debug!(%peer, %hash, ?reason, "body asked of another peer"),
        NetEvent::Unavailable { head, missing } => warn!(%head, %missing, "no peer gives a body of this chain"),
        NetEvent::LowWork { peer, headers } => {
            line!(aloud, info, %peer, headers, "chain of headers with too little work ignored");
        }
        NetEvent::Unserved { peer, reason } => {
            line!(aloud, error, %peer, "peer not served, data on disk are damaged: {reason}");
        }
        NetEvent::StateMismatch { peer, height, required, found } => {
            line!(aloud, warn, %peer, height, %required, %found, "a peer's state is not what the block says");
        }
    }
}

/// One line about what happened to the chain.
fn log_event(event: &ChainEvent, took_ms: u128) {
    match event {
        ChainEvent::Connected { height, hash, txids, own } => {
            info!(height, %hash, txs = txids.len(), own, took_ms, "block connected");
        }
        ChainEvent::Disconnected { height, hash } => info!(height, %hash, took_ms, "block disconnected"),
        ChainEvent::Reorganised { from, to, depth } => {
            warn!(%from, %to, depth, "reorganisation: another branch has more work");
        }
        ChainEvent::Invalidated { height, hash, reason } => warn!(height, %hash, "block is invalid: {reason}"),
        ChainEvent::Reconsidered { height, hash, blocks } => {
            warn!(height, %hash, blocks, "blocks that were held to be invalid are judged again");
        }
        ChainEvent::BodyLost { height, hash } => {
            error!(height, %hash, "a block's body is damaged on disk and asked of peers again");
        }
        ChainEvent::BodyRestored { height, hash } => {
            warn!(height, %hash, "a block's body that was damaged is whole again");
        }
        ChainEvent::RepairStarted { reason } => error!("state on disk is damaged, making it anew: {reason}"),
        ChainEvent::RepairEnded { height, work } => warn!(height, %work, "state is whole again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    use drystone_core::genesis::dev_params;
    use drystone_core::key::{AccountId, SecretKey};
    use drystone_core::params::ChainParams;
    use drystone_core::transaction::{Memo, TransactionBody};
    use drystone_core::validation::check_transactions;
    use drystone_node::engine::Config;
    use drystone_node::mailbox::{Mailbox, MailboxError};
    use drystone_node::store::{Store, StoreOptions};
    use tokio::sync::mpsc::channel;

    /// A chain that any hash extends, twenty times a second.
    fn params() -> ChainParams {
        ChainParams { interval: 50, response: 6_000, max_future: 600, ..dev_params() }
    }

    fn start(params: &ChainParams, store: &Arc<Store>) -> (Mailbox, thread::JoinHandle<Result<(), StoreError>>) {
        let (mailbox, messages) = Mailbox::new();
        let config = Config { reward_to: Some(AccountId([7; 32])), threads: 1, ..Config::new([1; 32]) };
        let engine = Engine::new(Arc::clone(store), Arc::new(params.clone()), config, now()).unwrap();
        let metrics = Arc::new(Metrics::new(now(), Default::default()));
        let (done_sender, done) = channel(1);
        // Both ends are kept open by the driver and by nobody.
        let ((_, network), (commands, _)) = (channel(1), channel(1));
        let workers = Workers::start(engine.workshop(), 1, &done_sender).unwrap();
        let (tips, _) = watch::channel(None);
        let hands = Hands { miner: Miner::start(mailbox.clone(), None).unwrap(), workers, network: commands, tips };
        let inbox = Inbox { messages, network, done };
        let driver = Driver::new(engine, inbox, hands, metrics, Handle::current());
        (mailbox, thread::spawn(move || driver.run()))
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "some moment to count from")]
    fn strangers_have_many_lines_at_once_and_then_few() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let mut lines = |second| (0..1_000).filter(|_| pace.take(start + Duration::from_secs(second))).count();
        assert_eq!([lines(0), lines(9), lines(10), lines(11), lines(45)], [60, 0, 1, 0, 3]);
        assert_eq!([lines(10_000), lines(10_010)], [60, 1]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn it_mines_answers_and_ends_when_told() {
        let params = params();
        let backend = redb::backends::InMemoryBackend::new();
        let store = Arc::new(Store::open_backend(backend, &params, &StoreOptions::default()).unwrap());
        let (mailbox, thread) = start(&params, &store);

        let (from, to) = (SecretKey::dev(0), SecretKey::dev(1).account());
        let body = TransactionBody {
            from: from.account(),
            to,
            amount: drystone_core::amount::Amount(1),
            fee: drystone_core::amount::Amount(1_000_000),
            nonce: 0,
            memo: Memo::default(),
        };
        let transaction = body.sign(&params.chain_id(), &from);
        let checked = check_transactions(vec![transaction], params.rules_at(1), &params.chain_id(), &[1; 32]).unwrap();
        let first = mailbox.submit_transaction(checked[0].clone()).await.unwrap();
        assert!(matches!(first, Ok(Accepted::Admitted(_))), "{first:?}");
        let again = mailbox.submit_transaction(checked[0].clone()).await.unwrap();
        assert!(again.is_err(), "{again:?}");

        let height = || mailbox.call(|engine, _| engine.tip().height);
        while height().await.unwrap() < 3 {
            thread::sleep(Duration::from_millis(10));
        }
        // Mining stops at once and not only with the next block.
        mailbox.call(|engine, _| engine.set_mining_threads(0)).await.unwrap();
        let stopped_at = height().await.unwrap();
        thread::sleep(Duration::from_millis(200));
        assert!(height().await.unwrap() <= stopped_at + 1);

        mailbox.post(Message::Stop).unwrap();
        thread.join().unwrap().unwrap();
        assert_eq!(height().await, Err(MailboxError::Stopped));
        let reached = store.snapshot().unwrap().tip().unwrap().height;
        assert!((3..=stopped_at + 1).contains(&reached));
    }
}
