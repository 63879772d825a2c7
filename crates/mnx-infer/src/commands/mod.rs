//! The commands, one file each.

mod answers;
pub(crate) mod bench;
pub(crate) mod classify;
pub(crate) mod compare;
pub(crate) mod completions;
pub(crate) mod convert;
pub(crate) mod detect;
pub(crate) mod eval;
pub(crate) mod init;
pub(crate) mod inspect;
mod network;
pub(crate) mod quantize;
pub(crate) mod run;
mod timing;
