//! The arithmetic of workers, connections and rings.

use settings::{Settings, Steering, WORKERS_MAX, plan};
use std::process::Command;

fn settings(text: &str) -> Settings {
    Settings::parse(text, "m.toml").expect("the text is good")
}

#[test]
fn one_worker_a_core_where_files_allow() {
    let plan = plan(
        &settings("worker.target_connections = 4_000_000\nworker.listen = \"0.0.0.0:7070\""),
        1_048_576,
        16,
    );
    assert_eq!((plan.workers, plan.connections_max_per_worker), (16, 1_048_376));
    assert_eq!((plan.steering, plan.ring_bytes), (Steering::Cpu, 1 << 20));
    assert_eq!(plan.warnings, [""; 0]);
}

#[test]
fn more_workers_where_files_are_few() {
    let plan = plan(&settings("worker.target_connections = 4_000_000"), 20_000, 2);
    assert_eq!((plan.workers, plan.connections_max_per_worker), (203, 19_800));
    assert!(plan.connections_max() >= 4_000_000);
    assert_eq!((plan.steering, plan.ring_bytes), (Steering::Hash, 64 << 10));
    assert_eq!(plan.warnings, [""; 0]);
}

#[test]
fn rings_shrink_as_workers_become_many_and_small_but_hold_four_payloads() {
    let ring = |count: usize, payload: usize| {
        let text = format!("worker.count = {count}\npush.payload_bytes_max = {payload}");
        plan(&settings(&text), 20_000, 2).ring_bytes >> 10
    };
    assert_eq!([16, 17, 1024].map(|count| ring(count, 4096)), [1024, 64, 64]);
    assert_eq!([16, 17].map(|count| ring(count, 64_000)), [1024, 256]);
    assert_eq!(ring(17, 20_000), 128);
    let by_size = |nofile: u64| plan(&settings("worker.count = 32"), nofile, 32).ring_bytes >> 10;
    assert_eq!([20_000, 100_000, 1 << 20].map(by_size), [64, 256, 1024]);
}

#[test]
fn the_default_fits_two_cores() {
    let plan = plan(&Settings::default(), 20_000, 2);
    assert_eq!((plan.workers, plan.steering), (2, Steering::Hash), "it listens on loopback");
}

#[test]
fn what_was_set_is_kept() {
    let text = "[worker]\ncount = 3\nconnections_max = 5000\nring_kib = 512\nsteering = \"hash\"\n";
    let plan = plan(&settings(text), 20_000, 3);
    assert_eq!((plan.workers, plan.connections_max_per_worker), (3, 5000));
    assert_eq!((plan.steering, plan.ring_bytes), (Steering::Hash, 512 << 10));
    assert_eq!(plan.warnings, [""; 0]);
}

#[test]
fn fewer_connections_a_worker_mean_more_workers() {
    let plan = plan(&settings("[worker]\nconnections_max = 1000\n"), 20_000, 2);
    assert_eq!(plan.workers, 15);
}

#[test]
fn what_cannot_be_had_is_said() {
    let cases = [
        ("worker.count = 1", 10_000, "1 workers of 9800 connections hold 9800 of"),
        (
            "worker.connections_max = 50_000",
            20_000,
            "worker.connections_max = 50000 does not fit 20000 open files",
        ),
        (
            "worker.steering = \"cpu\"\nworker.count = 3",
            20_000,
            "worker.steering = \"cpu\" needs as many workers",
        ),
        ("", 200, "a process may open 200 files and 200 are kept back: no connection fits"),
    ];
    for (text, nofile, expected) in cases {
        let plan = plan(&settings(text), nofile, 2);
        assert!(
            plan.warnings.iter().any(|warning| warning.starts_with(expected)),
            "{text}: {:?}",
            plan.warnings
        );
        assert!(plan.workers <= WORKERS_MAX && plan.connections_max_per_worker > 0);
        assert_ne!(plan.steering, Steering::Auto);
    }
}

#[test]
fn a_shell_reads_the_lines_back() {
    let settings = settings("[node]\nrun_dir = \"it's $HOME `x` \\\\ here\"\n[worker]\ncount = 1\n");
    let plan = plan(&settings, 1000, 2);
    let script = format!(
        "{}printf '%s|%s|%s|%s' \"$RUN_DIR\" \"$WORKERS\" \"$NOFILE\" \"$WARNINGS\"",
        plan.shell_lines(&settings)
    );
    let output = Command::new("sh").args(["-euc", &script]).output().expect("there is a shell");
    let expected = format!("it's $HOME `x` \\ here|1|1000|{}", plan.warnings.join("\n"));
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    assert!(output.status.success());
}
