//! `moorctl store` against stores that the store's own library wrote.

mod backup;
mod check;
mod looks;
mod restore;
mod support;
