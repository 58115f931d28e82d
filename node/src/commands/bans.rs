//! `drystone-node ban` and `unban`: whom a running node is to refuse.

use drystone_core::api::BanInfo;
use serde_json::json;

use super::client::Client;
use crate::cli::{BanOptions, UnbanOptions};
use crate::clock::now;
use crate::failure::Failure;
use crate::units::duration;

/// Bans, and says for how long.
pub(crate) fn ban(options: BanOptions) -> Result<String, Failure> {
    let client = Client::to_tell(options.node)?;
    let BanInfo { target, until } = client.tell("net_ban", &json!([options.target, options.seconds]))?;
    Ok(format!("banned {target} for {}\ntake it back with: drystone-node unban {target}\n", remaining(until)))
}

/// Takes a ban back.
pub(crate) fn unban(options: UnbanOptions) -> Result<String, Failure> {
    let client = Client::to_tell(options.node)?;
    match client.tell("net_unban", &json!([options.target]))? {
        true => Ok(format!("unbanned {}\n", options.target)),
        false => {
            Err(Failure::new(format_args!("{} is not banned", options.target), "see who is with: drystone-node peers"))
        }
    }
}

/// The time to the Unix time `until` in milliseconds.
pub(super) fn remaining(until: u64) -> String {
    // A moment has passed since the node said it: a day is a day.
    duration(until.saturating_sub(now()).div_ceil(1000))
}
