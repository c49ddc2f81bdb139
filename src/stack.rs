//! The seam between policies: [`Policy`] around [`Next`], composed by `tower`'s `ServiceBuilder`.
//!
//! A stack is always ready; a refusal is a [`Fault`]. Nothing here knows what any policy does.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::model::call::Call;
use crate::model::fault::Fault;
use crate::model::reply::Reply;

/// What becomes of a call. A reply is in a box: each policy on its way out moves it.
pub type Outcome = Result<Box<Reply>, Fault>;

/// Whatever comes next on the way inwards.
pub trait Next: Send + Sync + 'static {
    /// Passes the call on. Dropping the future cancels the work.
    fn call(&self, call: Box<Call>) -> impl Future<Output = Outcome> + Send;

    /// Appends the names of what is in this stack, outermost first.
    fn describe(&self, names: &mut Vec<&'static str>);
}

/// One concern around the next.
pub trait Policy: Send + Sync + 'static {
    /// The name of the policy: its file, config table, metric prefix and heading.
    const NAME: &'static str;

    /// Handles the call, usually by passing it on.
    fn apply<N: Next>(&self, call: Box<Call>, next: &N) -> impl Future<Output = Outcome> + Send;
}

/// A disabled policy costs one comparison.
impl<P: Policy> Policy for Option<P> {
    const NAME: &'static str = P::NAME;

    async fn apply<N: Next>(&self, call: Box<Call>, next: &N) -> Outcome {
        match self {
            Some(policy) => policy.apply(call, next).await,
            None => next.call(call).await,
        }
    }
}

/// A policy as a `tower` layer.
pub fn policy<P: Policy>(policy: P) -> PolicyLayer<P> {
    PolicyLayer(policy)
}

/// See [`policy`].
pub struct PolicyLayer<P>(P);

impl<P: Policy + Clone, N: Next> tower::Layer<N> for PolicyLayer<P> {
    type Service = Around<P, N>;

    fn layer(&self, next: N) -> Around<P, N> {
        Around { policy: self.0.clone(), next }
    }
}

/// A policy with what comes next.
pub struct Around<P, N> {
    policy: P,
    next: N,
}

impl<P: Policy, N: Next> Next for Around<P, N> {
    fn call(&self, call: Box<Call>) -> impl Future<Output = Outcome> + Send {
        self.policy.apply(call, &self.next)
    }

    fn describe(&self, names: &mut Vec<&'static str>) {
        names.push(P::NAME);
        self.next.describe(names);
    }
}

/// A whole stack behind one pointer: the joint between the route's policies and the server, and between a route and
/// its targets.
#[derive(Clone)]
pub struct Stack(Arc<dyn AnyNext>);

impl Stack {
    /// Boxes a stack.
    pub fn new(next: impl Next) -> Self {
        Self(Arc::new(next))
    }
}

impl Next for Stack {
    fn call(&self, call: Box<Call>) -> impl Future<Output = Outcome> + Send {
        self.0.call(call)
    }

    fn describe(&self, names: &mut Vec<&'static str>) {
        self.0.describe(names);
    }
}

/// [`Next`] in the form that fits behind a pointer: one allocation a call.
trait AnyNext: Send + Sync {
    fn call(&self, call: Box<Call>) -> Pin<Box<dyn Future<Output = Outcome> + Send + '_>>;
    fn describe(&self, names: &mut Vec<&'static str>);
}

impl<N: Next> AnyNext for N {
    fn call(&self, call: Box<Call>) -> Pin<Box<dyn Future<Output = Outcome> + Send + '_>> {
        Box::pin(Next::call(self, call))
    }

    fn describe(&self, names: &mut Vec<&'static str>) {
        Next::describe(self, names);
    }
}
