//! Prompted: from a prompt that a call names to what it asks: messages, model, parameters and the schema of the answer.
//!
//! It chooses the version, for one caller always the same. It happens before the first policy, so that limits and budgets
//! estimate from the text, guards search it and caches know it. It does not know who named the prompt: a caller, an endpoint
//! or a job.

use std::sync::Arc;

use crate::config::engine::value::hint;
use crate::config::plan::{PromptPlan, PromptVersion, PromptsPlan, RoutePlan};
use crate::gateway::Gateway;
use crate::model::call::{Chat, Head, Message, Role};
use crate::model::fault::Fault;
use crate::model::prompt::PromptRequest;
use crate::model::switch::{FlagKind, Position, choose};
use crate::model::trail::{PromptFact, Trail};
use crate::prompts::template::RenderError;

/// What a caller calls the prompt that it names, and the values that it gives.
const KEY: &str = "promptKey";
pub(in crate::server) const VARIABLES: &str = "promptVariables";

/// The variable of a route's own prompt: what its caller says.
const TEXT: &str = "text";

/// Puts the text of its prompt into a conversation that has one, or whose route has; true where there was one. The trail is told
/// which prompt it is. The schema is the prompt's, else the route's, else what the conversation had.
///
/// # Errors
/// `RequestFault::Invalid` names the field: the prompt or a variable is unknown, or a value is missing or of the wrong kind.
pub fn render(
    gateway: &Gateway,
    route: &RoutePlan,
    head: &Head,
    chat: &mut Chat,
    trail: &Trail,
) -> Result<bool, Fault> {
    let Some(asked) = asked(route, chat) else { return Ok(false) };
    let (prompt, active) = find(&gateway.plan.prompts, &asked)?;
    let version = chosen(gateway, head, prompt).unwrap_or(active);
    trail.facts().prompt = Some(Box::new(PromptFact { key: prompt.key.clone(), version: version.number }));
    fill(chat, prompt, version, &asked)?;
    Ok(true)
}

/// The same for callers who get the active version, whatever flags say: which prompt it was, if there was one.
///
/// # Errors
/// As those of a call.
pub fn render_active(prompts: &PromptsPlan, route: &RoutePlan, chat: &mut Chat) -> Result<Option<PromptFact>, Fault> {
    let Some(asked) = asked(route, chat) else { return Ok(None) };
    let (prompt, active) = find(prompts, &asked)?;
    fill(chat, prompt, active, &asked)?;
    Ok(Some(PromptFact { key: prompt.key.clone(), version: active.number }))
}

/// Makes a conversation of a version.
fn fill(chat: &mut Chat, prompt: &PromptPlan, version: &PromptVersion, asked: &PromptRequest) -> Result<(), Fault> {
    chat.messages = messages(prompt, version, asked)?;
    // What the prompt says of the model is part of what is tried with it. What the caller says of the answer's length and
    // temperature is the caller's own.
    if let Some(model) = &version.model {
        chat.model = Some((&**model).into());
    }
    chat.max_tokens = chat.max_tokens.or(version.max_tokens);
    chat.temperature = chat.temperature.or(version.temperature);
    if let Some(shape) = &version.shape {
        chat.schema = Some(shape.clone());
    }
    Ok(())
}

/// The prompt that a call names, else its route's. What a route says of its answers' shape holds with and without one.
fn asked(route: &RoutePlan, chat: &mut Chat) -> Option<Box<PromptRequest>> {
    if let Some(shape) = &route.schema {
        chat.schema = Some(shape.clone());
    }
    chat.prompt.take().or_else(|| of_route(route, chat))
}

/// The prompt of a route that has one for all its calls.
fn of_route(route: &RoutePlan, chat: &Chat) -> Option<Box<PromptRequest>> {
    let key = route.prompt.clone()?;
    let said = chat.messages.iter().rev().find(|message| message.role == Role::User)?;
    let variables = [(TEXT.to_owned(), said.text.as_str().into())].into_iter().collect();
    Some(Box::new(PromptRequest { key, variables, is_callers: false }))
}

/// The prompt that is asked for, and its active version.
fn find<'p>(prompts: &'p PromptsPlan, asked: &PromptRequest) -> Result<(&'p PromptPlan, &'p PromptVersion), Fault> {
    let found = prompts.find(&asked.key).and_then(|prompt| Some((prompt, prompt.active()?)));
    let Some((prompt, active)) = found else {
        if !asked.is_callers {
            return Err(Fault::Internal { detail: format!("no version of the prompt `{}` is active", asked.key) });
        }
        let known = || prompts.iter().filter(|prompt| prompt.active().is_some()).map(|prompt| &*prompt.key);
        let hint = hint(&asked.key, known());
        let allowed = known().collect::<Vec<_>>().join(", ");
        let key: String = asked.key.chars().take(64).collect();
        let message = format!("`{KEY}` is {:?}, which is no prompt{hint} (there are: {allowed})", key);
        return Err(Fault::invalid(KEY, message));
    };
    Ok((prompt, active))
}

/// The version that is tested with this caller, if one is.
fn chosen<'g>(gateway: &'g Gateway, head: &Head, prompt: &'g PromptPlan) -> Option<&'g PromptVersion> {
    let switches = gateway.state.switches();
    if !switches.of_subject(FlagKind::Prompt, &prompt.key).is_on_for(head) {
        return None;
    }
    let position = |version: &PromptVersion| -> Arc<Position> {
        switches.of_subject(FlagKind::Prompt, &prompt.name_of(version)).position()
    };
    let tested = prompt.testing().map(|version| (&**version, position(version)));
    choose(&format!("versions of {}", prompt.key), head, tested)
}

/// What a model is asked.
fn messages(prompt: &PromptPlan, version: &PromptVersion, asked: &PromptRequest) -> Result<Vec<Message>, Fault> {
    let known = version.variables();
    if let Some(name) = asked.variables.keys().find(|name| asked.is_callers && !known.contains(&***name)) {
        let hint = hint(name, known.iter().copied());
        let allowed = known.into_iter().collect::<Vec<_>>().join(", ");
        let name: String = name.chars().take(64).collect();
        let field = format!("{VARIABLES}.{name}");
        let message = format!(
            "`{}` is no variable of the prompt `{}`{hint} (it has: {allowed})",
            field.escape_debug(),
            prompt.key
        );
        return Err(Fault::invalid_in(field, message));
    }
    let system = version.instruction.as_ref().map(|template| (Role::System, template));
    let all = system.into_iter().chain([(Role::User, &version.template)]);
    let render = |(role, template): (Role, &crate::prompts::template::Template)| {
        let text = template.render(&asked.variables).map_err(|wrong| unrendered(prompt, asked, &wrong))?;
        Ok(Message { role, text })
    };
    all.map(render).collect()
}

/// What a caller is told of values that do not fit.
fn unrendered(prompt: &PromptPlan, asked: &PromptRequest, wrong: &RenderError) -> Fault {
    let field = match wrong {
        RenderError::Undefined { name: Some(name), .. } if asked.is_callers => format!("{VARIABLES}.{name}"),
        RenderError::Undefined { name: Some(name), .. } => name.clone(),
        _ if asked.is_callers => VARIABLES.to_owned(),
        _ => asked.variables.keys().next().cloned().unwrap_or_default(),
    };
    let message = match wrong {
        RenderError::Undefined { name: Some(_), .. } => {
            format!("`{field}` is required by the prompt `{}`", prompt.key)
        }
        wrong => format!("the prompt `{}` cannot be made of `{field}`: {wrong}", prompt.key),
    };
    Fault::invalid_in(field, message)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use serde_json::{Value, json};

    use super::*;
    use crate::config::{self, Variables};
    use crate::gateway::state::GatewayState;
    use crate::gateway::world::World;
    use crate::model::fault::RequestFault;

    const CONFIG: &str = "[prompt.greet.1]\nstatus = 'active'\ntemplate = 'Hello {{ name }}{{ note | default }}'\n\
                          temperature = 0.2\nmax_tokens = 7\nmodel = 'm'\ninstruction = 'Be kind to {{ name }}.'\n\
                          [prompt.old.1]\nstatus = 'deprecated'\ntemplate = 'x'\n";

    fn gateway() -> Gateway {
        let plan = config::load(Some(("x.toml", CONFIG)), &Variables::default()).unwrap();
        let world = World::real();
        let state = Arc::new(GatewayState::new(&plan, &world));
        Gateway::new(plan, state, Arc::new(world)).unwrap()
    }

    fn head() -> Head {
        let head = Head::anonymous("i".into(), "r".into(), "t".into(), IpAddr::V4(Ipv4Addr::LOCALHOST));
        Head { is_tenant_named: true, ..head }
    }

    fn rendered(key: &str, variables: Value, chat: Chat) -> Result<Chat, String> {
        let gateway = gateway();
        let route = gateway.plan.routes.iter().find(|route| &*route.name == "canvas-chat").unwrap();
        let variables = variables.as_object().unwrap().clone();
        let prompt = Some(Box::new(PromptRequest { key: key.into(), variables, is_callers: true }));
        let mut chat = Chat { prompt, ..chat };
        let trail = Trail::start(None);
        match render(&gateway, route, &head(), &mut chat, &trail) {
            Ok(has_prompt) => {
                assert!(has_prompt);
                let fact = trail.facts().prompt.clone().unwrap();
                assert_eq!((&*fact.key, fact.version), (key, 1));
                Ok(chat)
            }
            Err(Fault::Request(fault)) => match *fault {
                RequestFault::Invalid { field, message } => Err(format!("{}: {message}", field.unwrap())),
                fault => panic!("{fault:?}"),
            },
            Err(fault) => panic!("{fault:?}"),
        }
    }

    #[tokio::test]
    async fn a_prompt_becomes_messages_and_parameters() {
        let chat = rendered("greet", json!({"name": "{{ note }}"}), Chat::default()).unwrap();
        let said: Vec<(Role, &str)> = chat.messages.iter().map(|message| (message.role, &*message.text)).collect();
        assert_eq!(said, [(Role::System, "Be kind to {{ note }}."), (Role::User, "Hello {{ note }}")]);
        assert_eq!((chat.model.as_deref(), chat.max_tokens, chat.temperature), (Some("m"), Some(7), Some(0.2)));
        assert!(chat.prompt.is_none() && chat.schema.is_none());
        let own = Chat { model: Some("own".into()), max_tokens: Some(9), temperature: Some(1.0), ..Chat::default() };
        let chat = rendered("greet", json!({"name": "A"}), own).unwrap();
        assert_eq!((chat.model.as_deref(), chat.max_tokens, chat.temperature), (Some("m"), Some(9), Some(1.0)));
        let chat = rendered("canvas.generate", json!({"businessDescription": "A bakery"}), Chat::default()).unwrap();
        assert!(chat.schema.is_some());
    }

    #[tokio::test]
    async fn what_is_wrong_is_told_by_its_field() {
        let wrong = |key, variables| rendered(key, variables, Chat::default()).unwrap_err();
        assert_eq!(
            wrong("great", json!({})),
            "promptKey: `promptKey` is \"great\", which is no prompt, did you mean `greet`? (there are: \
             canvas.generate, canvas.refine, greet, order.parse)"
        );
        assert!(wrong("old", json!({})).contains("which is no prompt"));
        assert_eq!(
            wrong("greet", json!({"name": "A", "nmae": "B"})),
            "promptVariables.nmae: `promptVariables.nmae` is no variable of the prompt `greet`, did you mean `name`? (it \
             has: name, note)"
        );
        assert_eq!(
            wrong("greet", json!({})),
            "promptVariables.name: `promptVariables.name` is required by the prompt `greet`"
        );
        assert_eq!(
            wrong("greet", json!({"name": "x".repeat(300_000)})),
            "promptVariables: the prompt `greet` cannot be made of `promptVariables`: the prompt would be longer than 256 KiB"
        );
    }
}
