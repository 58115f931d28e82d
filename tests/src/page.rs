//! docs/RPC.md as data: the requests of the page with their replies.

use std::fs;

use serde_json::Value;

/// The text of docs/RPC.md.
///
/// # Panics
/// If it cannot be read.
pub fn rpc_page() -> String {
    fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/RPC.md")).expect("the page of the interface")
}

/// The requests of a page, each with the reply that follows it: its `json` blocks in their order.
///
/// # Panics
/// If a block is not JSON, or a request has no reply.
pub fn exchanges(page: &str) -> Vec<(Value, Value)> {
    let blocks = page.split("\n```json\n").skip(1).map(|rest| rest.split("\n```").next().unwrap_or_default());
    let read = |block| serde_json::from_str(block).unwrap_or_else(|error| panic!("{error} in:\n{block}"));
    let blocks: Vec<Value> = blocks.map(read).collect();
    assert!(blocks.len().is_multiple_of(2), "each request is followed by its reply");
    blocks.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

/// The part of a page under the heading of a method.
///
/// # Panics
/// If there is none.
pub fn section<'a>(page: &'a str, method: &str) -> &'a str {
    let heading = format!("\n### {method}\n");
    let start = page.find(&heading).unwrap_or_else(|| panic!("{method} has no section"));
    page[start + heading.len()..].split("\n## ").next().unwrap_or_default().split("\n### ").next().unwrap_or_default()
}
