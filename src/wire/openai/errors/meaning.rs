//! The meaning of an error answer: about the account, the key, the model, the length, the content, or something else.
//!
//! Codes and types come first. Texts are searched only where callers cannot put their own words into them, or from their
//! beginning: who makes a provider repeat "insufficient balance" must not raise an alarm. It does not know what follows.

use http::StatusCode;

use super::said::Said;
use super::words;
use crate::fault;

/// What an error answer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The operator's account may not spend anything.
    Account,
    /// The operator's key is not taken.
    Key,
    /// The account may not use the model.
    Model,
    /// The conversation is too long for the model.
    Length,
    /// The content is not wanted.
    Flagged,
    /// Something else.
    Other,
}

impl Said {
    /// What an answer with this status is about.
    pub(super) fn means(&self, status: StatusCode) -> Meaning {
        let is_model = || self.is_named(&MODEL_WORDS) || self.is_withheld() || self.has_text(&MODEL_TEXTS);
        let is_length = || self.is_about_length();
        match status.as_u16() {
            402 => Meaning::Account,
            _ if self.is_about_account(status) => Meaning::Account,
            401 | 403 if is_model() => Meaning::Model,
            401 => Meaning::Key,
            _ if self.is_named(&KEY_WORDS) => Meaning::Key,
            400 if self.begins_with(&KEY_BEGINNINGS) => Meaning::Key,
            403 if self.has_flagged_input || self.is_named(&FLAGGED_WORDS) || self.has_text(&FLAGGED_TEXTS) => {
                Meaning::Flagged
            }
            400 | 403 | 413 | 422 if is_length() => Meaning::Length,
            403 if self.has_text(&KEY_TEXTS) || self.says_nothing() => Meaning::Key,
            _ => Meaning::Other,
        }
    }

    /// True for words about the operator's plan, bills or credit, whatever they mean: callers do not read them.
    pub(super) fn speaks_of_account(&self) -> bool {
        self.has_text(&ACCOUNT_TOPICS)
    }

    pub(super) fn is_about_length(&self) -> bool {
        let is_of_context = || self.has_text(&CONTEXT_TEXTS) && self.has_text(&["token", "prompt", "input", "message"]);
        self.is_named(&TOO_LONG_WORDS) || self.has_text(&TOO_LONG_TEXTS) || is_of_context()
    }

    fn is_about_account(&self, status: StatusCode) -> bool {
        let is_googles_limit = || self.is_named(&["RESOURCE_EXHAUSTED"]) || self.wait.is_some();
        self.is_named(&ACCOUNT_WORDS)
            || match status.as_u16() {
                400 => self.begins_with(&ACCOUNT_BEGINNINGS),
                401 => self.has_text(&ACCOUNT_TEXTS),
                403 | 412 => self.has_text(&ACCOUNT_TEXTS) || self.has_text(&ACCOUNT_TOPICS),
                // Google says the same of a limit that ends in seconds.
                429 => self.has_text(&ACCOUNT_TEXTS) && !is_googles_limit(),
                _ => false,
            }
    }

    fn is_withheld(&self) -> bool {
        self.names().any(|word| MODEL_PREFIXES.iter().any(|prefix| word.starts_with(prefix)))
    }

    /// True where a 403 does not say what it is about: it has no words of its own, or is a text or a page and not an answer of
    /// the API.
    fn says_nothing(&self) -> bool {
        let is_empty = self.message.as_deref().is_none_or(words::is_status) && self.names().all(words::is_status);
        is_empty || !self.is_json
    }

    fn is_named(&self, words: &[&str]) -> bool {
        self.names().any(|name| words.iter().any(|word| word.eq_ignore_ascii_case(name)))
    }

    fn has_text(&self, texts: &[&str]) -> bool {
        self.message.as_deref().map(lowered).is_some_and(|message| texts.iter().any(|text| message.contains(text)))
    }

    fn begins_with(&self, texts: &[&str]) -> bool {
        let message = self.message.as_deref().map(lowered);
        message.is_some_and(|message| texts.iter().any(|text| message.starts_with(text)))
    }
}

fn lowered(message: &str) -> String {
    message.replace('`', "").to_ascii_lowercase()
}

/// Codes and types of accounts that may not spend anything: OpenAI's, Together.ai's, DeepSeek's, Anthropic's, Groq's,
/// Moonshot's, DashScope's, Volcengine's, Zhipu's, Google's and those of one-api.
const ACCOUNT_WORDS: [&str; 24] = [
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
const ACCOUNT_BEGINNINGS: [&str; 8] = [
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
const ACCOUNT_TEXTS: [&str; 14] = [
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
const ACCOUNT_TOPICS: [&str; 8] = [
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
const KEY_WORDS: [&str; 12] = [
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
const KEY_BEGINNINGS: [&str; 3] = ["api key not valid", "api key expired", "invalid api key"];

/// What a 403 about a key has in it.
const KEY_TEXTS: [&str; 9] = [
    "api key",
    "api-key",
    "api_key",
    "apikey",
    "authenticat",
    "authorization header",
    "credential",
    "access token",
    "invalid token",
];

/// Codes and types of content that a provider does not want.
const FLAGGED_WORDS: [&str; 6] = [
    fault::FLAGGED,
    "content_filter",
    "content_policy",
    "moderation_blocked",
    "moderation_error",
    "data_inspection_failed",
];

/// The same in words: OpenRouter's, Groq's and OpenAI's.
const FLAGGED_TEXTS: [&str; 5] =
    ["input was flagged", "requires moderation", "content policy", "safety system", "usage policies"];

/// Codes and types of errors about a conversation that is too long for the model: OpenAI's, and llama.cpp's
/// (ggml-org/llama.cpp#15780).
const TOO_LONG_WORDS: [&str; 3] = [fault::TOO_LONG, "exceed_context_size_error", "context_length_error"];

/// What servers without such codes write instead, in lower case and without backticks.
const TOO_LONG_TEXTS: [&str; 13] = [
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
const CONTEXT_TEXTS: [&str; 3] = ["context length", "context window", "context limit"];

/// Codes of models that are there, and not for this account: OpenAI's, Together.ai's, and Groq's for organisations and
/// projects.
const MODEL_WORDS: [&str; 2] = [fault::NO_MODEL, "model_not_available"];
const MODEL_PREFIXES: [&str; 1] = ["model_permission_blocked"];

/// What says the same without such a code, in lower case and without backticks.
const MODEL_TEXTS: [&str; 5] = [
    "missing scopes",
    "have access to model",
    "do not have access to it",
    "not allowed to sample from this model",
    "must be verified to use the model",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn means(status: u16, body: &str) -> Meaning {
        Said::read(body.as_bytes()).means(StatusCode::from_u16(status).unwrap())
    }

    #[test]
    fn an_account_that_may_not_spend_is_recognised_in_every_providers_words() {
        for (status, body) in [
            (429, r#"{"error":{"message":"x","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#),
            (400, r#"{"error":{"message":"x","type":"invalid_request_error","code":"billing_hard_limit_reached"}}"#),
            (429, r#"{"error":{"message":"x","type":"billing_not_active","param":null,"code":"billing_not_active"}}"#),
            (
                429,
                r#"{"error":{"message":"You exceeded your current quota, please check your plan and billing details."}}"#,
            ),
            (
                402,
                r#"{"error":{"message":"Insufficient Balance","type":"unknown_error","code":"invalid_request_error"}}"#,
            ),
            (402, r#"{"error":{"message":"Insufficient credits","code":402}}"#),
            (402, r#"{"error":{"message":"Credit limit exceeded","type":"credit_limit","param":null,"code":null}}"#),
            (402, ""),
            (402, "<html>Payment Required</html>"),
            (402, r#"{"detail":"x"}"#),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits."}}"#,
            ),
            (
                400,
                r#"{"error":{"message":"Organization has been restricted. Please reach out to support.","type":"invalid_request_error","code":"organization_restricted"}}"#,
            ),
            (
                403,
                r#"{"code":"The caller does not have permission","error":"Your newly created team doesn't have any credits yet."}"#,
            ),
            (
                429,
                r#"{"error":"Your team x has either used all available credits or reached its monthly spending limit."}"#,
            ),
            (
                412,
                r#"{"error":{"message":"Account x is suspended, possibly due to reaching the monthly spending limit or failure to pay past invoices"}}"#,
            ),
            (429, r#"{"error":{"message":"Your account is suspended","type":"exceeded_current_quota_error"}}"#),
            (403, r#"{"error":{"message":"Key limit exceeded (total limit).","code":403}}"#),
            (401, r#"{"error":{"message":"x","type":"insufficient_quota","code":401}}"#),
            (429, r#"{"detail":{"error":{"message":"x","code":"insufficient_quota"}}}"#),
            (429, r#"{"error":{"message":"x","error":{"type":"insufficient_quota"}}}"#),
            (
                403,
                r#"[{"error":{"code":403,"message":"x","status":"PERMISSION_DENIED","details":[{"reason":"BILLING_DISABLED"}]}}]"#,
            ),
        ] {
            assert_eq!(means(status, body), Meaning::Account, "{status} {body}");
        }
        for (status, body) in [
            (
                429,
                r#"{"error":{"code":429,"message":"You exceeded your current quota, please check your plan and billing details.","status":"RESOURCE_EXHAUSTED"}}"#,
            ),
            (429, r#"{"error":{"message":"Rate limit reached","type":"tokens","code":"rate_limit_exceeded"}}"#),
            (404, r#"{"error":{"message":"The model `insufficient balance` does not exist"}}"#),
            (400, r#"{"error":{"message":"Invalid value: 'your credit balance is too low'"}}"#),
            (500, r#"{"error":{"message":"insufficient balance of the tree"}}"#),
        ] {
            assert_eq!(means(status, body), Meaning::Other, "{status} {body}");
        }
    }

    #[test]
    fn a_403_is_about_keys_only_where_it_says_so_or_says_nothing() {
        for body in [
            "",
            "{}",
            "<html><head><title>403 Forbidden</title></head></html>",
            "RBAC: access denied",
            r#"{"error":{"message":"Forbidden","type":"forbidden","code":403}}"#,
            r#"{"error":{"message":"Incorrect API key provided: sk-1","code":"invalid_api_key"}}"#,
            r#"{"error":{"code":403,"message":"Your API key was reported as leaked.","status":"PERMISSION_DENIED"}}"#,
            r#"{"message":"Not authenticated"}"#,
            r#"{"detail":"Could not validate credentials"}"#,
        ] {
            assert_eq!(means(403, body), Meaning::Key, "{body}");
        }
        for body in [
            r#"{"error":{"message":"Prompt and max_tokens together are more than the context length of this model allows.","type":"invalid_request_error","param":"max_tokens","code":null}}"#,
            r#"{"error":{"message":"Input token count + max_tokens parameter must be less than the context length of the model being queried"}}"#,
            r#"{"error":{"message":"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048."}}"#,
            r#"{"error":{"message":"This model's maximum context length is 4096 tokens."}}"#,
            r#"{"error":{"message":"x","code":"context_length_exceeded"}}"#,
            "prompt_tokens + max_tokens must not be more than 8192",
        ] {
            assert_eq!(means(403, body), Meaning::Length, "{body}");
        }
        for body in [
            r#"{"error":{"code":403,"message":"x requires moderation. Your input was flagged for \"hate\". No API key.","metadata":{"reasons":["hate"],"flagged_input":"..."}}}"#,
            r#"{"error":{"code":403,"message":"x","metadata":{"flagged_input":"my api key"}}}"#,
            r#"{"error":{"message":"x","type":"invalid_request_error","code":"content_filter"}}"#,
            r#"{"error":{"message":"Your request was rejected by our safety system.","code":null}}"#,
            r#"{"error":{"message":"x","code":"content_policy_violation"}}"#,
        ] {
            assert_eq!(means(403, body), Meaning::Flagged, "{body}");
        }
        for body in [
            r#"{"error":{"message":"Country, region, or territory not supported","code":"unsupported_country_region_territory"}}"#,
            r#"{"error":{"message":"You are not allowed to list files of this kind","type":"permission_error"}}"#,
            r#"{"error":{"code":403,"message":"This method is not for you","status":"PERMISSION_DENIED"}}"#,
            r#"{"detail":"Only on weekdays"}"#,
            r#"{"error":"region_not_supported","message":"Not in your region"}"#,
        ] {
            assert_eq!(means(403, body), Meaning::Other, "{body}");
        }
    }

    #[test]
    fn a_401_is_about_the_key_and_other_statuses_only_where_they_say_so() {
        for (status, body) in [
            (401, ""),
            (401, r#"{"error":{"message":"This model's maximum context length is 4096 tokens."}}"#),
            (
                400,
                r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}"#,
            ),
            (400, r#"[{"error":{"code":400,"message":"API key expired.","status":"INVALID_ARGUMENT"}}]"#),
            (404, r#"{"error":{"message":"x","type":"authentication_error"}}"#),
            (500, r#"{"error":{"message":"x","code":"invalid_api_key"}}"#),
        ] {
            assert_eq!(means(status, body), Meaning::Key, "{status} {body}");
        }
        for (status, body) in [
            (400, r#"{"error":{"message":"Unknown field 'api key not valid'"}}"#),
            (404, r#"{"error":{"message":"No such file: api_key"}}"#),
            (422, r#"{"detail":"credentials are not allowed in `url`"}"#),
            (429, r#"{"error":{"message":"Rate limit of this api key reached"}}"#),
            (500, r#"{"error":{"message":"authentication service is down"}}"#),
        ] {
            assert_eq!(means(status, body), Meaning::Other, "{status} {body}");
        }
    }

    #[test]
    fn a_conversation_that_is_too_long_is_recognised_in_every_servers_words() {
        for body in [
            r#"{"error":{"message":"x","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
            r#"{"object":"error","message":"This model's maximum context length is 16384 tokens. However, you requested 122946 tokens","type":"BadRequestError","param":null,"code":400}"#,
            r#"{"error":{"message":"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 2019 `inputs` tokens and 30 `max_new_tokens`","type":"invalid_request_error","param":"max_tokens","code":null}}"#,
            r#"{"error":"Input validation error: `inputs` must have less than 1024 tokens. Given: 1168","error_type":"validation"}"#,
            r#"{"object":"error","message":"The input (61709 tokens) is longer than the model's context length (40960 tokens).","type":"BadRequestError","param":null,"code":400}"#,
            r#"{"error":{"code":400,"message":"the request exceeds the available context size, try increasing it","type":"exceed_context_size_error","n_prompt_tokens":4390,"n_ctx":4096}}"#,
            r#"[{"error":{"code":400,"message":"The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}]"#,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 200251 tokens > 200000 maximum"}}"#,
            r#"{"detail":"Your prompt does not fit into the context window"}"#,
        ] {
            assert_eq!(means(400, body), Meaning::Length, "{body}");
        }
        for body in [
            r#"{"error":{"message":"`n` must be less than 5","code":"invalid_value"}}"#,
            r#"{"error":{"message":"Unknown parameter: 'context_length'"}}"#,
        ] {
            assert_eq!(means(400, body), Meaning::Other, "{body}");
        }
    }

    #[test]
    fn a_model_that_the_account_may_not_use_says_nothing_about_the_key() {
        for body in [
            r#"{"error":{"message":"Project `proj_abcdefgh1234` does not have access to model `gpt-5-pro`","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#,
            r#"{"error":{"message":"The model `o9` does not exist or you do not have access to it.","type":"invalid_request_error","code":null}}"#,
            r#"{"error":{"message":"x","type":"permissions_error","code":"model_permission_blocked_project"}}"#,
            r#"{"error":{"message":"You have insufficient permissions for this operation. Missing scopes: api.model.images.request.","code":null}}"#,
            r#"{"error":{"message":"Unable to access model. Please visit the pricing page.","type":"invalid_request_error","code":"model_not_available"}}"#,
        ] {
            assert_eq!((means(403, body), means(401, body)), (Meaning::Model, Meaning::Model), "{body}");
        }
    }
}
