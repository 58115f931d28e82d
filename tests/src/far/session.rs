//! A connection to a node's RPC that carries one call or many.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::program::read_response;

/// Calls in one request, as the node allows.
const BATCH: usize = 32;

/// How long a reply is waited for.
const REPLY_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection that stays open between calls, for as long as a node bears an idle one: some seconds.
pub struct Session {
    stream: TcpStream,
    cookie: String,
}

impl Session {
    /// Takes a connection over.
    ///
    /// # Panics
    /// If the system refuses timeouts.
    pub fn new(stream: TcpStream, cookie: String) -> Session {
        stream.set_read_timeout(Some(REPLY_TIMEOUT)).expect("a socket takes a timeout");
        stream.set_write_timeout(Some(REPLY_TIMEOUT)).expect("a socket takes a timeout");
        stream.set_nodelay(true).expect("a socket sends at once");
        Session { stream, cookie }
    }

    /// Calls a method: its result, or the error object.
    ///
    /// # Errors
    /// What the node says.
    ///
    /// # Panics
    /// If the node does not answer.
    pub fn call(&mut self, method: &str, params: &Value) -> Result<Value, Value> {
        outcome(self.post(&request(0, method, params)))
    }

    /// Calls one method many times; the outcomes in order.
    ///
    /// # Panics
    /// If the node does not answer.
    pub fn calls(&mut self, method: &str, params: &[Value]) -> Vec<Result<Value, Value>> {
        let mut outcomes = Vec::with_capacity(params.len());
        for chunk in params.chunks(BATCH) {
            let batch: Vec<Value> = (0..).zip(chunk).map(|(id, params)| request(id, method, params)).collect();
            let Value::Array(mut replies) = self.post(&json!(batch)) else { panic!("a batch is answered by a batch") };
            replies.sort_by_key(|reply| reply["id"].as_u64());
            assert_eq!(replies.len(), chunk.len(), "each call has its reply");
            outcomes.extend(replies.into_iter().map(outcome));
        }
        outcomes
    }

    fn post(&mut self, body: &Value) -> Value {
        let (body, cookie) = (body.to_string(), &self.cookie);
        let head = format!(
            "POST /rpc HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             authorization: Bearer {cookie}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        // In one piece: a small second one would wait for the first to be acknowledged.
        self.stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).expect("the node reads");
        let response = read_response(&mut self.stream).expect("the node answers");
        serde_json::from_str(&response.body).unwrap_or_else(|_| panic!("no JSON: {response:?}"))
    }
}

fn request(id: u64, method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

fn outcome(mut reply: Value) -> Result<Value, Value> {
    match reply.get_mut("error") {
        Some(error) => Err(error.take()),
        None => Ok(reply["result"].take()),
    }
}
