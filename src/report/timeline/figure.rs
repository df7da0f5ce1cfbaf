//! A run's timeline as a picture: scores of heads over the steps, losses below, the window of the change shaded.

use std::fmt::Write;

use super::{Point, Timeline};
use crate::{
    analysis::{
        score::Score,
        timeline::{self, Window},
    },
    head::Head,
    report::text::xml,
    text::line,
};

/// Width of the picture and of the part that the curves are drawn in, in pixels.
const WIDTH: f64 = 900.0;
const PLOT: f64 = 620.0;
/// Height of a panel, and of the space above it.
const PANEL: f64 = 200.0;
const GAP: f64 = 46.0;
/// Where the curves begin.
const LEFT: f64 = 64.0;
/// Height of a line of the legend.
const LINE: f64 = 20.0;
/// Colours that people with any colour vision tell apart, and black.
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#000000"];
const FONT: &str = "font-family=\"ui-monospace, Menlo, Consolas, monospace\" font-size=\"13\"";

/// A curve: its name, and the step and value of each snapshot that has one.
type Curve = (String, Vec<(u64, f64)>);

impl Timeline<'_> {
    /// The picture; it needs no other file and no script.
    pub fn svg(&self) -> String {
        let by = self.settings.by;
        let change = self.window().map(|Window { from, to }| format!(" · the change: steps {from} to {to}"));
        let title =
            format!("{} · {} over training{}", line(&self.model.name), by.name(), change.unwrap_or_default());
        let panels =
            [(format!("{} by head", by.name()), self.scores()), ("nats per token".into(), self.losses())];
        let height = 2.0 * (PANEL + GAP) + 2.0 * LINE;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH:.0}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {WIDTH:.0} {height:.0}\" {FONT}>\n<title>{}</title>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n<text x=\"{LEFT}\" y=\"20\">{}</text>\n",
            xml(&title),
            xml(&title)
        );
        for (place, (name, curves)) in panels.iter().enumerate() {
            self.panel(&mut out, GAP + place as f64 * (PANEL + GAP), name, curves);
        }
        out + "</svg>\n"
    }

    /// The heads that end up best, and the best previous-token score.
    fn scores(&self) -> Vec<Curve> {
        let by = self.settings.by;
        let of = |value: &dyn Fn(&Point) -> Option<f32>| self.values(value);
        let head = |head: Head| (head.to_string(), of(&|point| point.measured.scores[head].measured(by)));
        let previous = of(&|point| timeline::best(&point.measured.scores, Score::Previous));
        self.best_heads().into_iter().map(head).chain([("best previous".into(), previous)]).collect()
    }

    fn losses(&self) -> Vec<Curve> {
        let curves = [
            ("held-out loss", self.values(&|point| point.measured.held_out)),
            ("repeat gain", self.values(&|point| point.measured.gain)),
            ("icl", self.values(&|point| Some(point.measured.icl?.score as f32))),
            ("loss on the text", self.values(&|point| Some(point.text.as_ref()?.mean() as f32))),
        ];
        curves
            .into_iter()
            .filter(|curve| !curve.1.is_empty())
            .map(|(name, curve)| (name.into(), curve))
            .collect()
    }

    fn values(&self, value: &dyn Fn(&Point) -> Option<f32>) -> Vec<(u64, f64)> {
        let known =
            self.points.iter().filter_map(|point| Some((point.measured.step, f64::from(value(point)?))));
        known.filter(|(_, value)| value.is_finite()).collect()
    }

    /// A panel of curves on one scale, with its legend at the right.
    fn panel(&self, out: &mut String, top: f64, name: &str, curves: &[Curve]) {
        let values = curves.iter().flat_map(|curve| curve.1.iter().map(|point| point.1));
        let (low, high) =
            values.fold((0.0f64, f64::MIN_POSITIVE), |(low, high), value| (low.min(value), high.max(value)));
        let (first, last) = (self.points.first(), self.points.last());
        let (first, last) =
            (first.map_or(0, |point| point.measured.step), last.map_or(1, |point| point.measured.step));
        let x = |step: u64| LEFT + PLOT * (step - first) as f64 / (last - first).max(1) as f64;
        let y = |value: f64| top + PANEL * (high - value) / (high - low);
        if let Some(Window { from, to }) = self.window() {
            let _ = writeln!(
                out,
                "<rect x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{PANEL}\" fill=\"#eeeeee\">\
                 <title>the change: steps {from} to {to}</title></rect>",
                x(from),
                x(to) - x(from)
            );
        }
        let _ = writeln!(
            out,
            "<text x=\"{LEFT}\" y=\"{:.1}\">{}</text>\n<path d=\"M{LEFT} {top:.1}v{PANEL}h{PLOT}\" fill=\"none\" stroke=\"#000000\"/>",
            top - 6.0,
            xml(name)
        );
        for value in [low, high] {
            let _ = writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value:.2}</text>",
                LEFT - 6.0,
                y(value) + 4.0
            );
        }
        for (step, anchor) in [(first, "start"), (last, "end")] {
            let at = top + PANEL + 16.0;
            let _ = writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{at:.1}\" text-anchor=\"{anchor}\">step {step}</text>",
                x(step)
            );
        }
        for (place, (name, curve)) in curves.iter().enumerate() {
            let colour = COLOURS[place % COLOURS.len()];
            let points: Vec<String> =
                curve.iter().map(|&(step, value)| format!("{:.1},{:.1}", x(step), y(value))).collect();
            let _ = writeln!(
                out,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n\
                 <text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{} {:.3}</text>",
                points.join(" "),
                LEFT + PLOT + 12.0,
                top + 14.0 + place as f64 * LINE,
                xml(name),
                curve.last().map_or(f64::NAN, |point| point.1)
            );
        }
    }
}
