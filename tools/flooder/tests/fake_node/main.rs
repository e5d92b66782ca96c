//! The flooder against a node of a few lines that can break every promise a node makes.

mod demo;
mod fake;
mod fleet;
