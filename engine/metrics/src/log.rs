//! One line to the log.

use std::fmt::Arguments;
use std::io::{Write, stderr};

/// Writes a line to standard error, for [`say!`](crate::say).
pub fn write_line(line: Arguments<'_>) {
    // A log that cannot be written, on a full disk say, must not end a process that holds phones, as
    // `eprintln!` would. There is nowhere left to complain.
    writeln!(stderr(), "{line}").ok();
}

/// Like `eprintln!`, but a failure to write is ignored.
#[macro_export]
macro_rules! say {
    ($($text:tt)+) => { $crate::log::write_line(format_args!($($text)+)) };
}
