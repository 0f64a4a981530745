//! The result as an SVG picture: a bar for each lane of each row, as long as
//! its ratio to the kernel, with marks at floor and goal.

use std::fmt::Write;

use super::lanes::Kind;
use super::report::{Measured, Outcome, Report};
use super::rows::Target;

/// All in pixels.
const WIDTH: f64 = 960.0;
const LEFT: f64 = 190.0;
const RIGHT: f64 = 220.0;
const TOP: f64 = 104.0;
const BAR: f64 = 15.0;
const ROW_TITLE: f64 = 24.0;
const ROW_GAP: f64 = 16.0;
const MARGIN: f64 = 20.0;

/// The longest ratio that is drawn to scale; anything above is cut off there.
const LONGEST: f64 = 5.0;

/// The picture, as the text of an SVG file. Rows without a ratio are left out.
pub fn svg(report: &Report) -> String {
    let rows: Vec<&Outcome> = report.rows.iter().filter(|row| row.reference.is_some()).collect();
    let ratios = rows.iter().flat_map(|row| &row.lanes).filter_map(|lane| lane.ratio);
    let largest = ratios.map(|ratio| ratio.median).fold(1.0, f64::max);
    let axis = Axis { end: (largest * 1.05).clamp(1.5, LONGEST) };
    let height = TOP + rows.iter().map(|row| height_of(row)).sum::<f64>() + MARGIN * 2.0;

    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" font-family=\"system-ui, 'DejaVu Sans', sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    heading(&mut out, report);
    axis.grid(&mut out, height);
    let mut y = TOP;
    for row in rows {
        draw(&mut out, &axis, row, y);
        y += height_of(row);
    }
    out += "</svg>\n";
    out
}

/// From ratios to horizontal positions.
struct Axis {
    /// The ratio at the right end.
    end: f64,
}

impl Axis {
    fn x(&self, ratio: f64) -> f64 {
        LEFT + ratio.clamp(0.0, self.end) / self.end * (WIDTH - LEFT - RIGHT)
    }

    /// Lines at halves, or at whole numbers where those would be too many, and
    /// a strong one where the kernel is.
    fn grid(&self, out: &mut String, height: f64) {
        let step = if self.end > 3.0 { 1.0 } else { 0.5 };
        let (top, bottom) = (TOP - 8.0, height - MARGIN);
        let mut ratio = 0.0;
        while ratio <= self.end {
            let colour = if ratio == 1.0 { "#666666" } else { "#e4e4e4" };
            line(out, self.x(ratio), (top, bottom), colour);
            let label = if ratio == 1.0 { "1 = kernel".into() } else { format!("{ratio}") };
            text(out, (self.x(ratio), top - 4.0), "middle", "#666666", &label);
            ratio += step;
        }
    }
}

fn height_of(row: &Outcome) -> f64 {
    ROW_TITLE + row.lanes.len() as f64 * BAR + ROW_GAP
}

fn heading(out: &mut String, report: &Report) {
    let machine = &report.machine;
    let title = format!("vxmesh {} beside the kernel: ratios, more is better", report.version);
    let place = format!(
        "{}, {} cores, Linux {}, {}, {} build, {} rounds of {} s",
        machine.cpu,
        machine.cores,
        machine.kernel,
        report.date,
        report.build,
        report.rounds,
        report.seconds
    );
    let _ = writeln!(
        out,
        "<text x=\"{MARGIN}\" y=\"28\" font-size=\"18\" font-weight=\"600\" fill=\"#1a1a1a\">{}</text>",
        escaped(&title)
    );
    text(out, (MARGIN, 46.0), "start", "#666666", &place);
    let legend = "bar: median of the rounds; thin line: from the lowest to the highest; red mark: floor, green mark: goal";
    text(out, (MARGIN, 62.0), "start", "#666666", legend);
}

/// A row's title, its bars and the marks of its target.
fn draw(out: &mut String, axis: &Axis, row: &Outcome, top: f64) {
    let _ = writeln!(
        out,
        "<text x=\"{MARGIN}\" y=\"{}\" font-size=\"13\" font-weight=\"600\" fill=\"#1a1a1a\" stroke=\"#ffffff\" stroke-width=\"4\" paint-order=\"stroke\">{}</text>",
        top + 16.0,
        escaped(row.title)
    );
    for (n, lane) in row.lanes.iter().enumerate() {
        bar(out, axis, row, lane, top + ROW_TITLE + n as f64 * BAR);
    }
    let Target::Ratio { floor, goal } = row.target else { return };
    let lanes = row.lanes.iter().position(|lane| Some(lane.lane) == row.subject);
    let y = top + ROW_TITLE + lanes.unwrap_or(0) as f64 * BAR;
    for (ratio, colour) in [(floor, "#c0392b"), (goal, "#1e8449")] {
        let (x, bottom) = (axis.x(ratio), y + BAR);
        let _ = writeln!(
            out,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{}\" y2=\"{bottom}\" stroke=\"{colour}\" stroke-width=\"2.5\"/>",
            y - 2.0
        );
    }
}

fn bar(out: &mut String, axis: &Axis, row: &Outcome, lane: &Measured, y: f64) {
    let baseline = y + BAR - 4.0;
    text(out, (LEFT - 8.0, baseline), "end", "#333333", &lane.lane.to_string());
    let Some(ratio) = lane.ratio else { return };
    let (start, end) = (axis.x(0.0), axis.x(ratio.median));
    let _ = writeln!(
        out,
        "<rect x=\"{start}\" y=\"{}\" width=\"{:.1}\" height=\"{}\" fill=\"{}\"/>",
        y + 1.0,
        (end - start).max(1.0),
        BAR - 3.0,
        colour(lane.lane)
    );
    // Whiskers from the slowest round to the fastest.
    let (low, high, middle) = (axis.x(ratio.min), axis.x(ratio.max), y + BAR / 2.0 - 0.5);
    let _ = writeln!(
        out,
        "<line x1=\"{low:.1}\" x2=\"{high:.1}\" y1=\"{middle}\" y2=\"{middle}\" stroke=\"#333333\"/>"
    );
    let label = format!("{:.2}  ({} {})", ratio.median, Short(lane.value.median), row.unit);
    text(out, (axis.x(axis.end) + 10.0, baseline), "start", "#333333", &label);
}

/// A number with three digits that count.
struct Short(f64);

impl std::fmt::Display for Short {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = if self.0 >= 100.0 {
            0
        } else if self.0 >= 10.0 {
            1
        } else {
            2
        };
        write!(f, "{:.digits$}", self.0)
    }
}

fn colour(kind: Kind) -> &'static str {
    match kind {
        Kind::Veth => "#d5d8dc",
        Kind::Vxlan | Kind::Bridge => "#85929e",
        Kind::Vxmesh | Kind::VxmeshLocal | Kind::VxmeshCutOff | Kind::VxmeshIdle => "#2e86c1",
        Kind::VxmeshVip => "#7d3c98",
        Kind::VxmeshPlain => "#aed6f1",
        Kind::VxmeshAes | Kind::VxmeshChacha => "#1e8449",
    }
}

fn line(out: &mut String, x: f64, (top, bottom): (f64, f64), colour: &str) {
    let _ = writeln!(
        out,
        "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top}\" y2=\"{bottom}\" stroke=\"{colour}\"/>"
    );
}

fn text(out: &mut String, (x, y): (f64, f64), anchor: &str, colour: &str, text: &str) {
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{}</text>",
        escaped(text)
    );
}

/// Text that means itself inside an element.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::example;
    use super::*;

    /// Whether every element is closed, in the right order; returns their names.
    fn elements(xml: &str) -> Vec<String> {
        let (mut open, mut seen) = (Vec::new(), Vec::new());
        for tag in xml.split('<').skip(1) {
            let (tag, text) = tag.split_once('>').unwrap();
            assert!(!text.contains(['>']), "{text}");
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop().as_deref(), Some(name));
                continue;
            }
            let name = tag.split([' ', '/']).next().unwrap().to_owned();
            if !tag.ends_with('/') {
                open.push(name.clone());
            }
            seen.push(name);
        }
        assert!(open.is_empty(), "{open:?}");
        seen
    }

    #[test]
    fn is_well_formed_and_has_a_bar_for_each_ratio() {
        let report = example();
        let svg = svg(&report);
        let seen = elements(&svg);
        let bars = report.rows.iter().flat_map(|r| &r.lanes).filter(|l| l.ratio.is_some()).count();
        assert_eq!(seen.iter().filter(|name| *name == "rect").count(), bars + 1, "{svg}");
        assert!(svg.contains("A &amp; B &lt;CPU&gt;"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn nothing_to_draw_is_still_a_picture() {
        let mut report = example();
        report.rows.clear();
        elements(&svg(&report));
    }
}
