//! Catalog: merges the model lists of all of a route's providers into one, and finds the provider of one model.
//!
//! Each provider is called through its own policies, with a short timeout of its own. Its last list is cached, and
//! served while the provider is down. If a provider has no list, the models that the config names for it take its
//! place. This file does not know which models a caller may name, nor how a list is encoded.

mod lists;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::HeaderValue;

pub use self::lists::Lists;
use self::lists::{List, ModelList, lists_nothing};
use crate::config::plan::{Pattern, TargetPlan};
use crate::model::attempts::Attempts;
use crate::model::call::{Call, CallRequest, ClientDeadline, Endpoint, WireRequest};
use crate::model::fault::{Fault, NO_MODEL, sum_up};
use crate::model::reply::{Body, Degraded, Reply};
use crate::model::switch::Switch;
use crate::model::time::Phase;
use crate::stack::{Next, Outcome, Policy, Stack};
use crate::wire::openai::models::{self, Model};

/// Where providers list their models.
const PATH: &str = "/models";

/// How long a provider may take: as long as the probe that asks the same.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// Attempts at one provider.
pub const ATTEMPTS: u32 = 2;

/// The policy.
#[derive(Clone)]
pub struct Catalog {
    sources: Arc<[Source]>,
    /// The models that may be named on the route; any when it is empty.
    named: Arc<[Pattern]>,
}

/// A target whose models are listed.
pub struct Source {
    /// What the config says of it.
    pub plan: TargetPlan,
    /// Whether calls may go there now.
    pub switch: Switch,
    /// Its policies.
    pub stack: Stack,
    /// What it has listed.
    pub lists: Lists,
}

impl Source {
    /// What is known of its list; asked for where that is too old. What is asked for in another way is asked each time.
    async fn list(&self, call: &Call, wire: &WireRequest, path: &str) -> ModelList {
        match path == PATH {
            true => self.lists.get(call.deadline, || self.ask(call, wire, path)).await,
            false => ModelList::new(self.ask(call, wire, path).await),
        }
    }

    async fn ask(&self, call: &Call, wire: &WireRequest, path: &str) -> Result<List, Fault> {
        let request = CallRequest::Wire(WireRequest { path: path.into(), model: None, ..wire.clone() });
        let call = Call {
            request: Arc::new(request),
            model: None,
            has_next: true,
            deadline: call.deadline.tighten(TIMEOUT, Phase::Attempt),
            attempts: Attempts::new(ATTEMPTS),
            patience: ClientDeadline::default(),
            signs: None,
            ..call.clone()
        };
        match self.stack.call(Box::new(call)).await?.body {
            Body::Whole(body) => Ok(List::of(body)),
            _ => {
                Err(Fault::Broken { provider: self.plan.provider.name.clone(), detail: "not a list of models".into() })
            }
        }
    }

    /// The models that the config names for it, where it lists none itself.
    fn own(&self, known: &ModelList) -> Vec<Model> {
        if known.list.as_ref().is_some_and(|list| !list.models.is_empty()) {
            return Vec::new();
        }
        let provider = &self.plan.provider;
        let names = provider.models.iter().filter_map(Pattern::exact);
        names.map(|name| Model::named(name, &provider.name)).collect()
    }
}

impl Catalog {
    /// A catalog of the models at `sources`, in this order, as far as they may be `named`.
    pub fn new(sources: Vec<Source>, named: &[Pattern]) -> Self {
        Self { sources: sources.into(), named: named.into() }
    }

    fn open<'a>(&'a self, call: &'a Call) -> impl Iterator<Item = (usize, &'a Source)> {
        self.sources.iter().enumerate().filter(|(_, source)| source.switch.is_on_for(&call.head))
    }

    /// The models of all.
    async fn all(&self, call: &Call, wire: &WireRequest) -> Outcome {
        let open: Vec<&Source> = self.open(call).map(|(_, source)| source).collect();
        let known = join_all(open.iter().map(|source| source.list(call, wire, &wire.path))).await;
        let own: Vec<Vec<Model>> = open.iter().zip(&known).map(|(source, known)| source.own(known)).collect();
        let mut merged = Merged::default();
        for ((source, known), own) in open.iter().zip(&known).zip(&own) {
            let listed = known.list.iter().flat_map(|list| &list.models);
            let may_be_named = |model: &&Model| {
                let id = model.id.as_deref();
                self.named.is_empty() || id.is_some_and(|id| self.named.iter().any(|pattern| pattern.matches(id)))
            };
            listed.chain(own).filter(may_be_named).for_each(|model| merged.add(source, model));
        }
        let first = open.iter().zip(&known).zip(&own).find(|((_, known), own)| known.list.is_some() || !own.is_empty());
        let Some(((first, _), _)) = first else {
            return Err(all_failed(known.into_iter().filter_map(|known| known.fault).collect(), &open));
        };
        let is_missing = |(known, own): (&ModelList, &Vec<Model>)| {
            known.list.is_none() && own.is_empty() && known.fault.as_ref().is_some_and(|fault| !lists_nothing(fault))
        };
        let degraded = match known.iter().zip(&own).any(is_missing) {
            true => Some(Degraded::Partial),
            false => known.iter().any(ModelList::is_stale).then_some(Degraded::Stale),
        };
        if degraded.is_some() {
            call.trail.facts().degraded = degraded;
        }
        // One list alone stays what it was, whatever else is said in it.
        let alone = match (&*known, &*own) {
            ([ModelList { list: Some(list), .. }], [own]) if own.is_empty() && self.named.is_empty() => Some(list),
            _ => None,
        };
        let body = alone.map_or_else(|| merged.written(), |list| list.body.clone());
        Ok(reply(first, body, degraded))
    }

    /// One model: at the target that lists it, where several may have it.
    async fn one<N: Next>(&self, call: Box<Call>, wire: &WireRequest, id: &str, next: &N) -> Outcome {
        let having: Vec<_> = self.open(&call).filter(|(_, source)| source.plan.has(Some(id))).collect();
        let mut from_target = call.from_target;
        if having.len() > 1 {
            let known = join_all(having.iter().map(|(_, source)| source.list(&call, wire, PATH))).await;
            let lists_it = |known: &ModelList| {
                let models = known.list.iter().flat_map(|list| &list.models);
                models.into_iter().any(|model| model.id.as_deref() == Some(id))
            };
            let found = having.iter().zip(&known).find(|(_, known)| lists_it(known));
            from_target = found.map_or(from_target, |((number, _), _)| *number);
        }
        let fault = match next.call(Box::new(Call { from_target, ..(*call).clone() })).await {
            Err(fault) if lists_nothing(&fault) && !denies(&fault) => fault,
            outcome => return outcome,
        };
        // It may list its models, or have those that the config names, without being able to tell of one.
        for (_, source) in having {
            let known = source.list(&call, wire, PATH).await;
            let own = source.own(&known);
            let listed = known.list.iter().flat_map(|list| &list.models).chain(&own);
            if let Some(model) = listed.into_iter().find(|model| model.id.as_deref() == Some(id)) {
                return Ok(reply(source, model.raw.clone(), None));
            }
        }
        Err(fault)
    }
}

/// Models of several lists, each once.
#[derive(Default)]
struct Merged<'a> {
    /// With whether it would be asked where it was found.
    models: Vec<(&'a Model, bool)>,
    places: HashMap<&'a str, usize>,
}

impl<'a> Merged<'a> {
    /// Adds a model. Of two that have the same name, the one counts whose provider would be asked.
    fn add(&mut self, source: &Source, model: &'a Model) {
        let is_served = model.id.is_none() || source.plan.has(model.id.as_deref());
        let known = model.id.as_deref().map(|id| *self.places.entry(id).or_insert(self.models.len()));
        match known.and_then(|place| self.models.get_mut(place)) {
            None => self.models.push((model, is_served)),
            Some(known) if is_served && !known.1 => *known = (model, is_served),
            Some(_) => {}
        }
    }

    fn written(&self) -> Bytes {
        models::write(self.models.iter().map(|(model, _)| *model))
    }
}

fn reply(source: &Source, body: Bytes, degraded: Option<Degraded>) -> Box<Reply> {
    let reply = Reply::new(source.plan.provider.name.clone(), Body::Whole(body));
    Box::new(Reply { degraded, ..reply.of_type(Some(HeaderValue::from_static("application/json"))) })
}

/// True when a provider says that there is no such model, and not that it knows of no such path.
fn denies(fault: &Fault) -> bool {
    matches!(fault, Fault::Refused { refusal, .. } if refusal.code.as_deref() == Some(NO_MODEL))
}

/// No provider has listed anything.
fn all_failed(mut faults: Vec<Fault>, open: &[&Source]) -> Fault {
    let longest = open.iter().map(|source| source.plan.provider.quota.longest).min().unwrap_or(Duration::MAX);
    match faults.iter().all(lists_nothing) {
        true => faults.pop().unwrap_or(Fault::NoProvider),
        false => sum_up(faults, longest),
    }
}

impl Policy for Catalog {
    const NAME: &'static str = "catalog";

    async fn apply<N: Next>(&self, call: Box<Call>, next: &N) -> Outcome {
        let request = call.request.clone();
        let CallRequest::Wire(wire @ WireRequest { endpoint: Endpoint::Models, .. }) = &*request else {
            return next.call(call).await;
        };
        let is_list = wire.path.split('?').next() == Some(PATH);
        match &wire.model {
            // Boxed, as below: other calls would hold the room for it.
            Some(model) => Box::pin(self.one(call, wire, &model.name, next)).await,
            // Who is disabled, and that there is nobody, is failover's to say.
            None if is_list && self.open(&call).next().is_some() => Box::pin(self.all(&call, wire)).await,
            None => next.call(call).await,
        }
    }
}
