//! The two plots: the score of some heads, and the losses, over the steps of the run.

use ratatui::layout::Rect;

use super::chart::{Chart, Curve, STYLES, Steps};
use crate::{
    analysis::timeline::Window,
    app::App,
    engine::protocol::{Measured, ModelInfo, RunView},
    head::Head,
    ui::{
        canvas::Canvas,
        theme::{Depth, Part},
    },
};

/// Columns of what the curves are.
const LEGEND: u16 = 17;

/// What stands beside a plot: the name of a curve and its last value.
struct Name {
    text: String,
    /// It is the selected head's.
    selected: bool,
}

/// Curves and what stands beside them.
struct Plot {
    curves: Vec<Curve>,
    names: Vec<Name>,
    /// What stands at the bottom and the top.
    labels: [String; 2],
}

/// A loss: its name, a short one for beside the plot, and its curve.
struct Loss<'a> {
    name: &'a str,
    short: &'static str,
    points: Vec<(u64, f32)>,
}

/// Draws the score of the selected head and of the best heads.
pub fn draw_scores(app: &App, info: &ModelInfo, run: &RunView, canvas: &mut Canvas, rect: Rect) {
    let training = &app.rooms.training;
    let inner = canvas.panel(rect, &title(app, run), true);
    let selected = app.selection.head;
    let others = training.order().into_iter().filter(|&head| head != selected);
    let most = STYLES.len().min(usize::from(inner.height).saturating_sub(1));
    let shown = std::iter::once(selected).chain(others).take(most);
    let known: Vec<(Head, Vec<(u64, f32)>)> = shown
        .map(|head| (head, training.curve(Some(head))))
        .filter(|(_, points)| !points.is_empty())
        .collect();
    if known.is_empty() {
        let line = match (info.layers, training.is_measuring()) {
            (0, _) => "a model without layers has no heads",
            (_, true) => "measuring the first snapshot",
            _ => "no snapshot is measured: m measures them all",
        };
        canvas.text(inner, 1, 0, line, Part::Dim);
        return;
    }
    let highest = known.iter().flat_map(|curve| &curve.1).map(|point| point.1).fold(0.0, f32::max);
    let top = ((highest * 10.0).ceil() / 10.0).max(0.1);
    let names: Vec<Name> = known
        .iter()
        .map(|(head, points)| Name {
            text: format!("{head:<5} {:.3}", last(points)),
            selected: *head == selected,
        })
        .collect();
    let curves: Vec<Curve> = known
        .into_iter()
        .enumerate()
        .map(|(style, (_, points))| Curve { points, range: (0.0, top), style })
        .collect();
    let labels = ["0".to_owned(), format!("{top:.1}")];
    Plot { curves, names, labels }.draw(app, run, canvas, inner);
}

/// Draws held-out loss, repeat gain and in-context learning, each from its lowest to its highest.
pub fn draw_losses(app: &App, run: &RunView, canvas: &mut Canvas, rect: Rect) {
    let points = &run.points;
    let icl = points.iter().find_map(|point| point.icl).map_or_else(|| "icl".to_owned(), |icl| icl.name());
    let curve = |value: &dyn Fn(&Measured) -> Option<f32>| -> Vec<(u64, f32)> {
        let known = points.iter().filter_map(|point| Some((point.step, value(point)?)));
        known.filter(|point| point.1.is_finite()).collect()
    };
    let all = [
        Loss { name: "held-out loss", short: "loss", points: curve(&|point| point.held_out) },
        Loss { name: "repeat gain", short: "gain", points: curve(&|point| point.gain) },
        Loss { name: &icl, short: "icl", points: curve(&|point| Some(point.icl?.score as f32)) },
    ];
    let (known, missing): (Vec<_>, Vec<_>) = all.into_iter().partition(|loss| !loss.points.is_empty());
    let list = |losses: &[Loss<'_>]| losses.iter().map(|loss| loss.name).collect::<Vec<_>>().join(", ");
    let title = match (known.as_slice(), missing.as_slice()) {
        ([], _) => "Losses: nothing is known yet".to_owned(),
        (known, []) => format!("{} · nats, each on its own scale", list(known)),
        (known, missing) => {
            let log = if run.logged { "not in log.jsonl" } else { "no log.jsonl" };
            format!("{} · {}: {log}", list(known), list(missing))
        }
    };
    let inner = canvas.panel(rect, &title, false);
    if known.is_empty() {
        return;
    }
    let names: Vec<Name> = known
        .iter()
        .map(|Loss { short, points, .. }| Name {
            text: format!("{short:<5} {:.3}", last(points)),
            selected: false,
        })
        .collect();
    let curves: Vec<Curve> = known
        .into_iter()
        .enumerate()
        .map(|(style, Loss { points, .. })| {
            let values = || points.iter().map(|point| point.1);
            let range = (values().fold(f32::INFINITY, f32::min), values().fold(f32::NEG_INFINITY, f32::max));
            Curve { points, range, style }
        })
        .collect();
    let labels = ["low", "high"].map(str::to_owned);
    Plot { curves, names, labels }.draw(app, run, canvas, inner);
}

impl Plot {
    fn draw(self, app: &App, run: &RunView, canvas: &mut Canvas, rect: Rect) {
        let Self { curves, names, labels } = self;
        let legend = LEGEND.min(rect.width / 3);
        let plot = Rect { width: rect.width - legend, ..rect };
        let side = Rect { x: plot.right(), width: legend, ..rect };
        let plain = canvas.theme.depth() == Depth::Mono;
        // With room for it, the range of each curve that has a scale of its own stands under it.
        let roomy = labels[0] == "low" && usize::from(rect.height) > 2 * names.len();
        for (at, (name, curve)) in names.iter().zip(&curves).enumerate() {
            let (part, marker, character) = STYLES[curve.style % STYLES.len()];
            let row = if roomy { 2 * at } else { at };
            canvas.text(side, 1, row, if name.selected { "▸" } else { " " }, Part::Mark);
            let marker = if plain { character } else { marker };
            canvas.text(side, 2, row, &format!("{marker} {}", name.text), part);
            if roomy {
                let (low, high) = curve.range;
                canvas.text(side, 4, row + 1, &format!("{low:.2}..{high:.2}"), Part::Dim);
            }
        }
        let of_snapshots = run.snapshots.iter().map(|snapshot| snapshot.step);
        let steps = run.points.iter().map(|point| point.step).chain(of_snapshots);
        let (first, last) = (steps.clone().min().unwrap_or(0), steps.max().unwrap_or(0));
        let steps = Steps { first, last, log: app.rooms.training.log_steps };
        let cursor = app.rooms.training.snapshot().map(|snapshot| snapshot.step);
        let window = app.rooms.training.window();
        Chart { steps, curves: &curves, labels, window, cursor }.draw(canvas, plot);
    }
}

fn last(points: &[(u64, f32)]) -> f32 {
    points.last().map_or(f32::NAN, |point| point.1)
}

fn title(app: &App, run: &RunView) -> String {
    let score = app.rooms.training.score.name();
    let change = match app.rooms.training.window() {
        Some(Window { from, to }) => format!("the change: steps {from} to {to}"),
        None => "no change found".to_owned(),
    };
    format!("{score} by head · {change} · {} snapshots", run.snapshots.len())
}
