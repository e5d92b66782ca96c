//! Scenarios, floors and the table of promises
