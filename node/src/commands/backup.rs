//! `drystone-node backup`: has a running node copy its ledger into a file.

use std::path::absolute;
use std::time::Duration;

use drystone_core::api::BackupMade;
use serde_json::json;

use super::client::Client;
use crate::cli::BackupOptions;
use crate::failure::Failure;

/// Longer than a node takes for it.
const PATIENCE: Duration = Duration::from_secs(600);

/// Asks for the copy, and says how it is used.
pub(crate) fn execute(options: BackupOptions) -> Result<String, Failure> {
    let path = absolute(&options.file).map_err(|error| Failure::io("name a file", &options.file, &error))?;
    let client = Client::to_tell(options.node)?;
    let BackupMade { path, bytes } = client.tell_within(PATIENCE, "node_backup", &json!([path]))?;
    let mb = bytes as f64 / 1e6;
    Ok(format!(
        "copied the ledger at height {} or above to {path}, {mb:.1} MB\n\
         to use it, put it into an empty data directory as ledger.redb, and check it there with: drystone-node verify\n",
        client.info.height
    ))
}
