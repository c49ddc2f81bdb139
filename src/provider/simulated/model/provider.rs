//! A modelled provider at work: a transport that answers requests as its model says.
//!
//! It does not know the gateway in front of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use super::body::{Breaks, Events, ModelledBody};
use super::limits::{self, Limits};
use super::load::{Load, Slot};
use super::occurrences::Occurrences;
use super::question::{Paths, Question, Wanted};
use super::text::text;
use super::{Calendar, Models, ProviderModel, Trouble};
use crate::config::plan::{ProviderKind, ProviderPlan};
use crate::model::call::Tunnel;
use crate::model::reply::Socket;
use crate::model::rng::Draws;
use crate::provider::simulated::answers::{self, Answer};
use crate::provider::simulated::echo::Echo;
use crate::provider::simulated::messages;
use crate::provider::simulated::{Behaviour, OverCapacity};
use crate::provider::transport::{Opened, Response, Reuse, SendFault, Transport};
use crate::provider::{Request, ResponseHead};
use crate::wire::openai::brief::Brief;

/// What luck decides, each apart from the others.
#[derive(Clone, Copy)]
enum Concern {
    FirstToken,
    PerToken,
    Trouble,
    ErrorAfter,
    Break,
    Text,
}

/// How long a provider that is well takes to answer whether it is.
const PROBE: Duration = Duration::from_millis(5);

/// One modelled provider.
pub(in crate::provider::simulated) struct Modelled {
    name: Arc<str>,
    kind: ProviderKind,
    paths: Paths,
    connect: Duration,
    model: Arc<ProviderModel>,
    draws: Draws,
    calendar: Calendar,
    load: Arc<Load>,
    state: Mutex<State>,
}

struct State {
    limits: Limits,
    occurrences: Occurrences,
}

/// What one request meets, apart from what others do.
struct Luck(Draws);

impl Luck {
    fn at(&self, concern: Concern) -> f64 {
        self.0.of(concern as u64).fraction()
    }
}

impl Modelled {
    /// The provider of a plan; `None`: it has no model.
    pub(in crate::provider::simulated) fn new(plan: &ProviderPlan, models: &Models, began: Instant) -> Option<Self> {
        let model = models.providers.get(&plan.name)?.clone();
        let calendar = Calendar::new(models.start, began);
        let load = Load::new({
            let model = model.clone();
            Box::new(move || model.capacity(&calendar, calendar.since()))
        });
        let limits = Limits::new(model.requests_per_minute, model.tokens_per_minute);
        Some(Self {
            name: plan.name.clone(),
            kind: plan.kind,
            paths: Paths::of(plan),
            connect: plan.connect,
            model,
            draws: Draws::new(models.seed).named(&plan.name),
            calendar,
            load,
            state: Mutex::new(State { limits, occurrences: Occurrences::new() }),
        })
    }

    async fn answer(&self, instance: usize, request: Request) -> Result<Response, SendFault> {
        let question = Question::read(&self.paths, &request);
        let (begun, since) = (Instant::now(), self.calendar.since());
        if question.wanted == Wanted::Probe {
            if let Some(outage) = self.model.outage(&self.calendar, since, instance) {
                return self.fail(outage.trouble, PROBE, HeaderMap::new()).await;
            }
            sleep_until(begun + PROBE).await;
            return Ok(self.scripted(&request, HeaderMap::new(), None));
        }
        let (luck, mut headers, slot) = match self.meet(&question, instance, since).await {
            Ok(met) => met,
            Err(Refused { trouble, after, headers }) => return self.fail(trouble, after, headers).await,
        };
        // A request that has waited for its turn begins now.
        let (begun, since) = (Instant::now(), self.calendar.since());
        let trouble = self.model.trouble(&self.calendar, since, luck.at(Concern::Trouble));
        let slow = if let Some(Trouble::Slow(factor)) = trouble { factor } else { 1.0 };
        let factor = self.model.browned(&self.calendar, since).fold(slow, |factor, it| factor * it.latency);
        let first = times(self.model.first_token.at(luck.at(Concern::FirstToken)), factor);
        let takes = times(self.model.per_token.at(luck.at(Concern::PerToken)), factor * question.tokens_out as f64);
        let mut breaks = self.model.next_break(&self.calendar, since, instance).map(|(at, trouble)| {
            let breaks = if matches!(trouble, Trouble::Hang | Trouble::Stall(_)) { Breaks::Stall } else { Breaks::Cut };
            (begun + at.saturating_sub(since), breaks)
        });
        let (share, ends) = match trouble {
            Some(Trouble::Cut(share)) => (share, Breaks::Cut),
            Some(Trouble::Stall(share)) => (share, Breaks::Stall),
            None | Some(Trouble::Slow(_)) => (Some(2.0), Breaks::Cut),
            Some(trouble) => {
                let after = self.model.error_after.at(luck.at(Concern::ErrorAfter));
                return self.fail(trouble, after, headers).await;
            }
        };
        let share = share.unwrap_or_else(|| luck.at(Concern::Break));
        if share <= 1.0 {
            let at = begun + first + takes.mul_f64(share);
            breaks = breaks.filter(|(outage, _)| *outage < at).or(Some((at, ends)));
        }
        let head_at = if question.is_stream { begun + first } else { begun + first + takes };
        if let Some((at, ends)) = breaks.filter(|(at, _)| *at < head_at || (*at == head_at && !question.is_stream)) {
            sleep_until(at).await;
            return match ends {
                Breaks::Stall => std::future::pending().await,
                Breaks::Cut => Err(SendFault::Closed("connection reset".into())),
            };
        }
        if head_at > begun {
            sleep_until(head_at).await;
        }
        let brief =
            Brief { id: luck.0.bits(), model: question.model, tokens: (question.tokens_in, question.tokens_out) };
        let words = match self.model.repeats {
            true => Draws::new(question.id).named(&String::from_utf8_lossy(question.model)),
            false => luck.0.of(Concern::Text as u64),
        };
        let words = words.bits();
        let tokens = usize::try_from(question.tokens_out).unwrap_or(usize::MAX);
        let body: Bytes = match question.wanted {
            Wanted::Text(kind) if question.is_stream => {
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
                let events = Events {
                    kind,
                    id: brief.id,
                    model: brief.model.into(),
                    tokens: brief.tokens,
                    luck: words,
                    with_usage: question.with_usage,
                    begun: head_at,
                    takes,
                };
                let body = Box::pin(ModelledBody::events(events, breaks, slot));
                return Ok(Response { head: ResponseHead { status: StatusCode::OK, headers }, body });
            }
            Wanted::Text(kind) => brief.whole(kind, &text(words, 0, tokens)).into(),
            Wanted::Embeddings => brief.embeddings(1).into(),
            Wanted::Message => {
                [&b"{\"message\":\""[..], &text(words, 0, tokens), b"\",\"suggestions\":[]}"].concat().into()
            }
            Wanted::Scripted | Wanted::Probe => return Ok(self.scripted(&request, headers, slot)),
        };
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(whole(StatusCode::OK, headers, body, slot))
    }

    /// What a request meets before it is worked on, and its luck.
    async fn meet(
        &self,
        question: &Question<'_>,
        instance: usize,
        since: Duration,
    ) -> Result<(Luck, HeaderMap, Option<Slot>), Refused> {
        let mut headers = HeaderMap::new();
        let (luck, limited) = {
            let mut state = self.state.lock();
            let (slot, times) = state.occurrences.note(question.id, since);
            let luck = Luck(self.draws.of(question.id).of(slot).of(times));
            if let Some(outage) = self.model.outage(&self.calendar, since, instance) {
                return Err(Refused { trouble: outage.trouble, after: self.error_after(&luck), headers });
            }
            let limited = state.limits.take(question.tokens_in.saturating_add(question.tokens_out), since).err();
            state.limits.tell(&mut headers, since);
            (luck, limited)
        };
        if limited.is_some() {
            let trouble = Trouble::Status { status: 429, retry_after: limited };
            return Err(Refused { trouble, after: self.error_after(&luck), headers });
        }
        let slot = match self.model.over_capacity {
            OverCapacity::Slow => self.load.enter().await,
            OverCapacity::Refuse | OverCapacity::Unavailable => self.load.try_enter(),
        };
        let status = if self.model.over_capacity == OverCapacity::Refuse { 429 } else { 503 };
        match slot {
            Some(slot) => Ok((luck, headers, Some(slot))),
            None => {
                let trouble = Trouble::Status { status, retry_after: None };
                Err(Refused { trouble, after: self.error_after(&luck), headers })
            }
        }
    }

    fn error_after(&self, luck: &Luck) -> Duration {
        self.model.error_after.at(luck.at(Concern::ErrorAfter))
    }

    /// The end of a request that meets trouble before its answer.
    async fn fail(&self, trouble: Trouble, after: Duration, mut headers: HeaderMap) -> Result<Response, SendFault> {
        match trouble {
            // A refused connection is refused at once.
            Trouble::Refuse => Err(SendFault::Connect("connection refused".into())),
            Trouble::Blackhole => {
                tokio::time::sleep(self.connect).await;
                Err(SendFault::ConnectTimeout)
            }
            Trouble::Hang | Trouble::Stall(_) => std::future::pending().await,
            Trouble::Reset | Trouble::Cut(_) | Trouble::Slow(_) => {
                tokio::time::sleep(after).await;
                Err(SendFault::Closed("connection reset".into()))
            }
            Trouble::Status { status, retry_after } => {
                tokio::time::sleep(after).await;
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                if let Some(wait) = retry_after {
                    limits::retry_after(&mut headers, wait);
                }
                let body = Bytes::from_static(refusal(self.kind, status));
                Ok(whole(status, headers, body, None))
            }
        }
    }

    /// What the scripted providers answer, at the time of this one.
    fn scripted(&self, request: &Request, headers: HeaderMap, slot: Option<Slot>) -> Response {
        let mut answer = match self.kind {
            ProviderKind::OpenAi => answers::openai(&self.name, &Behaviour::default(), request),
            ProviderKind::Anthropic => messages::answer(&self.name, &Behaviour::default(), request),
            ProviderKind::BuildPanel => answers::buildpanel(&self.name, request),
        };
        answer.headers.extend(headers);
        let Answer { status, headers, pieces, .. } = answer;
        let body: Vec<u8> = pieces.iter().flat_map(|piece| piece.bytes().to_vec()).collect();
        whole(status, headers, body.into(), slot)
    }

    async fn converse(&self, instance: usize, request: Request, tunnel: &Tunnel) -> Result<Opened, SendFault> {
        let question = Question::read(&self.paths, &request);
        let refused = match self.meet(&question, instance, self.calendar.since()).await {
            Err(refused) => refused,
            Ok((luck, headers, slot)) => {
                match self.model.trouble(&self.calendar, self.calendar.since(), luck.at(Concern::Trouble)) {
                    None | Some(Trouble::Slow(_) | Trouble::Cut(_) | Trouble::Stall(_)) => {
                        tokio::time::sleep(self.model.first_token.at(luck.at(Concern::FirstToken))).await;
                        let chosen = tunnel.protocols.first().and_then(|offered| HeaderValue::from_str(offered).ok());
                        return Ok(Opened::Socket(Socket::new(Echo::new(slot), self.name.clone(), chosen)));
                    }
                    Some(trouble) => Refused { trouble, after: self.error_after(&luck), headers },
                }
            }
        };
        Ok(Opened::Refused(self.fail(refused.trouble, refused.after, refused.headers).await?))
    }
}

/// A request that is not worked on.
struct Refused {
    trouble: Trouble,
    after: Duration,
    headers: HeaderMap,
}

/// A time multiplied; no simulated wait is longer than a day.
fn times(time: Duration, factor: f64) -> Duration {
    super::distribution::seconds(time.as_secs_f64() * factor)
}

fn whole(status: StatusCode, headers: HeaderMap, body: Bytes, slot: Option<Slot>) -> Response {
    Response { head: ResponseHead { status, headers }, body: Box::pin(ModelledBody::whole(body, slot)) }
}

/// The body of a refusal.
fn refusal(kind: ProviderKind, status: StatusCode) -> &'static [u8] {
    if kind == ProviderKind::BuildPanel {
        return br#"{"success":false,"message":"The modelled provider refuses"}"#;
    }
    match status.as_u16() {
        401 | 403 => br#"{"error":{"message":"Incorrect API key provided","type":"authentication_error","param":null,"code":"invalid_api_key"}}"#,
        429 => br#"{"error":{"message":"The modelled provider's rate limit is reached","type":"rate_limit_error","param":null,"code":"rate_limit_exceeded"}}"#,
        400..=499 => br#"{"error":{"message":"The modelled provider does not accept this","type":"invalid_request_error","param":null,"code":"invalid_request"}}"#,
        _ => br#"{"error":{"message":"The modelled provider made a mistake","type":"server_error","param":null,"code":"server_error"}}"#,
    }
}

impl Transport for Modelled {
    fn send(
        &self,
        instance: usize,
        request: Request,
        _reuse: Reuse,
    ) -> Pin<Box<dyn Future<Output = Result<Response, SendFault>> + Send + '_>> {
        Box::pin(self.answer(instance, request))
    }

    fn open<'a>(
        &'a self,
        instance: usize,
        request: Request,
        tunnel: &'a Tunnel,
    ) -> Pin<Box<dyn Future<Output = Result<Opened, SendFault>> + Send + 'a>> {
        Box::pin(self.converse(instance, request, tunnel))
    }
}
