//! JSON-RPC 2.0 over HTTP to one of several nodes: the next one answers when one does not.
//!
//! Nothing that comes back is believed here; the callers check it. Only its size is bounded.

use std::fmt;
use std::time::Duration;

use drystone_core::api::{ErrorCode, ErrorData, NodeInfo};
use drystone_core::hash::BlockHash;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use thiserror::Error;
use ureq::Agent;
use ureq::http::{StatusCode, Uri};

use crate::error::{ExitCode, Failure};

/// The positional parameters of a method that takes none.
pub(crate) const NO_PARAMS: [(); 0] = [];
/// Where a node listens unless told otherwise.
pub(crate) const DEFAULT_URL: &str = "http://127.0.0.1:8645";
/// The longest answer that is read: a block of 16 MiB in hex does not fit, one of the main chain's 2 MiB does.
const MAX_ANSWER_BYTES: u64 = 16 << 20;
/// Characters that are read of what a node says of an error.
const MAX_WORDS: usize = 500;
/// A node that does not even accept a connection in this time is passed over.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest wait for one answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a call has no usable result.
#[derive(Debug, Error)]
pub(crate) enum RpcError {
    /// No node answered; one reason for each.
    #[error("no node answered: {0}")]
    Unreachable(Reasons),
    /// What came back is not an answer to what was asked.
    #[error("the node at {url} gave a wrong answer to {method}: {what}")]
    Malformed {
        /// The node.
        url: String,
        /// The method called.
        method: &'static str,
        /// What is wrong.
        what: String,
    },
    /// The node understood and said no.
    #[error("the node refused {method}: {} (code {})", error.message, error.code)]
    Refused {
        /// The method called.
        method: &'static str,
        /// The node's own words.
        error: ErrorObject,
    },
}

/// The `error` member of a reply.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct ErrorObject {
    /// The number of an [`ErrorCode`].
    pub(crate) code: i32,
    /// A sentence for people.
    pub(crate) message: String,
    /// The code's name and what to do about it; other servers may leave it out.
    pub(crate) data: Option<ErrorData>,
}

impl RpcError {
    /// The node's reason, where it refused with one that is known.
    pub(crate) fn code(&self) -> Option<ErrorCode> {
        match self {
            RpcError::Refused { error, .. } => ErrorCode::from_number(error.code),
            RpcError::Unreachable(_) | RpcError::Malformed { .. } => None,
        }
    }
}

/// One node and reason after the other.
#[derive(Debug, Default)]
pub(crate) struct Reasons(Vec<(String, String)>);

impl fmt::Display for Reasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (url, reason)) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{url}: {reason}")?;
        }
        Ok(())
    }
}

impl From<RpcError> for Failure {
    fn from(error: RpcError) -> Failure {
        let code = match (&error, error.code()) {
            (RpcError::Unreachable(_), _) => ExitCode::Unreachable,
            (RpcError::Refused { method, .. }, Some(reason)) => exit_code(method, reason),
            (RpcError::Malformed { .. } | RpcError::Refused { .. }, _) => ExitCode::BadAnswer,
        };
        let next = match &error {
            RpcError::Unreachable(_) => "start a node with: drystone-node dev, or name one with --rpc URL",
            // Not the wallet's advice: a node could name any command.
            RpcError::Refused { error: ErrorObject { data: Some(data), .. }, .. } => {
                return Failure::new(code, &error, format_args!("the node advises: {}", data.next));
            }
            RpcError::Malformed { .. } | RpcError::Refused { .. } => "ask another node with --rpc URL",
        };
        Failure::new(code, &error, next)
    }
}

/// What a node's refusal means to whoever called the wallet: only that of a payment is one.
fn exit_code(method: &str, reason: ErrorCode) -> ExitCode {
    match reason {
        ErrorCode::NodeFailure | ErrorCode::TimedOut | ErrorCode::Stopping => ExitCode::Unreachable,
        ErrorCode::Busy if method != "tx_submit" => ExitCode::Unreachable,
        _ if method != "tx_submit" => ExitCode::BadAnswer,
        ErrorCode::InvalidTransaction
        | ErrorCode::NonceUsed
        | ErrorCode::NonceTooFar
        | ErrorCode::InsufficientBalance
        | ErrorCode::BelowReserve
        | ErrorCode::FeeTooLow
        | ErrorCode::ReplacementTooCheap
        | ErrorCode::MempoolFull
        | ErrorCode::Busy => ExitCode::Refused,
        _ => ExitCode::BadAnswer,
    }
}

/// The nodes that the wallet may ask.
pub(crate) struct Client {
    agent: Agent,
    urls: Vec<String>,
    /// The node that answered last; asked first the next time.
    current: usize,
    /// Once known, nodes of other chains are passed over.
    chain: Option<BlockHash>,
}

impl Client {
    /// A client of the nodes at `urls`, in order of preference; no call takes longer than `timeout`.
    pub(crate) fn new(urls: &[String], timeout: Duration) -> Result<Client, Failure> {
        let config = Agent::config_builder()
            .timeout_global(Some(timeout.min(CALL_TIMEOUT)))
            .timeout_connect(Some(timeout.min(CONNECT_TIMEOUT)))
            .http_status_as_error(false)
            .max_redirects(0)
            // A proxy named in the environment is for the web; it would learn of every payment.
            .proxy(None);
        let urls = urls.iter().map(|url| endpoint(url)).collect::<Result<_, _>>()?;
        Ok(Client { agent: config.build().new_agent(), urls, current: 0, chain: None })
    }

    /// From now on, passes over nodes of any other chain.
    pub(crate) fn bind(&mut self, chain: BlockHash) {
        self.chain = Some(chain);
    }

    /// The nodes, in the order in which they were given.
    pub(crate) fn urls(&self) -> &[String] {
        &self.urls
    }

    /// The node that is asked first, which of one node alone is its name.
    pub(crate) fn name(&self) -> &str {
        &self.urls[self.current]
    }

    /// From now on, asks this node first.
    pub(crate) fn prefer(&mut self, index: usize) {
        self.current = index;
    }

    /// A client of one of the nodes alone, of the chain that this one is bound to.
    pub(crate) fn one(&self, index: usize) -> Client {
        Client { agent: self.agent.clone(), urls: vec![self.urls[index].clone()], current: 0, chain: self.chain }
    }

    /// The same, once the node has said that it is of that chain.
    pub(crate) fn only(&self, index: usize) -> Result<Client, Failure> {
        self.check_chain(&self.urls[index])?;
        Ok(self.one(index))
    }

    /// Calls `method` with positional `params` on the first node that answers.
    pub(crate) fn call<T: DeserializeOwned>(
        &mut self,
        method: &'static str,
        params: impl Serialize,
    ) -> Result<T, RpcError> {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let mut reasons = Reasons::default();
        for turn in 0..self.urls.len() {
            let index = (self.current + turn) % self.urls.len();
            let url = &self.urls[index];
            let outcome =
                if index == self.current { Ok(()) } else { self.check_chain(url).map_err(|error| error.to_string()) };
            match outcome.and_then(|()| self.post(url, &request)) {
                Ok(answer) => {
                    self.current = index;
                    return result_of(&answer, &self.urls[index], method);
                }
                Err(reason) => reasons.0.push((url.clone(), reason)),
            }
        }
        Err(RpcError::Unreachable(reasons))
    }

    /// A node that takes over in the middle of a conversation must be of the same chain.
    fn check_chain(&self, url: &str) -> Result<(), RpcError> {
        let Some(expected) = self.chain else { return Ok(()) };
        let method = "node_info";
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": NO_PARAMS }).to_string();
        let answer = self
            .post(url, &request)
            .map_err(|reason| RpcError::Unreachable(Reasons(vec![(url.to_owned(), reason)])))?;
        let info: NodeInfo = result_of(&answer, url, method)?;
        if info.chain_id == expected {
            return Ok(());
        }
        let what = format!("it is on another chain, {}", info.chain_id);
        Err(RpcError::Malformed { url: url.to_owned(), method, what })
    }

    /// The body of the answer, or why this node has none.
    fn post(&self, url: &str, request: &str) -> Result<Vec<u8>, String> {
        let mut response =
            self.agent.post(url).content_type("application/json").send(request).map_err(|error| error.to_string())?;
        let status = response.status();
        if status != StatusCode::OK {
            return Err(format!("HTTP status {status}"));
        }
        response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec().map_err(|error| error.to_string())
    }
}

/// Reads a reply: our id, and either a result of the right shape or the node's refusal.
fn result_of<T: DeserializeOwned>(answer: &[u8], url: &str, method: &'static str) -> Result<T, RpcError> {
    let cut = |text: &str| text.chars().take(MAX_WORDS).collect::<String>();
    let malformed = |what: String| RpcError::Malformed { url: url.to_owned(), method, what: cut(&what) };
    let reply: Reply<'_> =
        serde_json::from_slice(answer).map_err(|error| malformed(format!("not a JSON-RPC reply: {error}")))?;
    if let Some(ErrorObject { code, message, data }) = reply.error {
        let data = data.map(|ErrorData { name, next }| ErrorData { name, next: cut(&next) });
        let error = ErrorObject { code, message: cut(&message), data };
        return Err(RpcError::Refused { method, error });
    }
    if reply.id != Some(1) {
        return Err(malformed("it answers another request".into()));
    }
    // Whether nothing is a result, its type says.
    serde_json::from_str(reply.result.map_or("null", RawValue::get)).map_err(|error| malformed(error.to_string()))
}

/// A reply whose result is not read yet: as a tree of values a hostile one would take a hundred times its length of memory.
#[derive(Deserialize)]
struct Reply<'a> {
    id: Option<u64>,
    error: Option<ErrorObject>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

/// The URL to post to, from `host:port`, `http://host:port` or the whole.
fn endpoint(given: &str) -> Result<String, Failure> {
    let refuse = |what: &str| {
        let example = format!("name a node as {DEFAULT_URL} with --rpc");
        Failure::new(ExitCode::BadInput, format!("cannot use the node URL {given:?}: {what}"), example)
    };
    if given.starts_with("https://") {
        return Err(refuse("the wallet speaks plain HTTP; reach a distant node through a tunnel"));
    }
    let rest = given.strip_prefix("http://").unwrap_or(given);
    let uri: Uri = format!("http://{rest}").parse().map_err(|_| refuse("not a URL"))?;
    if rest.contains("://") || uri.host().is_none_or(str::is_empty) || uri.query().is_some() {
        return Err(refuse("not of the form http://HOST:PORT"));
    }
    let path = if uri.path() == "/" { "/rpc" } else { uri.path() };
    let authority = uri.authority().ok_or_else(|| refuse("no host"))?;
    // What stands after the host and is no port would silently become the default one.
    if authority.port().is_none() && !authority.as_str().ends_with(authority.host()) {
        return Err(refuse("the port is not a number from 0 to 65535"));
    }
    Ok(format!("http://{authority}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeNode;

    const TIMEOUT: Duration = Duration::from_secs(5);

    fn client(urls: &[&str]) -> Client {
        let urls: Vec<String> = urls.iter().map(|url| (*url).to_owned()).collect();
        Client::new(&urls, TIMEOUT).unwrap()
    }

    fn code_of(error: RpcError) -> ExitCode {
        Failure::from(error).code
    }

    #[test]
    fn urls_are_completed_or_refused() {
        for given in ["127.0.0.1:8645", "http://127.0.0.1:8645", "http://127.0.0.1:8645/", "http://127.0.0.1:8645/rpc"]
        {
            assert_eq!(endpoint(given).unwrap(), "http://127.0.0.1:8645/rpc");
        }
        for wrong in [
            "",
            "http://",
            "https://127.0.0.1:1",
            "ftp://127.0.0.1",
            "http://a b",
            "http://h:1/?x=1",
            "http://h:99999",
            "h:",
        ] {
            assert_eq!(endpoint(wrong).unwrap_err().code, ExitCode::BadInput, "{wrong}");
        }
    }

    #[test]
    fn a_result_comes_back_with_its_type() {
        let node = FakeNode::start(|method, params| {
            assert_eq!(method, "add");
            Ok(json!(params[0].as_u64().unwrap() + params[1].as_u64().unwrap()))
        });
        let mut client = client(&[&node.url]);
        assert_eq!(client.call::<u64>("add", (2, 3)).unwrap(), 5);
        let error = client.call::<String>("add", (2, 3)).unwrap_err();
        assert_eq!(code_of(error), ExitCode::BadAnswer);
    }

    #[test]
    fn a_refusal_keeps_the_nodes_words() {
        let node = FakeNode::start(|_, _| Err((ErrorCode::FeeTooLow, "too little".into())));
        let error = client(&[&node.url]).call::<u64>("tx_submit", ["00"]).unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::FeeTooLow));
        let failure = Failure::from(error);
        assert_eq!(failure.code, ExitCode::Refused);
        assert!(failure.message.contains("too little"), "{failure}");
        assert_eq!(failure.next, "the node advises: the node's advice");
        // Whatever another method is refused with, no payment is.
        let error = client(&[&node.url]).call::<u64>("tx_get", ["00"]).unwrap_err();
        assert_eq!(code_of(error), ExitCode::BadAnswer);
    }

    /// What a node says is cut, and a reply is not read into more than its own length before it is known to be of use.
    #[test]
    fn long_words_are_cut() {
        let long = "x".repeat(1 << 20);
        let said = long.clone();
        let node = FakeNode::start(move |_, _| Err((ErrorCode::FeeTooLow, said.clone())));
        let failure = Failure::from(client(&[&node.url]).call::<u64>("tx_submit", ["00"]).unwrap_err());
        assert!(failure.message.len() < 1_000, "{}", failure.message.len());
        let node = FakeNode::start(move |_, _| Ok(json!(long)));
        let failure = Failure::from(client(&[&node.url]).call::<u64>("any", NO_PARAMS).unwrap_err());
        assert!(failure.message.len() < 1_000, "{}", failure.message.len());
    }

    #[test]
    fn the_next_node_answers_when_one_does_not() {
        let node = FakeNode::start(|_, _| Ok(json!(7)));
        let mut client = client(&["http://127.0.0.1:1", &node.url]);
        assert_eq!(client.call::<u64>("any", NO_PARAMS).unwrap(), 7);
        assert_eq!(client.current, 1, "the node that answered comes first the next time");
        drop(client);

        let error =
            self::client(&["http://127.0.0.1:1", "http://127.0.0.1:2"]).call::<u64>("any", NO_PARAMS).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("127.0.0.1:1") && text.contains("127.0.0.1:2"), "{text}");
        assert_eq!(code_of(error), ExitCode::Unreachable);
    }

    #[test]
    fn wrong_replies_are_told_apart_from_silence() {
        for reply in ["", "nonsense", "[]", "{}", r#"{"id":2,"result":1}"#, r#"{"id":1}"#, r#"{"id":1,"error":5}"#] {
            let error = result_of::<u64>(reply.as_bytes(), "url", "any").unwrap_err();
            assert!(matches!(error, RpcError::Malformed { .. }), "{reply}: {error}");
        }
        assert_eq!(result_of::<Option<u64>>(br#"{"id":1,"result":null}"#, "url", "any").unwrap(), None);
        assert_eq!(result_of::<u64>(br#"{"id":1,"result":1,"error":null}"#, "url", "any").unwrap(), 1);
    }
}
