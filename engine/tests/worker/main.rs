//! Real worker processes against a dispatcher and phones that the tests play.

#[path = "../common/mod.rs"]
mod common;

mod drain;
mod fanout;
mod limits;
mod link;
mod login;
mod node;
mod port;
mod refusals;
mod traffic;
