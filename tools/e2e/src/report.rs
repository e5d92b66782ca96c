//! What a scenario found.

use std::fmt::{Debug, Display};
use std::process::ExitCode;

use serde_json::{Map, Value};

/// What the line of a check that does not hold begins with.
pub const FAILED: &str = "  FAIL  ";

/// Checks, said as they are made, and figures, said at the end.
#[derive(Debug, Default)]
pub struct Report {
    passed: u32,
    failed: u32,
    figures: Map<String, Value>,
}

impl Report {
    /// What comes next.
    pub fn stage(&self, title: &str) {
        println!("{title}");
    }

    /// Whether `what` holds, and what was seen.
    pub fn check(&mut self, what: &str, holds: bool, seen: impl Display) {
        let (word, count) = if holds { ("  ok    ", &mut self.passed) } else { (FAILED, &mut self.failed) };
        *count += 1;
        println!("{word}{what}: {seen}");
    }

    /// Whether `what` is as it should be.
    pub fn equal<T: PartialEq + Debug>(&mut self, what: &str, seen: T, expected: T) {
        if seen == expected {
            self.check(what, true, format_args!("{seen:?}"));
        } else {
            self.check(what, false, format_args!("{seen:?}, expected {expected:?}"));
        }
    }

    /// A number for the JSON line.
    pub fn figure(&mut self, name: &str, value: impl Into<Value>) {
        self.figures.insert(name.to_owned(), value.into());
    }

    /// Sums up.
    pub fn finish(self, json: bool) -> ExitCode {
        println!("{} held, {} did not", self.passed, self.failed);
        if json {
            println!("{}", Value::Object(self.figures));
        }
        // Nothing checked is nothing shown.
        if self.failed == 0 && self.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
