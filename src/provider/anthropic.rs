//! Anthropic's dialect as providers speak it.

use bytes::Bytes;

use super::{Decoded, EventReader, Expect, Provider, Request, ResponseHead};
use crate::config::plan::ProviderPlan;
use crate::model::call::Call;
use crate::model::fault::Fault;
use crate::wire::openai::events::{Named, Tail};

/// The dialect.
pub(crate) struct Anthropic;

impl Provider for Anthropic {
    fn encode(&self, _call: &Call, provider: &ProviderPlan) -> Result<Request, Fault> {
        Err(Fault::Unsupported { provider: provider.name.clone(), what: "any call".into() })
    }

    fn expect(&self, _call: &Call, _head: &ResponseHead, _start: &[u8]) -> Expect {
        Expect::Whole
    }

    fn decode(
        &self,
        _call: &Call,
        provider: &ProviderPlan,
        _head: ResponseHead,
        _body: Bytes,
    ) -> Result<Decoded, Fault> {
        Err(Fault::Unsupported { provider: provider.name.clone(), what: "any call".into() })
    }

    fn refusal(&self, provider: &ProviderPlan, _head: ResponseHead, _body: Bytes) -> Fault {
        Fault::Unsupported { provider: provider.name.clone(), what: "any call".into() }
    }

    fn events(&self, _call: &Call, _provider: &ProviderPlan) -> Box<dyn EventReader> {
        Box::new(Named::new(Tail::Any))
    }
}
