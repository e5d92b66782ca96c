//! Real worker processes against a dispatcher and phones that the tests play.

#[path = "../common/mod.rs"]
mod common;

mod admission;
mod drain;
mod fanout;
mod group;
mod idle;
mod limits;
mod link;
mod login;
mod node;
mod pace;
mod port;
mod refusals;
mod traffic;
