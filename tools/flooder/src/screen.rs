//! What a person sees while it runs: bars on a terminal, a line now and then elsewhere. All of it goes to
//! standard error; standard output is for the report.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Between two lines of one stage.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// One stage under way.
pub struct Stage {
    label: &'static str,
    total: u64,
    start: Instant,
    last_line: Instant,
    bar: Option<ProgressBar>,
}

impl Stage {
    /// Begins a stage of `total` steps.
    pub fn new(label: &'static str, total: u64) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(
                "{prefix:>10} [{bar:40}] {human_pos} of {human_len}  {per_sec}  {elapsed}",
            )
            .expect("the template is valid")
            .progress_chars("=> ");
            ProgressBar::new(total).with_style(style).with_prefix(label)
        });
        let now = Instant::now();
        Self { label, total, start: now, last_line: now, bar }
    }

    /// Shows that `done` steps are done.
    pub fn set(&mut self, done: u64) {
        match &self.bar {
            Some(bar) => bar.set_position(done),
            None if self.last_line.elapsed() >= LINE_EVERY => {
                self.last_line = Instant::now();
                eprintln!("{}: {done} of {}", self.label, self.total);
            }
            None => {}
        }
    }

    /// Ends the stage with `done` steps done.
    pub fn finish(self, done: u64) {
        match self.bar {
            Some(bar) => {
                bar.set_position(done);
                bar.abandon();
            }
            None => {
                let seconds = self.start.elapsed().as_secs_f64();
                eprintln!("{}: {done} of {} in {seconds:.1} s", self.label, self.total);
            }
        }
    }
}
