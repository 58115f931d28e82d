//! A WebSocket at `/rpc`: requests are answered one after the other, and between them the client is told the chain's steps.
//!
//! One task reads, answers and tells, and does one of them at a time. So a client that sends faster than it is answered, or
//! reads more slowly than the chain moves, fills nothing but its own socket.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use drystone_core::api::ChainStep;
use drystone_core::hash::BlockHash;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Rpc;
use super::auth::Access;
use super::endpoint::Endpoint;
use super::error::RpcError;
use super::events::{Follower, Subscription, steps_from};
use super::limits::{
    FRAME_ROOM_BYTES, MAX_MESSAGE_BYTES, MAX_WEBSOCKET_REPLY_BYTES, PING_INTERVAL, READ_BUFFER_BYTES, SEND_TIMEOUT,
};
use super::server::Place;

/// Answers the request for a WebSocket and serves it on a task of its own, which keeps the connection's place and that among
/// WebSockets.
pub(super) fn open(
    endpoint: Arc<Endpoint>,
    access: Access,
    place: (Place, Option<OwnedSemaphorePermit>),
    upgrade: WebSocketUpgrade,
) -> Response {
    let upgrade = upgrade.max_message_size(MAX_MESSAGE_BYTES).max_frame_size(MAX_MESSAGE_BYTES);
    // Pongs wait here too, one for each ping of a client that does not read.
    let upgrade = upgrade.write_buffer_size(0).max_write_buffer_size(MAX_WEBSOCKET_REPLY_BYTES + FRAME_ROOM_BYTES);
    upgrade.read_buffer_size(READ_BUFFER_BYTES).on_upgrade(async move |socket| {
        let session = Session { socket, endpoint, access, follower: Follower::default(), heard: true };
        let (place, _permit) = place;
        session.serve(place).await;
    })
}

/// One client.
struct Session {
    socket: WebSocket,
    endpoint: Arc<Endpoint>,
    access: Access,
    follower: Follower,
    /// Whether anything came since the last ping.
    heard: bool,
}

/// The end of a session: the client went away or does not read, or is told why it ends.
struct End(Option<CloseFrame>);

impl End {
    const GONE: End = End(None);

    fn because(code: u16, reason: &'static str) -> End {
        End(Some(CloseFrame { code, reason: reason.into() }))
    }
}

/// What happens next.
enum Next {
    Message(Option<Result<Message, axum::Error>>),
    Steps(Vec<ChainStep>),
    Ping,
    Failed,
    Stopping,
}

impl Session {
    async fn serve(mut self, mut place: Place) {
        let mut pings = interval(PING_INTERVAL);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is at once.
        pings.tick().await;
        let mut subscription = self.follower.get();
        let mut steps = self.steps(subscription);
        loop {
            let next = tokio::select! {
                // Begun once and kept, however much the client sends meanwhile.
                read = &mut steps => read.map_or(Next::Failed, Next::Steps),
                message = self.socket.recv() => Next::Message(message),
                _ = pings.tick() => Next::Ping,
                () = place.vacated() => Next::Stopping,
            };
            let read = matches!(next, Next::Steps(_));
            let done = match next {
                Next::Message(message) => self.take(message).await,
                Next::Steps(steps) => self.tell(subscription, steps).await,
                Next::Ping => self.ping().await,
                Next::Failed => Err(End::because(close_code::ERROR, "the node failed; its log says why")),
                Next::Stopping => Err(End::because(close_code::AWAY, "the node is stopping")),
            };
            if let Err(End(frame)) = done {
                if let Some(frame) = frame {
                    // Whoever is gone misses nothing.
                    let _ = self.send(Message::Close(Some(frame))).await;
                }
                return;
            }
            if read || self.follower.get() != subscription {
                subscription = self.follower.get();
                steps = self.steps(subscription);
            }
        }
    }

    fn steps(
        &self,
        subscription: Subscription,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<ChainStep>, RpcError>> + Send>> {
        Box::pin(next_steps(Arc::clone(&self.endpoint.rpc), subscription, self.endpoint.rpc.tips.clone()))
    }

    async fn take(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<(), End> {
        self.heard = true;
        let request = match message {
            Some(Ok(Message::Text(text))) => Bytes::from(text),
            Some(Ok(Message::Binary(bytes))) => bytes,
            // Pings are answered below us.
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => return Ok(()),
            Some(Ok(Message::Close(_))) | None => return Err(End::GONE),
            // Too long, no UTF-8, no WebSocket frame, or the connection broke.
            Some(Err(_)) => return Err(End::because(close_code::SIZE, "a message is at most 64 KiB of UTF-8")),
        };
        let reply = self.endpoint.reply_over(request, self.access, &self.follower).await;
        self.send(Message::Text(reply.try_into().map_err(|_| End::GONE)?)).await
    }

    async fn tell(&mut self, Subscription { id, .. }: Subscription, steps: Vec<ChainStep>) -> Result<(), End> {
        for step in steps {
            let cursor = step.cursor;
            let notification = Notification {
                jsonrpc: "2.0",
                method: "chain_events",
                params: NotificationParams { subscription: id, result: step },
            };
            let text = serde_json::to_string(&notification).expect("plain data are JSON");
            self.send(Message::Text(text.into())).await?;
            self.follower.advance(id, cursor);
        }
        Ok(())
    }

    async fn ping(&mut self) -> Result<(), End> {
        if !std::mem::take(&mut self.heard) {
            return Err(End::GONE);
        }
        self.send(Message::Ping(Bytes::new())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        match timeout(SEND_TIMEOUT, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::GONE),
        }
    }
}

/// The next steps for a subscriber, as soon as there are any.
async fn next_steps(
    rpc: Arc<Rpc>,
    subscription: Subscription,
    mut tips: watch::Receiver<Option<BlockHash>>,
) -> Result<Vec<ChainStep>, RpcError> {
    loop {
        let told = *tips.borrow_and_update();
        if let (Some(cursor), Some(tip)) = (subscription.cursor, told)
            && cursor != tip
        {
            let place = Arc::clone(&rpc.places).acquire_owned().await.map_err(|_| RpcError::stopping())?;
            let store = Arc::clone(&rpc.store);
            let read = spawn_blocking(move || {
                let _place = place;
                let snapshot = store.snapshot()?;
                // Another tip on disk is about to be told, or none: the state is being made anew, and those steps are nobody's.
                if snapshot.tip()?.hash == tip { steps_from(&snapshot, &cursor) } else { Ok(Vec::new()) }
            });
            let steps = read.await.map_err(|error| RpcError::node_failure(format_args!("chain_events: {error}")))??;
            if !steps.is_empty() {
                return Ok(steps);
            }
        }
        // Fails only where the engine has ended, and then there is nothing more to tell.
        if tips.changed().await.is_err() {
            return pending().await;
        }
    }
}

/// A JSON-RPC notification in the shape that subscriptions commonly have.
#[derive(Serialize)]
struct Notification {
    jsonrpc: &'static str,
    method: &'static str,
    params: NotificationParams,
}

#[derive(Serialize)]
struct NotificationParams {
    subscription: u64,
    result: ChainStep,
}
