//! Classifies an error response: about the account, the key, the model, the length, the content, or something else.
//!
//! Codes and types come first. Texts are searched only where callers cannot insert their own words, or from their
//! beginning: a caller who makes a provider echo "insufficient balance" must not raise an alarm. It does not know
//! what follows.

use http::StatusCode;

use super::lists::{
    ACCOUNT_BEGINNINGS, ACCOUNT_TEXTS, ACCOUNT_TOPICS, ACCOUNT_WORDS, CONTEXT_TEXTS, FLAGGED_TEXTS, FLAGGED_WORDS,
    KEY_BEGINNINGS, KEY_TEXTS, KEY_WORDS, MODEL_PREFIXES, MODEL_TEXTS, MODEL_WORDS, TOO_LONG_TEXTS, TOO_LONG_WORDS,
    UNKNOWN_FIELD_TEXTS,
};
use super::said::ErrorBody;
use super::words;

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
    /// The request has a field that this provider does not know.
    UnknownField,
    /// Something else.
    Other,
}

impl ErrorBody {
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
            400 | 422 if self.has_text(&UNKNOWN_FIELD_TEXTS) => Meaning::UnknownField,
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
                429 if self.has_text(&["insufficient_quota"]) => true,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn means(status: u16, body: &str) -> Meaning {
        ErrorBody::read(body.as_bytes()).means(StatusCode::from_u16(status).unwrap())
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
