//! `show`: prints what one head attends to.

use std::io::{IsTerminal, stdout};

use anyhow::Result;
use ratatui::style::Color;

use super::{
    open,
    pass::{self, Passed},
};
use crate::{
    analysis::{
        explain::sink_share,
        map::{Pool, pattern_map},
    },
    cli::{Common, ShowArgs, ShowFormat},
    report::heatmap::{Matrix, Row},
    term::color,
    ui::theme::{Depth, LEVELS, Theme},
};

/// Cells on a side of a matrix that is printed to be looked at; CSV has every number.
const CELLS: usize = 64;

/// Runs the command.
pub fn run(args: &ShowArgs, common: &Common) -> Result<()> {
    let (mut query, head) = (0, args.head);
    let passed = pass::run(&args.pass, common, |model, ids| {
        model.has_heads()?;
        open::check_head(&model.info, head)?;
        query = pass::position(args.token, ids.len())?;
        Ok(())
    })?;
    let Passed { model, trace, .. } = &passed;
    let (info, ids) = (&model.info, &trace.ids);
    let mut tokens = model.tokens(ids);
    // Without a tokenizer, the ids stand for themselves.
    for token in tokens.iter_mut().filter(|token| token.bytes.is_empty()) {
        token.bytes = format!("#{}", token.id).into_bytes();
    }
    let format = args.format.unwrap_or(match stdout().is_terminal() {
        true => ShowFormat::Ansi,
        false => ShowFormat::Text,
    });
    let depth = match format {
        ShowFormat::Ansi => color::decide(common.color, crate::term::env).depth,
        _ => Depth::Truecolor,
    };
    let theme = Theme::load("default-dark")?.at(depth, LEVELS);
    let graded = |level: f32| {
        let style = theme.over(level);
        (style.bg.unwrap_or_default(), style.fg.unwrap_or_default())
    };
    let rgb = |color| match color {
        Color::Rgb(red, green, blue) => (red, green, blue),
        _ => (0, 0, 0),
    };
    // Pictures are made from the theme at full depth, where every colour is given by its parts.
    let painted = |level: f32| {
        let (back, front) = graded(level);
        (rgb(back), rgb(front))
    };
    let ramp: Option<crate::report::heatmap::Ramp<'_>> = theme.is_graded().then_some(&graded);
    let text = if args.matrix {
        let side = if format == ShowFormat::Csv { ids.len() } else { CELLS };
        let map = pattern_map(trace, head, (side, side), Pool::Max)?;
        let matrix = Matrix { model: &info.name, head, tokens: &tokens, map: &map };
        match format {
            ShowFormat::Ansi => matrix.ansi(ramp),
            ShowFormat::Text => matrix.text(),
            ShowFormat::Csv => matrix.csv(),
            ShowFormat::Svg => matrix.svg(&painted),
            ShowFormat::Html => matrix.html(&painted),
        }
    } else {
        let weights = trace.row(head, query)?;
        let sink = model.decoder.spec.attention.has_sinks_in_rows().then(|| sink_share(&weights));
        let row = Row { model: &info.name, head, tokens: &tokens, query, weights: &weights, sink };
        match format {
            ShowFormat::Ansi => row.ansi(ramp),
            ShowFormat::Text => row.text(),
            ShowFormat::Csv => row.csv(),
            ShowFormat::Svg => row.svg(&painted),
            ShowFormat::Html => row.html(&painted),
        }
    };
    super::print(&text)
}
