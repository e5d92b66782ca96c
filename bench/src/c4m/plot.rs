//! A run as a picture: connections and memory over time, and latencies.

use super::report::Report;
use super::sampler::{Sample, Timeline};
use crate::svg::{Group, Line, Panel, render_groups};

const GIB: f64 = (1u64 << 30) as f64;

/// The picture of a run.
pub fn plot(report: &Report) -> String {
    let timeline = &report.engine.timeline;
    let phases: Vec<(f64, &str)> = timeline.phases.iter().map(|(t_s, name)| (*t_s, name.as_str())).collect();
    let empty = Timeline::default();
    let floor = report.floor.as_ref().map_or(&empty, |floor| &floor.timeline);
    let floor_phases: Vec<(f64, &str)> =
        floor.phases.iter().map(|(t_s, name)| (*t_s, name.trim_start_matches("floor: "))).collect();
    let mut groups = vec![Group { panels: over_time("engine", timeline), marks: &phases, axis: "seconds" }];
    if !floor.samples.is_empty() {
        groups.push(Group { panels: over_time("floor", floor), marks: &floor_phases, axis: "seconds" });
    }
    groups.push(Group { panels: latencies(report), marks: &[], axis: "percent of all" });
    render_groups(&groups)
}

fn over_time(side: &str, timeline: &Timeline) -> Vec<Panel> {
    let line = |name, value: fn(&Sample) -> f64| Line {
        name,
        points: timeline.samples.iter().map(|sample| (sample.t_s, value(sample))).collect(),
    };
    let mut connections = vec![
        line("by the kernel", |sample| sample.kernel as f64),
        line("by the phones", |sample| sample.phones as f64),
    ];
    if side == "engine" {
        connections.insert(0, line("logged in, by us", |sample| sample.attached as f64));
    }
    let memory = vec![
        line("available", |sample| sample.available as f64 / GIB),
        line("kernel objects", |sample| sample.slab as f64 / GIB),
        line("queued bytes", |sample| sample.buffers as f64 / GIB),
    ];
    vec![
        Panel { title: format!("{side}: connections"), lines: connections },
        Panel { title: format!("{side}: memory, GiB"), lines: memory },
    ]
}

fn latencies(report: &Report) -> Vec<Panel> {
    let curves = &report.engine.curves;
    let panel = |title: &str, names: &[&'static str]| Panel {
        title: title.into(),
        lines: names
            .iter()
            .filter_map(|name| {
                let points = curves.get(*name)?.iter().map(|(ms, percent)| (*percent, *ms)).collect();
                Some(Line { name, points })
            })
            .collect(),
    };
    vec![
        panel("pushes to single phones, ms within which", &["pushes"]),
        panel("the same while others are served, ms", &["pushes during broadcast", "pushes during storm"]),
        panel("broadcast, ms", &["broadcast"]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_has_its_line() {
        let sample =
            Sample { t_s: 1.0, attached: 3, kernel: 4, phones: 3, available: 1 << 30, ..Sample::default() };
        let timeline =
            Timeline { samples: vec![Sample::default(), sample], phases: vec![(0.5, "attach".into())] };
        let mut report = Report::default();
        report.engine.timeline = timeline.clone();
        report.engine.curves.insert("pushes".into(), vec![(1.0, 0.0), (2.0, 100.0)]);
        let svg = plot(&report);
        assert_eq!(svg.matches("<polyline").count(), 3 + 3 + 1);
        assert!(svg.contains(">attach<") && svg.contains("engine: memory, GiB"));
        report.floor = Some(super::super::report::FloorPart { timeline, ..Default::default() });
        assert_eq!(plot(&report).matches("<polyline").count(), 3 + 3 + 1 + 2 + 3);
    }
}
