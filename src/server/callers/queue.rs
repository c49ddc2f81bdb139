//! Queue: answers what callers ask of jobs: accepts them, says how they are and what came of them, cancels them.
//!
//! What a job asks is checked before it is accepted: its prompt is rendered once and thrown away. It does not know how a
//! dialect spells any of it, nor who works on a job.

use bytes::Bytes;
use http::HeaderValue;
use http_body::Body;

use crate::caller::jobs::{JobAnswer, JobCaller, JobOrder, JobRequest, JobView};
use crate::caller::{Answered, Incoming};
use crate::config::plan::CallKind;
use crate::gateway::Route;
use crate::model::call::{CallRequest, Head};
use crate::model::fault::{Fault, RequestFault};
use crate::model::job::{
    JobFacts, JobId, JobKind, JobPriority, JobPrompt, JobRecord, JobResult, JobState, NewJob, Submitter,
};
use crate::model::offload::apart;
use crate::model::trail::Trail;
use crate::policy::observe::Watch;
use crate::server::callers::events::Watched;
use crate::server::callers::head::RequestContext;
use crate::server::callers::{events, idempotency, prompt_rules, prompted};
use crate::server::job_metrics::JobMetrics;
use crate::state::jobs::seal::Content;
use crate::state::jobs::{Cancelled, JobStoreFault, Once, Parts, Scope, Submission, Submitted};

/// All that is stored of a job.
const ALL: Parts = Parts { input: true, result: true };

/// What of a path's pattern is a job's id.
const ID: &str = "id";

impl RequestContext<'_> {
    /// Answers a request about jobs.
    pub(super) async fn queue<B>(&self, route: &Route, body: B, mut head: Head, watch: &mut Watch) -> Answered
    where
        B: Body<Data = Bytes> + Unpin,
    {
        match self.of_jobs(route, body, &mut head, watch).await {
            Ok(answered) => answered,
            Err(fault) => self.fail(route, Some(&head), None, &fault, watch),
        }
    }

    async fn of_jobs<B>(&self, route: &Route, body: B, head: &mut Head, watch: &Watch) -> Result<Answered, Fault>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let Some(dialect) = route.dialect.jobs() else {
            return Err(Fault::Internal { detail: "this dialect has no endpoints for jobs".into() });
        };
        let plan = &self.gateway.plan.jobs;
        let body = match route.plan.call {
            CallKind::JobSubmit | CallKind::JobBatch if !plan.is_on => return Err(Fault::RouteDisabled),
            CallKind::JobSubmit | CallKind::JobBatch => self.whole_body(route, body, head, watch).await?,
            _ => Bytes::new(),
        };
        let incoming = Incoming {
            route: &route.plan,
            method: &self.parts.method,
            path_and_query: self.parts.uri.path_and_query().map_or("/", |path| path.as_str()),
            headers: &self.parts.headers,
            body,
        };
        let id = self.gateway.parameter(self.parts.uri.path(), ID);
        let (jobs, scope) = (&self.gateway.jobs, Scope::Tenant(head.tenant.clone()));
        let store = jobs.store();
        match apart(incoming.body.len(), || dialect.decode(&incoming, id, plan))? {
            JobRequest::Submit { jobs, is_batch } => {
                let length = incoming.body.len();
                let orders = Orders { jobs, is_batch, length };
                self.submit(dialect, orders, head).await
            }
            JobRequest::Status(id) => {
                let job = self.job(&scope, &id, ALL, head).await?;
                let (input, result) = (jobs.input(&job), self.result(&job)?);
                let view = JobView { job: &job, input: input.as_ref(), result: result.as_ref() };
                Ok(dialect.encode(&JobAnswer::Status(view)))
            }
            JobRequest::Result(id) => {
                let job = self.job(&scope, &id, ALL, head).await?;
                match (job.state, self.result(&job)?) {
                    (_, Some(result)) => Ok(dialect.encode(&JobAnswer::Result(&result))),
                    (JobState::Failed | JobState::Cancelled, None) => {
                        let why = job.fault.map(|fault| fault.message).unwrap_or_default();
                        Err(RequestFault::JobFailed { why }.into())
                    }
                    (state, None) => Err(RequestFault::JobNotOver { state: state.as_str() }.into()),
                }
            }
            JobRequest::Events(id) => {
                let changes = store.watch(&id);
                let (tenant, job) = (head.tenant.clone(), self.job(&scope, &id, ALL, head).await?);
                self.result(&job)?;
                events::answer(self.gateway, Watched { dialect, tenant, job, changes }, &self.parts.headers)
            }
            JobRequest::Cancel(id) => {
                self.job(&scope, &id, Parts::default(), head).await?;
                match store.cancel(&scope, &id).await.map_err(fault_of)? {
                    Cancelled::Done => {
                        self.gateway.metrics.group::<JobMetrics>().cancelled();
                        Ok(dialect.encode(&JobAnswer::Cancelled))
                    }
                    Cancelled::Over(state) => Err(RequestFault::JobOver { state: state.as_str() }.into()),
                    Cancelled::Unknown => Err(RequestFault::UnknownJob.into()),
                }
            }
            JobRequest::Metrics => {
                let counts = store.counts(&scope).await.map_err(fault_of)?;
                Ok(dialect.encode(&JobAnswer::Metrics(&counts)))
            }
        }
    }

    /// A job of the caller's tenant. Where nobody names a tenant all callers have the same one: then it is a job of the user's or
    /// the API key's own, as far as they are proven.
    async fn job(&self, scope: &Scope, id: &JobId, parts: Parts, head: &Head) -> Result<JobRecord, Fault> {
        let found = self.gateway.jobs.store().find(scope, id, parts).await.map_err(fault_of)?;
        found.filter(|job| self.is_own(&job.facts.submitter, head)).ok_or_else(|| RequestFault::UnknownJob.into())
    }

    /// What came of a job, which was fetched with it; `None`: nothing, or not yet.
    fn result(&self, job: &JobRecord) -> Result<Option<JobResult>, Fault> {
        match (job.state, self.gateway.jobs.result(job)) {
            (JobState::Completed, None) => Err(unreadable(job)),
            (_, result) => Ok(result),
        }
    }

    fn is_own(&self, submitter: &Submitter, head: &Head) -> bool {
        let is_anybodys = !submitter.is_proven && !head.is_proven;
        (submitter.is_tenant_named && head.is_tenant_named) || is_anybodys || submitter.credential == self.owner(head)
    }

    /// What tells the caller from others that name no tenant.
    fn owner(&self, head: &Head) -> Option<[u8; 32]> {
        head.credential.or_else(|| self.credential(head.api_key.as_ref(), head.user.as_ref(), head.is_proven))
    }

    /// Accepts all of these jobs, or none.
    async fn submit(&self, dialect: &dyn JobCaller, orders: Orders, head: &mut Head) -> Result<Answered, Fault> {
        // A job's call may be answered from the cache, where this tells its caller from others.
        head.credential = self.owner(head);
        let is_kept = self.gateway.plan.idempotency.is_on;
        let once = head.once.filter(|_| is_kept).map(|once| Once {
            key: once.key,
            request: once.request,
            keep: self.gateway.plan.idempotency.ttl,
        });
        // A repeat is told the same.
        let batch = orders.is_batch.then(|| match &once {
            Some(once) => batch_of(once),
            None => JobId::new(self.gateway.world.secret_bits()),
        });
        let make = |(place, order): (usize, JobOrder)| {
            let made = self.check(dialect, &order, head).and_then(|()| self.new_job(order, head, batch));
            made.map_err(|fault| if orders.is_batch { dialect.within(place, fault) } else { fault })
        };
        let jobs =
            apart(orders.length, || orders.jobs.into_iter().enumerate().map(make).collect::<Result<Vec<_>, _>>())?;
        let mut told: Vec<(JobId, bool)> = jobs.iter().map(|job| (job.id, !job.delay.is_zero())).collect();
        let kinds: Vec<(JobKind, JobPriority)> = jobs.iter().map(|job| (job.facts.kind, job.facts.priority)).collect();
        let submitted = self.gateway.jobs.store().submit(Submission { jobs, once }).await.map_err(fault_of)?;
        let is_repeated = match submitted {
            Submitted::Accepted => {
                let metrics = self.gateway.metrics.group::<JobMetrics>();
                kinds.into_iter().for_each(|(kind, priority)| metrics.submitted(kind, priority));
                false
            }
            Submitted::Known(ids) => {
                told.iter_mut().zip(ids).for_each(|(job, id)| job.0 = id);
                true
            }
            Submitted::KeyReused => return Err(RequestFault::KeyReused.into()),
            Submitted::Full { most, is_tenants } => return Err(Fault::JobsFull { limit: most, is_tenants }),
        };
        let path = self.parts.uri.path();
        let mut answered = dialect.encode(&JobAnswer::Accepted { jobs: &told, batch, is_repeated, path });
        if is_repeated {
            answered.headers.insert(idempotency::REPLAYED, HeaderValue::from_static("true"));
        }
        Ok(answered)
    }

    /// Refuses a job that could not be done: its prompt cannot be rendered, or its route does not take what it asks.
    fn check(&self, dialect: &dyn JobCaller, order: &JobOrder, head: &Head) -> Result<(), Fault> {
        let Some(route) = self.gateway.plan.jobs.route(order.kind).and_then(|name| self.gateway.route(name)) else {
            return Err(Fault::Internal { detail: format!("jobs of kind {} have no route", order.kind.as_str()) });
        };
        let chat = dialect.chat(order.kind, &order.input, &route.plan);
        let mut request = CallRequest::Chat(chat);
        prompt_rules::check_model(&route.plan, &request)?;
        if let CallRequest::Chat(chat) = &mut request {
            // Each attempt renders it anew, and tells then which version it was.
            prompted::render(self.gateway, &route.plan, head, chat, &Trail::start(None))?;
            if chat.model.is_none() {
                return Err(Fault::invalid("model", "`model` is required"));
            }
        }
        prompt_rules::check_text(&route.plan, &request).map_err(|fault| match &order.input.prompt {
            JobPrompt::Text(_) => fault,
            // The text was made of these.
            JobPrompt::Named { .. } => fault.renamed(|_| prompted::VARIABLES.to_owned()),
        })
    }

    fn new_job(&self, order: JobOrder, head: &Head, batch: Option<JobId>) -> Result<NewJob, Fault> {
        let id = JobId::new(self.gateway.world.secret_bits());
        let seal = |content, bytes: &[u8]| {
            let sealed = self.gateway.jobs.seal().seal(&id, &head.tenant, content, bytes);
            sealed.ok_or_else(|| Fault::Internal { detail: "a job is too large to be sealed".into() })
        };
        let prompt = match &order.input.prompt {
            JobPrompt::Text(_) => None,
            JobPrompt::Named { key, .. } => Some((**key).into()),
        };
        let unwritable =
            |error: serde_json::Error| Fault::Internal { detail: format!("a job cannot be written: {error}") };
        let input = serde_json::to_vec(&order.input).map_err(unwritable)?;
        Ok(NewJob {
            id,
            facts: JobFacts {
                kind: order.kind,
                priority: order.priority,
                submitter: Submitter::of(head),
                prompt,
                batch,
                request_id: head.id.clone(),
                submitted: head.received,
                begins: head.received.checked_add(order.delay).unwrap_or(head.received),
            },
            input: seal(Content::Input, &input)?,
            webhook: order.webhook.map(|url| seal(Content::Webhook, url.as_bytes())).transpose()?,
            delay: order.delay,
        })
    }
}

/// Jobs that came in one body.
struct Orders {
    jobs: Vec<JobOrder>,
    is_batch: bool,
    /// The body's length.
    length: usize,
}

/// The batch of a submission that is accepted once.
fn batch_of(once: &Once) -> JobId {
    let mut hasher = blake3::Hasher::new_derive_key("tidegate 2026 jobs: batches of a key");
    hasher.update(&once.key).update(&once.request);
    let mut bits = [0; 16];
    hasher.finalize_xof().fill(&mut bits);
    JobId::new(bits)
}

/// What is kept of a job was sealed with another secret, or is damaged.
fn unreadable(job: &JobRecord) -> Fault {
    let detail = format!("the result of job {} cannot be opened: was `jobs.secret_env` or its like changed?", job.id);
    Fault::Internal { detail }
}

/// What a caller is told of a store that does not do what it is asked.
pub(in crate::server) fn fault_of(fault: JobStoreFault) -> Fault {
    match fault {
        JobStoreFault::Volatile => Fault::JobsVolatile,
        other => Fault::JobsOut { detail: other.to_string() },
    }
}
