//! Synchronisation: headers first, then the bodies of the best chain of headers, from many peers at once.
//!
//! Only bodies of headers in the index are asked for, so there is no pool of orphans. Headers cost their sender work; what a
//! chain of too little work may cost this node is the memory of [`headers`], and never a body.

mod bodies;
mod headers;

pub(super) use bodies::{Pace, Window};
pub(super) use headers::{HeaderSync, child_record, is_usable};
