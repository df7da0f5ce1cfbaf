//! Names, titles and help of what several rooms do, each in its own way and with its own keys.

type Words = (&'static str, &'static str, &'static str);

pub(crate) const PREVIOUS_HEAD: Words = ("previous-head", "previous head", "the head before, in layer order");
pub(crate) const NEXT_HEAD: Words = ("next-head", "next head", "the head after, in layer order");
pub(crate) const PREVIOUS_LAYER: Words = ("previous-layer", "layer below", "the same head one layer lower");
pub(crate) const NEXT_LAYER: Words = ("next-layer", "layer above", "the same head one layer higher");
pub(crate) const NEXT_SCORE: Words =
    ("next-score", "next score", "the next score: of the grid of heads, or of the curves");
pub(crate) const PREVIOUS_SCORE: Words = ("previous-score", "previous score", "the previous score");
pub(crate) const COPY: Words = (
    "copy",
    "copy",
    "copy the value at the key cursor, the head's scores, the row, or what is known of the snapshot",
);
pub(crate) const COPY_ALL: Words = (
    "copy-all",
    "copy all",
    "copy the head's row at this token, the whole ranking, the list, all curves, or the changes, as TSV",
);
pub(crate) const EARLIER_SNAPSHOT: Words = (
    "earlier-snapshot",
    "earlier snapshot",
    "open the snapshot of the run before this one, with the same prompt and head",
);
pub(crate) const LATER_SNAPSHOT: Words =
    ("later-snapshot", "later snapshot", "open the snapshot of the run after this one");
