//! Graphs as SVG: panels one above the other on the same time axis, lines, and marks in time.
//!
//! It is *not* a plotting library: no logarithms, no styles, and colours for four lines.

use std::fmt::Write;

const WIDTH: f64 = 760.0;
const PANEL_HEIGHT: f64 = 200.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 34.0;
/// Steps of an axis, about.
const STEPS: f64 = 5.0;
const COLOURS: [&str; 4] = ["#1f6fb2", "#c8502d", "#3a8f4a", "#7d4fa8"];

/// One line of a panel.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its name in the legend.
    pub name: &'static str,
    /// Places by time, in the order of time.
    pub points: Vec<(f64, f64)>,
}

/// A diagram from 0 up.
#[derive(Clone, Debug)]
pub struct Panel {
    /// What is shown, with its unit.
    pub title: String,
    /// At most four.
    pub lines: Vec<Line>,
}

/// Panels with an axis in common.
#[derive(Clone, Debug)]
pub struct Group<'a> {
    /// One above the other.
    pub panels: Vec<Panel>,
    /// Moments with a name.
    pub marks: &'a [(f64, &'a str)],
    /// The axis's title.
    pub axis: &'a str,
}

/// All panels; `marks` are moments with a name, `time` is the axis's title.
pub fn render(panels: &[Panel], marks: &[(f64, &str)], time: &str) -> String {
    render_groups(&[Group { panels: panels.to_vec(), marks, axis: time }])
}

/// All groups, one above the other.
pub fn render_groups(groups: &[Group<'_>]) -> String {
    let count: usize = groups.iter().map(|group| group.panels.len()).sum();
    let height = (PANEL_HEIGHT + TOP + BOTTOM) * count as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let mut at = 0;
    for group in groups {
        render_group(&mut svg, group, at);
        at += group.panels.len();
    }
    svg.push_str("</svg>\n");
    svg
}

/// A group whose first panel is the `first` of the picture.
fn render_group(svg: &mut String, group: &Group<'_>, first: usize) {
    let points = || group.panels.iter().flat_map(|panel| &panel.lines).flat_map(|line| &line.points);
    let x_max = points().map(|point| point.0).fold(f64::MIN_POSITIVE, f64::max);
    for (at, panel) in group.panels.iter().enumerate() {
        let top = (first + at) as f64 * (PANEL_HEIGHT + TOP + BOTTOM) + TOP;
        let y_max = panel.lines.iter().flat_map(|line| &line.points).map(|p| p.1).fold(0.0, f64::max);
        let area = Area { top, x_max, y_max: step(y_max) * (y_max / step(y_max)).ceil().max(1.0) };
        area.axes(svg, panel);
        area.marks(svg, group.marks);
        for (line, colour) in panel.lines.iter().zip(COLOURS) {
            area.line(svg, line, colour);
        }
        if at + 1 == group.panels.len() {
            let (x, y) = (LEFT + (WIDTH - LEFT - RIGHT) / 2.0, top + PANEL_HEIGHT + 30.0);
            let axis = group.axis;
            put(svg, format_args!("<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{axis}</text>"));
        }
    }
}

/// Where a panel lies, and how far its axes go.
struct Area {
    top: f64,
    x_max: f64,
    y_max: f64,
}

impl Area {
    fn x(&self, time: f64) -> f64 {
        LEFT + time / self.x_max * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        self.top + PANEL_HEIGHT * (1.0 - value / self.y_max)
    }

    fn axes(&self, svg: &mut String, panel: &Panel) {
        let (bottom, right) = (self.top + PANEL_HEIGHT, WIDTH - RIGHT);
        put(
            svg,
            format_args!(
                "<text x=\"{LEFT}\" y=\"{}\" font-weight=\"bold\">{}</text>",
                self.top - 12.0,
                panel.title
            ),
        );
        for value in steps(self.y_max) {
            let y = self.y(value);
            put(svg, format_args!("<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#ddd\"/>"));
            let (x, y) = (LEFT - 6.0, y + 4.0);
            put(svg, format_args!("<text x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\">{value}</text>"));
        }
        for value in steps(self.x_max) {
            let (x, y) = (self.x(value), bottom + 16.0);
            put(svg, format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{value}</text>"));
        }
        let mut x = right;
        for (line, colour) in panel.lines.iter().zip(COLOURS).rev() {
            let y = self.top - 12.0;
            let name = line.name;
            put(
                svg,
                format_args!("<text x=\"{x}\" y=\"{y}\" text-anchor=\"end\" fill=\"{colour}\">{name}</text>"),
            );
            x -= 14.0 + 7.0 * name.chars().count() as f64;
        }
    }

    fn marks(&self, svg: &mut String, marks: &[(f64, &str)]) {
        for (time, name) in marks {
            let (x, bottom) = (self.x(*time), self.top + PANEL_HEIGHT);
            put(
                svg,
                format_args!(
                    "<path d=\"M{x:.1} {}V{bottom}\" stroke=\"#888\" stroke-dasharray=\"4 3\"/>",
                    self.top
                ),
            );
            let (x, y) = (x + 4.0, self.top + 12.0);
            put(svg, format_args!("<text x=\"{x:.1}\" y=\"{y}\" fill=\"#666\">{name}</text>"));
        }
    }

    fn line(&self, svg: &mut String, line: &Line, colour: &str) {
        let points: Vec<String> = line
            .points
            .iter()
            .map(|(time, value)| format!("{:.1},{:.1}", self.x(*time), self.y(*value)))
            .collect();
        put(
            svg,
            format_args!(
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\"/>",
                points.join(" ")
            ),
        );
    }
}

/// A round distance between about [`STEPS`] steps: 1, 2 or 5 times a power of ten.
fn step(max: f64) -> f64 {
    if max <= 0.0 {
        return 1.0;
    }
    let rough = max / STEPS;
    let power = 10f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|s| *s >= rough).unwrap_or(10.0 * power)
}

fn steps(max: f64) -> impl Iterator<Item = f64> {
    let step = step(max);
    (0..=(max / step + 1e-9) as u64).map(move |n| (n as f64 * step * 1e6).round() / 1e6)
}

fn put(svg: &mut String, element: std::fmt::Arguments<'_>) {
    writeln!(svg, "{element}").expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_reach_the_end() {
        assert_eq!((step(10.0), step(470.0), step(0.3), step(0.0)), (2.0, 100.0, 0.1, 1.0));
        assert_eq!(steps(0.5).collect::<Vec<_>>(), [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]);
    }

    #[test]
    fn every_point_lies_inside_its_panel_and_the_largest_value_at_or_below_its_top() {
        let line = Line { name: "a", points: vec![(0.0, 0.0), (5.0, 470.0), (10.0, 500.0)] };
        let panels = [
            Panel { title: "first".into(), lines: vec![line.clone()] },
            Panel { title: "second".into(), lines: vec![line] },
        ];
        let svg = render(&panels, &[(5.0, "half")], "seconds");
        let read = |line: &str| -> Vec<(f64, f64)> {
            let points = line.split('"').nth(1).unwrap();
            let point = |p: &str| p.split_once(',').map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap()));
            points.split(' ').filter_map(point).collect()
        };
        let lines: Vec<_> = svg.lines().filter(|l| l.starts_with("<polyline")).map(read).collect();
        assert_eq!(lines[0], [(70.0, 234.0), (405.0, 46.0), (740.0, 34.0)]);
        assert!(lines[1].iter().all(|(x, y)| (70.0..=740.0).contains(x) && (302.0..=502.0).contains(y)));
        assert_eq!((svg.matches("half").count(), svg.matches(">seconds<").count()), (2, 1));
    }
}
