//! Colours: OKLab, contrast, the palettes of poorer terminals, and ramps whose lightness only ever rises (or falls).

use ratatui::style::Color;

/// A colour of 24 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rgb(pub u8, pub u8, pub u8);

impl Rgb {
    /// Reads `#1f9e89`.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6)?;
        let [_, red, green, blue] = u32::from_str_radix(digits, 16).ok()?.to_be_bytes();
        Some(Self(red, green, blue))
    }

    /// Linear light, 0 to 1, as sRGB defines it.
    fn linear(self) -> [f32; 3] {
        [self.0, self.1, self.2].map(|channel| {
            let value = f32::from(channel) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        })
    }

    /// Lightness and the two opponent axes of OKLab (Ottosson 2020).
    pub fn oklab(self) -> [f32; 3] {
        let [r, g, b] = self.linear();
        let l = (0.412_221_46 * r + 0.536_332_55 * g + 0.051_445_995 * b).cbrt();
        let m = (0.211_903_5 * r + 0.680_699_5 * g + 0.107_396_96 * b).cbrt();
        let s = (0.088_302_46 * r + 0.281_718_85 * g + 0.629_978_7 * b).cbrt();
        [
            0.210_454_26 * l + 0.793_617_8 * m - 0.004_072_047 * s,
            1.977_998_5 * l - 2.428_592_2 * m + 0.450_593_7 * s,
            0.025_904_037 * l + 0.782_771_77 * m - 0.808_675_77 * s,
        ]
    }

    /// The nearest colour to a point of OKLab.
    pub fn from_oklab([light, a, b]: [f32; 3]) -> Self {
        let l = (light + 0.396_337_78 * a + 0.215_803_76 * b).powi(3);
        let m = (light - 0.105_561_346 * a - 0.063_854_17 * b).powi(3);
        let s = (light - 0.089_484_18 * a - 1.291_485_5 * b).powi(3);
        let channel = |value: f32| {
            let value = value.clamp(0.0, 1.0);
            let curved =
                if value <= 0.003_130_8 { value * 12.92 } else { 1.055 * value.powf(1.0 / 2.4) - 0.055 };
            (curved * 255.0).round() as u8
        };
        Self(
            channel(4.076_741_7 * l - 3.307_711_6 * m + 0.230_969_94 * s),
            channel(-1.268_438 * l + 2.609_757_4 * m - 0.341_319_38 * s),
            channel(-0.004_196_086_3 * l - 0.703_418_6 * m + 1.707_614_7 * s),
        )
    }

    /// Relative luminance, as WCAG 2 defines it.
    fn luminance(self) -> f32 {
        let [r, g, b] = self.linear();
        0.2126 * r + 0.7152 * g + 0.0722 * b
    }

    /// Contrast ratio of two colours, 1 to 21, as WCAG 2 defines it.
    pub fn contrast(self, other: Self) -> f32 {
        let (one, two) = (self.luminance() + 0.05, other.luminance() + 0.05);
        one.max(two) / one.min(two)
    }

    /// Black or white, whichever is easier to read on this colour: at least 4.58 to 1 on any.
    pub fn ink(self) -> Self {
        let (black, white) = (Self(0, 0, 0), Self(255, 255, 255));
        if self.contrast(black) >= self.contrast(white) { black } else { white }
    }

    fn distance(self, other: Self) -> f32 {
        let (one, two) = (self.oklab(), other.oklab());
        one.iter().zip(two).map(|(one, two)| (one - two).powi(2)).sum()
    }
}

impl From<Rgb> for Color {
    fn from(Rgb(red, green, blue): Rgb) -> Self {
        Self::Rgb(red, green, blue)
    }
}

/// The colour that index 16 to 255 of the 256-colour palette has everywhere.
pub fn indexed(index: u8) -> Rgb {
    if index >= 232 {
        let grey = 8 + 10 * (index - 232);
        return Rgb(grey, grey, grey);
    }
    let cube = index.max(16) - 16;
    let channel = |step: u8| if step == 0 { 0 } else { 55 + 40 * step };
    Rgb(channel(cube / 36), channel(cube / 6 % 6), channel(cube % 6))
}

/// The index of the nearest of the 240 fixed colours.
pub fn nearest_index(color: Rgb) -> u8 {
    nearest(color, (16..=255).map(|index| (index, indexed(index)))).unwrap_or(16)
}

/// The nearest of the sixteen named colours, taking them as xterm draws them.
pub fn nearest_ansi(color: Rgb) -> Color {
    const NAMED: [(Color, Rgb); 16] = [
        (Color::Black, Rgb(0, 0, 0)),
        (Color::Red, Rgb(205, 0, 0)),
        (Color::Green, Rgb(0, 205, 0)),
        (Color::Yellow, Rgb(205, 205, 0)),
        (Color::Blue, Rgb(0, 0, 238)),
        (Color::Magenta, Rgb(205, 0, 205)),
        (Color::Cyan, Rgb(0, 205, 205)),
        (Color::Gray, Rgb(229, 229, 229)),
        (Color::DarkGray, Rgb(127, 127, 127)),
        (Color::LightRed, Rgb(255, 0, 0)),
        (Color::LightGreen, Rgb(0, 255, 0)),
        (Color::LightYellow, Rgb(255, 255, 0)),
        (Color::LightBlue, Rgb(92, 92, 255)),
        (Color::LightMagenta, Rgb(255, 0, 255)),
        (Color::LightCyan, Rgb(0, 255, 255)),
        (Color::White, Rgb(255, 255, 255)),
    ];
    nearest(color, NAMED.into_iter()).unwrap_or(Color::Reset)
}

fn nearest<T>(color: Rgb, among: impl Iterator<Item = (T, Rgb)>) -> Option<T> {
    let measured = among.map(|(what, other)| (what, color.distance(other)));
    measured.min_by(|one, other| one.1.total_cmp(&other.1)).map(|(what, _)| what)
}

/// Colours from low to high, a few of them; those between are interpolated in OKLab.
#[derive(Clone, Debug, PartialEq)]
pub struct Ramp(pub Vec<Rgb>);

/// Names of the ramps and their anchor colours. The first four are matplotlib's, sampled evenly.
const RAMPS: [(&str, &str); 6] = [
    ("viridis", "#440154 #482878 #3e4a89 #31688e #26828e #1f9e89 #35b779 #6ece58 #b5de2b #fde725"),
    ("cividis", "#00224e #123570 #3b496c #575d6d #707173 #8a8678 #a59c74 #c3b369 #e1cc55 #fee838"),
    ("magma", "#180f3d #440f76 #721f81 #9e2f7f #cd4071 #f1605d #fd9668 #feca8d #fcfdbf"),
    ("inferno", "#1b0c41 #4a0c6b #781c6d #a52c60 #cf4446 #ed6925 #fb9b06 #f7d13d #fcffa4"),
    ("greys", "#121212 #f5f5f5"),
    ("ink", "#eef3f8 #c3d9ee #8fbbe0 #5a97cc #3072b0 #18508c #0c3063 #061a3a"),
];

impl Ramp {
    /// The ramp of that name.
    pub fn named(name: &str) -> Option<Self> {
        let (_, anchors) = RAMPS.into_iter().find(|ramp| ramp.0 == name)?;
        anchors.split(' ').map(Rgb::parse).collect::<Option<Vec<_>>>().map(Self)
    }

    /// Names of all ramps.
    #[cfg(test)]
    pub fn names() -> impl Iterator<Item = &'static str> {
        RAMPS.into_iter().map(|ramp| ramp.0)
    }

    /// The colour at `value`, 0 to 1.
    pub fn at(&self, value: f32) -> Rgb {
        let last = self.0.len().saturating_sub(1);
        let place = value.clamp(0.0, 1.0) * last as f32;
        let below = (place.floor() as usize).min(last);
        let (low, high) = (self.0[below].oklab(), self.0[(below + 1).min(last)].oklab());
        let part = place - below as f32;
        Rgb::from_oklab(std::array::from_fn(|axis| low[axis] + (high[axis] - low[axis]) * part))
    }

    /// `count` colours, evenly spaced.
    pub fn levels(&self, count: usize) -> Vec<Rgb> {
        let last = count.max(2) - 1;
        (0..=last).map(|level| self.at(level as f32 / last as f32)).collect()
    }

    /// The indices of the 256-colour palette that follow the ramp with every step clearly lighter (or darker).
    ///
    /// The nearest colour alone would go back and forth, and show peaks that are not there.
    pub fn indices(&self) -> Vec<u8> {
        const STEP: f32 = 0.02;
        let rising = self.at(1.0).oklab()[0] > self.at(0.0).oklab()[0];
        let mut indices: Vec<u8> = Vec::new();
        for color in self.levels(256) {
            let index = nearest_index(color);
            let light = |index| indexed(index).oklab()[0];
            let step = indices
                .last()
                .map(|&last| if rising { light(index) - light(last) } else { light(last) - light(index) });
            if step.is_none_or(|step| step >= STEP) {
                indices.push(index);
            }
        }
        indices
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lightness(colors: impl IntoIterator<Item = Rgb>) -> Vec<f32> {
        colors.into_iter().map(|color| color.oklab()[0]).collect()
    }

    fn is_monotone(lightness: &[f32]) -> bool {
        lightness.windows(2).all(|pair| pair[0] < pair[1])
            || lightness.windows(2).all(|pair| pair[0] > pair[1])
    }

    #[test]
    fn oklab_is_the_published_one_and_goes_back() {
        let white = Rgb(255, 255, 255).oklab();
        assert!((white[0] - 1.0).abs() < 1e-3 && white[1].abs() < 1e-3 && white[2].abs() < 1e-3, "{white:?}");
        let red = Rgb(255, 0, 0).oklab();
        assert!((red[0] - 0.628).abs() < 1e-3 && (red[1] - 0.225).abs() < 1e-3, "{red:?}");
        for color in [Rgb(1, 2, 3), Rgb(200, 10, 90), Rgb(255, 255, 0)] {
            assert_eq!(Rgb::from_oklab(color.oklab()), color);
        }
    }

    #[test]
    fn every_ramp_is_monotone_in_lightness() {
        for name in Ramp::names() {
            let ramp = Ramp::named(name).unwrap();
            for levels in [16, 24, 32, 64] {
                assert!(is_monotone(&lightness(ramp.levels(levels))), "{name} at {levels} levels");
            }
            let indices = ramp.indices();
            assert!(
                is_monotone(&lightness(indices.iter().map(|&index| indexed(index)))),
                "{name}: {indices:?}"
            );
            assert!(indices.len() >= 9, "{name} has only {indices:?}");
        }
    }

    #[test]
    fn nearest_colours_alone_are_not_monotone() {
        let mut naive: Vec<u8> =
            Ramp::named("cividis").unwrap().levels(256).into_iter().map(nearest_index).collect();
        naive.dedup();
        assert!(!is_monotone(&lightness(naive.into_iter().map(indexed))));
    }

    #[test]
    fn text_is_readable_on_every_level() {
        for name in Ramp::names() {
            let ramp = Ramp::named(name).unwrap();
            let levels = ramp.levels(64).into_iter().chain(ramp.indices().into_iter().map(indexed));
            for color in levels {
                assert!(color.contrast(color.ink()) >= 4.5, "{name} {color:?}");
            }
        }
    }
}
