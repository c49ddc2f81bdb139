//! Pictures: charts as SVG, written by hand: lines in panels over one axis, lanes, bars, a heat map.
//!
//! Each is as wide as a phone and made of vectors. It can be a part of a page, or a file of its own, which brings its style and
//! its ground with it, light and dark. Every text is escaped: names come from traces. It does not know what is drawn.

mod escape;
mod scale;

mod canvas;

pub mod lines;

pub mod bars;
pub mod heat;
pub mod lanes;

pub use self::canvas::{Ink, Svg};
pub use self::escape::escape;
pub use self::scale::{Axis, Scale};

/// The colours and strokes of all pictures, for a page that has some; a file of its own brings it along.
pub const STYLE: &str = include_str!("picture.css");
