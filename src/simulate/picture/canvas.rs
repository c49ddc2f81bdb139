//! Canvas: the elements of a picture, put together as text.
//!
//! It does not know what a chart is.

use std::fmt::Write as _;

use super::STYLE;
use super::escape::escape;

/// The width of every picture, in units that are about a pixel on a phone; wider pages show it larger.
pub(super) const WIDTH: f64 = 420.0;
/// What lies between the edge and everything else.
pub(super) const EDGE: f64 = 14.0;

/// In which colour and stroke something is drawn. Each differs in more than its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// What was recorded: behind the others.
    Past,
    /// The first.
    First,
    /// The second.
    Second,
    /// The third.
    Third,
    /// The fourth.
    Fourth,
}

impl Ink {
    /// The ink of a run by its number among those that were played; there are four, and then again the first.
    pub fn of(number: usize) -> Self {
        [Ink::First, Ink::Second, Ink::Third, Ink::Fourth].get(number % 4).copied().unwrap_or(Ink::First)
    }

    /// Its class in the style.
    pub fn class(self) -> &'static str {
        match self {
            Ink::Past => "past",
            Ink::First => "first",
            Ink::Second => "second",
            Ink::Third => "third",
            Ink::Fourth => "fourth",
        }
    }
}

/// A picture.
#[derive(Clone, Debug)]
pub struct Svg {
    title: String,
    height: f64,
    body: String,
}

impl Svg {
    pub(super) fn new(title: &str) -> Self {
        let mut svg = Self { title: title.to_owned(), height: 0.0, body: String::new() };
        svg.text((EDGE, 24.0), "title", "start", title);
        svg
    }

    pub(super) fn set_height(&mut self, height: f64) {
        self.height = height;
    }

    pub(super) fn text(&mut self, (x, y): (f64, f64), class: &str, anchor: &str, words: &str) {
        let (x, y, words) = (Number(x), Number(y), escape(words));
        let _ =
            write!(self.body, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{words}</text>");
    }

    pub(super) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        self.path(class, &format!("M{} {}L{} {}", Number(from.0), Number(from.1), Number(to.0), Number(to.1)));
    }

    pub(super) fn path(&mut self, class: &str, steps: &str) {
        let _ = write!(self.body, "<path class=\"{class}\" d=\"{steps}\"/>");
    }

    /// A rectangle, with what a pointer that rests on it is told.
    pub(super) fn rect(&mut self, class: &str, (x, y): (f64, f64), (width, height): (f64, f64), told: &str) {
        let (x, y, width, height) = (Number(x), Number(y), Number(width.max(0.0)), Number(height.max(0.0)));
        let place = format!("x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"");
        let _ = match told {
            "" => write!(self.body, "<rect class=\"{class}\" {place}/>"),
            told => write!(self.body, "<rect class=\"{class}\" {place}><title>{}</title></rect>", escape(told)),
        };
    }

    pub(super) fn raw(&mut self, element: std::fmt::Arguments<'_>) {
        let _ = self.body.write_fmt(element);
    }

    /// Which ink is which, from the right edge of the line of the title.
    pub(super) fn legend(&mut self, names: &[(&str, Ink)], y: f64) {
        let mut x = EDGE;
        for (name, ink) in names {
            let short = super::escape::cut(name, 24);
            self.line(&format!("line {}", ink.class()), (x, y - 4.0), (x + 22.0, y - 4.0));
            self.text((x + 28.0, y), "name", "start", &short);
            x += 28.0 + room(&short) + 16.0;
        }
    }

    /// For a page of which the style is [`STYLE`].
    pub fn inline(&self) -> String {
        self.with("", "")
    }

    /// For a file of its own.
    pub fn file(&self) -> String {
        self.with(" xmlns=\"http://www.w3.org/2000/svg\"", &format!("<style>\n{STYLE}</style>"))
    }

    fn with(&self, space: &str, style: &str) -> String {
        let (title, height) = (escape(&self.title), Number(self.height));
        format!(
            "<svg{space} class=\"tg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">{style}\
             <rect class=\"card\" width=\"{WIDTH}\" height=\"{height}\" rx=\"10\"/>{}</svg>\n",
            self.body
        )
    }
}

/// About how wide words are.
pub(super) fn room(words: &str) -> f64 {
    words.chars().count() as f64 * 6.6
}

/// A number of at most one digit after its point: less than one sees, and the same on every machine.
pub(super) struct Number(pub(super) f64);

impl std::fmt::Display for Number {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tenths = (self.0 * 10.0).round();
        // Without `-0`.
        let tenths = if tenths == 0.0 { 0.0 } else { tenths };
        write!(out, "{}", tenths / 10.0)
    }
}
