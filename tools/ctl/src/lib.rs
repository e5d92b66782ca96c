//! moorctl: operate a node from a terminal
