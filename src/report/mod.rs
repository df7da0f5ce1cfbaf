//! What the commands print, as pure functions from numbers to text: no files, no terminal, no model.
//!
//! [`rank`] lists heads, [`circuits`] what their weights say, [`timeline`] follows them over a training run, [`verify`]
//! compares with a reference, and [`table`] lines up columns; [`heatmap`] shows what one token or one head attends to as terminal text, plain text or CSV, and
//! [`picture`] the same as SVG and HTML; [`check`] and [`watch`] tell what is wrong with a checkpoint. Token text can hold anything a vocabulary or a file holds, so it goes through
//! [`text`] before it is put into any of them.

pub mod check;
pub mod circuits;
pub mod heatmap;
pub mod picture;
pub mod rank;
pub mod table;
pub mod text;
pub mod timeline;
pub mod verify;
pub mod watch;
pub mod what_if;

/// A colour: red, green, blue.
pub type Rgb = (u8, u8, u8);
