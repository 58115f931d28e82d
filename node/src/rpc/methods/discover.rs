//! `rpc.discover`: the interface as an OpenRPC document, written in `openrpc.json` and held to the methods by tests.

use std::sync::LazyLock;

use serde_json::value::RawValue;

use crate::rpc::call::{Call, Reply};
use crate::rpc::error::RpcError;

/// The document, which lacks only the version.
const TEXT: &str = include_str!("../openrpc.json");

/// What stands in the version's place.
const VERSION: &str = "\"VERSION\"";

/// Made once. The order and the lines of the file stay, for people read it too.
static DOCUMENT: LazyLock<Reply> = LazyLock::new(|| {
    let text = TEXT.replacen(VERSION, concat!("\"", env!("CARGO_PKG_VERSION"), "\""), 1);
    RawValue::from_string(text).expect("a test reads it")
});

/// Does not go through `Call::reply`: the document has a length of its own, which a test bounds.
pub(super) fn document(_: &mut Call) -> Result<Reply, RpcError> {
    Ok(DOCUMENT.clone())
}

#[cfg(test)]
mod tests {
    use drystone_core::api::ErrorCode;
    use serde_json::{Value, from_str, json};

    use super::super::METHODS;
    use super::*;
    use crate::rpc::limits::{
        MAX_BAN_SECONDS, MAX_GENERATE, MAX_HEADERS, MAX_HISTORY_PAGE, MAX_MEMPOOL_PAGE, MAX_MINING_THREADS,
        ORDINARY_BYTES,
    };

    fn parsed() -> Value {
        from_str(DOCUMENT.get()).unwrap()
    }

    fn elements(value: &Value) -> impl Iterator<Item = &Value> {
        value.as_array().unwrap().iter()
    }

    #[test]
    fn the_document_has_the_running_version_and_is_an_ordinary_reply() {
        assert_eq!(TEXT.matches(VERSION).count(), 1);
        assert_eq!(parsed()["info"]["version"], env!("CARGO_PKG_VERSION"));
        let envelope = 1 << 10;
        assert!(DOCUMENT.get().len() + envelope < ORDINARY_BYTES, "{}", DOCUMENT.get().len());
    }

    #[test]
    fn it_lists_the_methods_with_their_parameters_and_which_need_the_cookie() {
        let document = parsed();
        let listed = elements(&document["methods"]).map(|method| {
            let names = elements(&method["params"]).map(|param| param["name"].as_str().unwrap()).collect();
            (method["name"].as_str().unwrap(), names, method["x-cookie"] == json!(true))
        });
        let listed: Vec<(&str, Vec<&str>, bool)> = listed.collect();
        let served: Vec<_> = METHODS.iter().map(|m| (m.name, m.parameters.to_vec(), m.cookie)).collect();
        assert_eq!(listed, served);
    }

    #[test]
    fn its_bounds_are_those_of_the_methods() {
        let document = parsed();
        let bounded = elements(&document["methods"]).flat_map(|method| {
            elements(&method["params"]).filter_map(|param| {
                let most = param["schema"].get("maximum")?.as_u64().unwrap();
                Some((method["name"].as_str().unwrap(), param["name"].as_str().unwrap(), most))
            })
        });
        let expected = [
            ("chain_headers", "count", MAX_HEADERS),
            ("mempool_list", "limit", MAX_MEMPOOL_PAGE),
            ("mining_set", "threads", MAX_MINING_THREADS.into()),
            ("mining_generate", "count", MAX_GENERATE),
            ("net_ban", "seconds", MAX_BAN_SECONDS),
            ("account_history", "limit", MAX_HISTORY_PAGE),
        ];
        assert_eq!(bounded.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn its_errors_are_those_of_the_interface() {
        let document = parsed();
        let errors = document["components"]["errors"].as_object().unwrap();
        assert_eq!(errors.len(), ErrorCode::ALL.len());
        for code in ErrorCode::ALL {
            let error = &errors[code.name()];
            assert_eq!((&error["code"], &error["data"]["name"]), (&json!(code.number()), &json!(code.name())));
            assert!(error["message"].as_str().is_some_and(|meaning| meaning.ends_with('.')), "{}", code.name());
        }
    }
}
