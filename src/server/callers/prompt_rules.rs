//! Prompt rules: whether a prompt is within its route's limits: its size, its model, and no control characters.
//!
//! It does not know how the caller encoded it, nor what it says.

use crate::config::plan::{CallKind, CallerKind, RoutePlan};
use crate::model::call::{CallRequest, Endpoint};
use crate::model::fault::Fault;
use crate::wire::openai::texts;

/// Refuses a model that the route does not take.
pub fn check_model(route: &RoutePlan, request: &CallRequest) -> Result<(), Fault> {
    match asks_a_model(request) {
        true => check_models(route, request.models(), request.hides_model()),
        false => Ok(()),
    }
}

/// The same for models of which nothing but the name is known; `has_others`: some have no name that can be read.
pub fn check_models<'m>(
    route: &RoutePlan,
    mut models: impl Iterator<Item = &'m str>,
    has_others: bool,
) -> Result<(), Fault> {
    let plan = &route.input;
    let is_own = |name: &str| plan.models.iter().any(|pattern| pattern.matches(name));
    if !plan.models.is_empty() && (has_others || !models.all(is_own)) {
        let allowed = plan.models.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        return Err(Fault::invalid("model", format!("`model` must be one of those that this route takes: {allowed}")));
    }
    Ok(())
}

/// Refuses a text that the route does not take: the caller's, or what a prompt has made of it.
pub(in crate::server) fn check_text(route: &RoutePlan, request: &CallRequest) -> Result<(), Fault> {
    let plan = &route.input;
    if plan.max_prompt.is_none() && !plan.is_plain {
        return Ok(());
    }
    let mut seen = PromptText::default();
    match request {
        CallRequest::Chat(chat) => chat.messages.iter().for_each(|message| seen.read(&message.text)),
        CallRequest::Wire(wire) if !wire.contents.texts.is_empty() => {
            let texts = wire.contents.texts.iter().filter_map(|text| wire.body.get(text.clone()));
            texts.filter_map(|text| std::str::from_utf8(text).ok()).for_each(|text| seen.read(text));
        }
        // What is neither JSON nor a form has no text.
        CallRequest::Wire(wire) => texts::read_by_model(&wire.body, |text| seen.read(text)),
        CallRequest::Voice(_) | CallRequest::Menu | CallRequest::Tunnel(_) => {}
    }
    let field = field(route, request);
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
fn asks_a_model(request: &CallRequest) -> bool {
    !matches!(request, CallRequest::Wire(wire) if wire.endpoint == Endpoint::Models)
}

/// What its caller calls the text.
fn field(route: &RoutePlan, request: &CallRequest) -> &'static str {
    match (route.caller, route.call, request) {
        (CallerKind::OpenAi, CallKind::Chat, _) | (CallerKind::Anthropic, ..) => "messages",
        (CallerKind::OpenAi, CallKind::Embeddings | CallKind::Responses | CallKind::Speech, _) => "input",
        (CallerKind::Canvas, CallKind::CanvasGenerate, _) => "businessDescription",
        (CallerKind::Canvas, CallKind::CanvasRefine, _) => "instruction",
        (CallerKind::OpenAi | CallerKind::Canvas, ..) => "prompt",
        (CallerKind::Restaurant, CallKind::ParseOrder, _) => "text",
        (CallerKind::Widget, _, CallRequest::Chat(chat)) if chat.messages.len() > 1 => "messages",
        (CallerKind::Restaurant | CallerKind::Widget, ..) => "message",
    }
}

/// What was found in the texts.
#[derive(Default)]
struct PromptText {
    bytes: usize,
    has_control: bool,
}

impl PromptText {
    fn read(&mut self, text: &str) {
        self.bytes += text.len();
        self.has_control |= text.chars().any(|letter| letter.is_control() && !matches!(letter, '\n' | '\r' | '\t'));
    }
}
