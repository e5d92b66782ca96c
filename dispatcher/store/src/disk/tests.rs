//! The contract on a real disk and on the simulated one; then what only a real one can do.

mod backup;
mod contract;
mod damage;
mod failure;
mod format;
mod kill;
mod support;
mod tail;
