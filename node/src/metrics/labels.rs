//! The values of labels: what outputs of the engine are called on the page. Dashboards depend on them.

use crate::engine::message::{Direction, DisconnectReason, Reassignment};
use crate::engine::verdict::{Offence, Refusal};

/// What bytes between peers belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Messages to everybody.
    Gossip,
    /// Questions of one peer to another.
    Request,
    /// Answers to them.
    Response,
}

impl Traffic {
    pub(super) fn label(self) -> &'static str {
        match self {
            Traffic::Gossip => "gossip",
            Traffic::Request => "request",
            Traffic::Response => "response",
        }
    }
}

pub(super) const TRAFFIC: &[[&str; 1]] = &[["gossip"], ["request"], ["response"]];
pub(super) const DIRECTIONS: &[[&str; 1]] = &[["inbound"], ["outbound"]];
pub(super) const OFFENCES: &[[&str; 1]] = &[
    ["invalid_header"],
    ["invalid_block"],
    ["invalid_transaction"],
    ["undecodable"],
    ["unasked"],
    ["greedy"],
    ["broken_headers"],
    ["changed_headers"],
    ["false_claim"],
    ["forged_announcement"],
    ["wrong_body"],
];
pub(super) const DISCONNECTS: &[[&str; 1]] = &[
    ["other_chain"],
    ["other_version"],
    ["no_handshake"],
    ["offence"],
    ["banned"],
    ["full"],
    ["feeler"],
    ["itself"],
    ["stranger"],
    ["unresponsive"],
];
pub(super) const REASSIGNMENTS: &[[&str; 1]] =
    &[["deadline"], ["lost"], ["refused"], ["not_held"], ["wrong"], ["stalled"]];

pub(super) fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Inbound => "inbound",
        Direction::Outbound => "outbound",
    }
}

pub(super) fn offence(offence: &Offence) -> &'static str {
    match offence {
        Offence::Refused(Refusal::Header(_) | Refusal::Context(_)) => "invalid_header",
        Offence::Refused(Refusal::Transaction(_)) => "invalid_transaction",
        // What is not invalid costs nothing, and so is not told.
        Offence::Refused(_) => "invalid_block",
        Offence::Undecodable(_) => "undecodable",
        Offence::Unasked => "unasked",
        Offence::Greedy => "greedy",
        Offence::BrokenHeaders => "broken_headers",
        Offence::ChangedHeaders => "changed_headers",
        Offence::FalseClaim => "false_claim",
        Offence::ForgedAnnouncement => "forged_announcement",
        Offence::WrongBody => "wrong_body",
        Offence::Slow => "slow",
        Offence::WrongState => "wrong_state",
    }
}

pub(super) fn disconnect(reason: &DisconnectReason) -> &'static str {
    match reason {
        DisconnectReason::OtherChain(_) => "other_chain",
        DisconnectReason::OtherVersion(_) => "other_version",
        DisconnectReason::Stranger => "stranger",
        DisconnectReason::NoHandshake => "no_handshake",
        DisconnectReason::Banned(_) => "offence",
        DisconnectReason::AddressBanned => "banned",
        DisconnectReason::Full => "full",
        DisconnectReason::Feeler => "feeler",
        DisconnectReason::Itself => "itself",
        DisconnectReason::Unresponsive => "unresponsive",
    }
}

pub(super) fn reassignment(reason: Reassignment) -> &'static str {
    match reason {
        Reassignment::Deadline => "deadline",
        Reassignment::Lost => "lost",
        Reassignment::Refused => "refused",
        Reassignment::NotHeld => "not_held",
        Reassignment::Wrong => "wrong",
        Reassignment::Stalled => "stalled",
    }
}
