//! A disk that is full, slow or failing. Pushes are refused meanwhile and say when to try again; what is stored is
//! delivered; and when the disk is well again, so is the node, without a restart.

use crate::{Failure, Options, Report};

mod faults;
mod full;
mod small;

pub fn run(options: &Options, report: &mut Report) -> Result<(), Failure> {
    // First: it moves this process to a namespace of its own, before anything is started.
    full::run(options, report)?;
    faults::run(options, report)
}
