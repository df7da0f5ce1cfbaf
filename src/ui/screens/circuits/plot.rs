//! A plane of points: dots of Braille for what frames it, a glyph for each point, so that it needs no colours.

use ratatui::layout::Rect;

use crate::ui::{canvas::Canvas, theme::Part};

/// A plane from -1 to 1 in both directions, right and up, in a rectangle of the screen.
pub struct Plane {
    rect: Rect,
    /// Braille patterns, two dots across and four down in each cell.
    dots: Vec<u8>,
}

impl Plane {
    /// The largest plane in the upper left of `rect` that looks square: cells are twice as high as wide.
    pub fn square(rect: Rect) -> Self {
        let height = rect.height.min(rect.width / 2);
        let rect = Rect { width: 2 * height, height, ..rect };
        Self { rect, dots: vec![0; usize::from(rect.width) * usize::from(rect.height)] }
    }

    /// Columns that it takes.
    pub fn width(&self) -> usize {
        usize::from(self.rect.width)
    }

    /// The place of a point among `across x down` equal parts; `None` outside the plane.
    fn place(&self, (x, y): (f64, f64), across: usize, down: usize) -> Option<(usize, usize)> {
        let part = |at: f64, count: usize| {
            let inside = (-1.0..=1.0).contains(&at) && count > 0;
            inside.then(|| (((at + 1.0) / 2.0 * count as f64) as usize).min(count - 1))
        };
        Some((part(x, across)?, part(-y, down)?))
    }

    /// Sets a dot.
    pub fn dot(&mut self, x: f64, y: f64) {
        const BITS: [[u8; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];
        let (width, height) = (usize::from(self.rect.width), usize::from(self.rect.height));
        if let Some((x, y)) = self.place((x, y), 2 * width, 4 * height) {
            self.dots[y / 4 * width + x / 2] |= BITS[x % 2][y % 4];
        }
    }

    /// Sets dots from one point to another, every `gap` of them.
    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), gap: usize) {
        let steps = (4 * usize::from(self.rect.height)).max(1);
        for step in (0..=steps).step_by(gap.max(1)) {
            let part = step as f64 / steps as f64;
            self.dot(from.0 + (to.0 - from.0) * part, from.1 + (to.1 - from.1) * part);
        }
    }

    /// Sets dots on a circle around the middle.
    pub fn circle(&mut self, radius: f64) {
        let steps = 16 * usize::from(self.rect.height);
        for step in 0..steps {
            let angle = std::f64::consts::TAU * step as f64 / steps as f64;
            self.dot(radius * angle.cos(), radius * angle.sin());
        }
    }

    /// Draws the dots.
    pub fn draw(&self, canvas: &mut Canvas) {
        let width = usize::from(self.rect.width);
        for (index, &dots) in self.dots.iter().enumerate().filter(|(_, dots)| **dots != 0) {
            let glyph = char::from_u32(0x2800 + u32::from(dots)).unwrap_or(' ').to_string();
            canvas.text(self.rect, index % width, index / width, &glyph, Part::Border);
        }
    }

    /// Draws a point over the dots.
    pub fn point(&self, canvas: &mut Canvas, at: (f64, f64), glyph: &str, part: Part) {
        if let Some((x, y)) = self.cell(at) {
            canvas.text(self.rect, x, y, glyph, part);
        }
    }

    /// The cell that a point is in.
    pub fn cell(&self, at: (f64, f64)) -> Option<(usize, usize)> {
        self.place(at, usize::from(self.rect.width), usize::from(self.rect.height))
    }
}
