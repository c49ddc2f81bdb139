//! The codes, types and phrases that classify error responses.
//!
//! It does not know where they are looked for.

use crate::model::fault;

/// Codes and types of accounts that may not spend anything: OpenAI's, Together.ai's, DeepSeek's, Anthropic's, Groq's,
/// Moonshot's, DashScope's, Volcengine's, Zhipu's, Google's and those of one-api.
pub(super) const ACCOUNT_WORDS: [&str; 24] = [
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "account_deactivated",
    "access_terminated",
    "insufficient_balance",
    "insufficient_credit",
    "insufficient_credits",
    "insufficient_funds",
    "insufficient_user_quota",
    "credit_limit",
    "credit_limit_exceeded",
    "spend_limit_exceeded",
    "payment_required",
    "billing",
    "billing_error",
    "organization_restricted",
    "exceeded_current_quota_error",
    "account_suspended",
    "Arrearage",
    "AccountOverdueError",
    "1113",
    "BILLING_DISABLED",
    "CONSUMER_SUSPENDED",
];

/// The same in words, in lower case, from their beginning: a 400 often repeats what a caller wrote.
pub(super) const ACCOUNT_BEGINNINGS: [&str; 8] = [
    "your credit balance is too low",
    "billing hard limit has been reached",
    "insufficient balance",
    "insufficient credit",
    "insufficient funds",
    "your account is not active",
    "organization has been restricted",
    "access denied, please make sure your account is in good standing",
];

/// The same anywhere in answers that repeat nothing.
pub(super) const ACCOUNT_TEXTS: [&str; 14] = [
    "check your plan and billing",
    "check your billing",
    "credit balance is too low",
    "insufficient balance",
    "insufficient credit",
    "insufficient quota",
    "insufficient funds",
    "out of credits",
    "all available credits",
    "have any credits",
    "monthly spending limit",
    "billing hard limit",
    "key limit exceeded",
    "account is not active",
];

/// What only an account's owner needs to read.
pub(super) const ACCOUNT_TOPICS: [&str; 8] = [
    "billing",
    "credit balance",
    "account balance",
    "payment method",
    "spending limit",
    "past invoices",
    "purchase credits",
    "upgrade your plan",
];

/// Codes, types and reasons of keys that are not taken.
pub(super) const KEY_WORDS: [&str; 12] = [
    "invalid_api_key",
    "authentication_error",
    "invalid_authentication_error",
    "AuthenticationError",
    "incorrect_api_key",
    "incorrect_api_key_error",
    "expired_api_key",
    "invalid_token",
    "UNAUTHENTICATED",
    "API_KEY_INVALID",
    "API_KEY_SERVICE_BLOCKED",
    "ACCESS_TOKEN_EXPIRED",
];

/// How a 400 about a key begins.
pub(super) const KEY_BEGINNINGS: [&str; 4] =
    ["api key not valid", "api key expired", "invalid api key", "incorrect api key provided"];

/// What a 403 about a key has in it. The last is what AWS says of an identity, which it names.
pub(super) const KEY_TEXTS: [&str; 10] = [
    "api key",
    "api-key",
    "api_key",
    "apikey",
    "authenticat",
    "authorization header",
    "credential",
    "access token",
    "invalid token",
    "is not authorized to perform",
];

/// Codes and types of content that a provider does not want.
pub(super) const FLAGGED_WORDS: [&str; 6] = [
    fault::FLAGGED,
    "content_filter",
    "content_policy",
    "moderation_blocked",
    "moderation_error",
    "data_inspection_failed",
];

/// The same in words: OpenRouter's, Groq's and OpenAI's.
pub(super) const FLAGGED_TEXTS: [&str; 5] =
    ["input was flagged", "requires moderation", "content policy", "safety system", "usage policies"];

/// Codes and types of errors about a conversation that is too long for the model: OpenAI's, and llama.cpp's
/// (ggml-org/llama.cpp#15780).
pub(super) const TOO_LONG_WORDS: [&str; 3] = [fault::TOO_LONG, "exceed_context_size_error", "context_length_error"];

/// What servers without such codes write instead, in lower case and without backticks.
pub(super) const TOO_LONG_TEXTS: [&str; 13] = [
    // vLLM (vllm-project/vllm#20409), DeepSeek, and OpenAI's own words.
    "maximum context length",
    // vLLM, for prompts that no setting of `max_tokens` could save.
    "longer than the maximum model length",
    // SGLang (QwenLM/Qwen3#1321).
    "longer than the model's context length",
    // Together.ai (stanford-crfm/helm#2079) and Hugging Face's TGI (text-generation-inference#628).
    "inputs tokens + max_new_tokens must be <=",
    // Together.ai's documentation of its 403.
    "input token count + max_tokens",
    "input tokens + max_tokens",
    "prompt_tokens + max_tokens",
    // TGI (text-generation-inference#695).
    "inputs must have less than",
    // llama.cpp before it had a type for it.
    "exceeds the available context size",
    // Google, xAI, Anthropic and Bedrock.
    "exceeds the maximum number of tokens allowed",
    "maximum prompt length is",
    "prompt is too long:",
    "input is too long for requested model",
];

/// What is about length where it also speaks of tokens or the like.
pub(super) const CONTEXT_TEXTS: [&str; 3] = ["context length", "context window", "context limit"];

/// Codes of models that are there, and not for this account: OpenAI's, Together.ai's, and Groq's for organisations and
/// projects.
pub(super) const MODEL_WORDS: [&str; 2] = [fault::NO_MODEL, "model_not_available"];
pub(super) const MODEL_PREFIXES: [&str; 1] = ["model_permission_blocked"];

/// What says the same without such a code, in lower case and without backticks.
pub(super) const MODEL_TEXTS: [&str; 5] = [
    "missing scopes",
    "have access to model",
    "do not have access to it",
    "not allowed to sample from this model",
    "must be verified to use the model",
];

/// What is said about a field that a provider does not know: Google's words, pydantic's (Mistral's API is built on it), Groq's, and
/// OpenAI's of old. A caller who puts them into a request has it tried elsewhere, and no more.
pub(super) const UNKNOWN_FIELD_TEXTS: [&str; 4] = [
    "invalid json payload received. unknown name",
    "extra inputs are not permitted",
    " is unsupported)",
    "unrecognized request argument",
];
