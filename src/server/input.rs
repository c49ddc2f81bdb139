//! Input: is what a caller wants a model to read within what its route takes? How long it is, which model, and whether it is
//! text that people could have typed.
//!
//! It does not know how the caller spelt it, nor what it says.

use crate::call::{Ask, Endpoint};
use crate::config::plan::{CallKind, CallerKind, RoutePlan};
use crate::fault::Fault;
use crate::wire::openai::texts;

/// Refuses what the route does not take.
pub(super) fn check(route: &RoutePlan, ask: &Ask) -> Result<(), Fault> {
    let plan = &route.input;
    let is_own = |name: &str| plan.models.iter().any(|pattern| pattern.matches(name));
    if !plan.models.is_empty() && asks_a_model(ask) && (ask.hides_model() || !ask.models().all(is_own)) {
        let allowed = plan.models.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        return Err(Fault::invalid("model", format!("`model` must be one of those that this route takes: {allowed}")));
    }
    if plan.max_prompt.is_none() && !plan.is_plain {
        return Ok(());
    }
    let mut seen = Seen::default();
    match ask {
        Ask::Chat(chat) => chat.messages.iter().for_each(|message| seen.read(&message.text)),
        Ask::Wire(wire) if !wire.contents.texts.is_empty() => {
            let texts = wire.contents.texts.iter().filter_map(|text| wire.body.get(text.clone()));
            texts.filter_map(|text| std::str::from_utf8(text).ok()).for_each(|text| seen.read(text));
        }
        // What is neither JSON nor a form has no text.
        Ask::Wire(wire) => texts::read_by_model(&wire.body, |text| seen.read(text)),
        Ask::Voice(_) | Ask::Menu | Ask::Tunnel(_) => {}
    }
    let field = field(route, ask);
    if let Some(most) = plan.max_prompt.filter(|most| seen.bytes > *most) {
        let message = format!("`{field}` must hold at most {most} bytes of text, got {}", seen.bytes);
        return Err(Fault::invalid(field, message));
    }
    match plan.is_plain && seen.has_control {
        true => Err(Fault::invalid(
            field,
            format!("`{field}` must not hold control characters but line feeds, carriage returns and tabs"),
        )),
        false => Ok(()),
    }
}

/// False for those who only ask about models.
fn asks_a_model(ask: &Ask) -> bool {
    !matches!(ask, Ask::Wire(wire) if wire.endpoint == Endpoint::Models)
}

/// What its caller calls the text.
fn field(route: &RoutePlan, ask: &Ask) -> &'static str {
    match (route.caller, route.call, ask) {
        (CallerKind::OpenAi, CallKind::Chat, _) => "messages",
        (CallerKind::OpenAi, CallKind::Embeddings | CallKind::Responses | CallKind::Speech, _) => "input",
        (CallerKind::OpenAi | CallerKind::Canvas, ..) => "prompt",
        (CallerKind::Restaurant, CallKind::ParseOrder, _) => "text",
        (CallerKind::Widget, _, Ask::Chat(chat)) if chat.messages.len() > 1 => "messages",
        (CallerKind::Restaurant | CallerKind::Widget, ..) => "message",
    }
}

/// What was found in the texts.
#[derive(Default)]
struct Seen {
    bytes: usize,
    has_control: bool,
}

impl Seen {
    fn read(&mut self, text: &str) {
        self.bytes += text.len();
        self.has_control |= text.chars().any(|letter| letter.is_control() && !matches!(letter, '\n' | '\r' | '\t'));
    }
}
