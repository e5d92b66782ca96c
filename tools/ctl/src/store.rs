//! `moorctl store`: stores on disk, looked at, copied and put back.
//!
//! ```text
//!   check, stats, export ──▶ a store that no dispatcher has open
//!   backup, stats --run-dir ──▶ run_dir/admin.sock ──▶ the dispatcher, while it runs
//!   restore ──▶ a backup becomes the store of a node that is stopped
//! ```

mod args;
mod backup;
mod check;
mod contents;
mod export;
mod place;
mod registry;
mod restore;
mod rows;
mod stats;
mod tree;

pub(crate) use args::StoreAction;
pub(crate) use place::failed;

use crate::args::Common;
use crate::failure::Failure;
use crate::output::Output;

pub(crate) fn store(common: &Common, action: StoreAction, output: &mut Output<'_>) -> Result<(), Failure> {
    match action {
        StoreAction::Check { dir } => check::check(&dir, output),
        StoreAction::Stats { dir: Some(dir), .. } => stats::stats(&dir, output),
        StoreAction::Stats { run_dir, .. } => backup::live_stats(common, run_dir, output),
        StoreAction::Export { dir, out } => export::export(&dir, out.as_deref(), output),
        StoreAction::Backup { run_dir, to } => backup::backup(common, run_dir, &to, output),
        StoreAction::Restore(action) => restore::restore(common, action, output),
    }
}

/// Bytes for people.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (count as f64, "bytes");
    for larger in UNITS {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    if unit == "bytes" { format!("{count} bytes") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    #[test]
    fn bytes_for_people() {
        let shown = [0, 1023, 1024, 1536, 5 << 20, 3 << 40, 5 << 50].map(super::bytes);
        let expected = ["0 bytes", "1023 bytes", "1.0 KiB", "1.5 KiB", "5.0 MiB", "3.0 TiB", "5120.0 TiB"];
        assert_eq!(shown, expected);
    }
}
