//! Page: a sweep as one HTML file, in the house of a report's page: what was found, pictures, and a table; no script, and nothing
//! that is loaded from elsewhere.
//!
//! It does not know how a run is played.

use std::fmt::Write as _;

use super::picture::pictures;
use super::{Row, Swept, told};
use crate::simulate::picture::escape;
use crate::simulate::report::page::{WAVES, frame};
use crate::simulate::tally::Sketch;

/// The page.
pub fn page(swept: &Swept) -> String {
    let title = swept.sweep.iter().map(|axis| &*axis.key).collect::<Vec<_>>().join(" and ");
    let mut body = format!("<header><h1>{WAVES}What if: {}</h1>\n", escape(&title));
    facts(&mut body, swept);
    body.push_str("</header>\n");
    for sentence in told::sentences(swept) {
        let _ = writeln!(body, "<p>{}</p>", escape(&sentence));
    }
    body.push_str("<h2>Pictures</h2>\n<div class=\"pictures\">\n");
    pictures(swept).iter().for_each(|(_, svg)| body.push_str(&svg.inline()));
    body.push_str("</div>\n<h2>Numbers</h2>\n<section class=\"block\">");
    table(&mut body, swept);
    body.push_str("</section>\n");
    frame(&format!("What if: {title}"), &body, Sketch::ERROR)
}

fn facts(body: &mut String, swept: &Swept) {
    let about = &swept.about;
    let goals = swept.goals.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let skipped = if about.skipped > 0 { format!("{} lines of the trace", about.skipped) } else { String::new() };
    let facts = [
        ("trace", about.trace.as_str()),
        ("world", about.world.as_deref().unwrap_or_default()),
        ("configuration", &swept.config),
        ("goals", &goals),
        ("seed", &about.seed.to_string()),
        ("skipped", &skipped),
    ];
    body.push_str("<dl class=\"facts\">");
    for (name, value) in facts.into_iter().filter(|(_, value)| !value.is_empty()) {
        let _ = write!(body, "<div><dt>{name}</dt><dd>{}</dd></div>", escape(value));
    }
    body.push_str("</dl>\n");
}

fn table(body: &mut String, swept: &Swept) {
    let columns = told::columns(swept);
    let keys: Vec<&str> = swept.sweep.iter().map(|axis| &*axis.key).collect();
    let _ = write!(body, "<table><thead><tr><th scope=\"col\">{}</th>", escape(&keys.join(", ")));
    for (_, heading) in &columns {
        let _ = write!(body, "<th scope=\"col\">{}</th>", escape(heading));
    }
    let goals = if swept.goals.is_empty() { "" } else { "<th scope=\"col\">goals that hold</th>" };
    let _ = writeln!(body, "{goals}</tr></thead><tbody>");
    let mut line = |label: &str, row: &Row| {
        let _ = write!(body, "<tr><th scope=\"row\">{}</th>", escape(label));
        for cell in told::cells(row, &columns) {
            let _ = write!(body, "<td>{}</td>", escape(&cell));
        }
        if !swept.goals.is_empty() {
            let (class, all) = (if row.is_kept() { "good" } else { "bad" }, swept.goals.len());
            let _ = write!(body, "<td class=\"{class}\">{} of {all}</td>", all - row.broken().len());
        }
        body.push_str("</tr>\n");
    };
    line("as it is", &swept.unchanged);
    swept.points.iter().for_each(|point| line(&told::values(point), &point.row));
    body.push_str("</tbody></table>");
}
