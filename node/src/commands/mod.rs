//! One module for each command that does its work and ends. What each returns is printed.

pub(crate) mod genesis;
pub(crate) mod status;
pub(crate) mod verify;
