//! Webhooks: reads how the ends of jobs are told (`jobs.webhook_*`).
//!
//! It does not know what is told.

use crate::config::engine::environment::Variables;
use crate::config::engine::problem::Report;
use crate::config::engine::reader::Section;
use crate::config::engine::value;
use crate::config::plan::WebhookPlan;
use crate::config::tables::general;
use crate::model::webhook_url::WebhookUrls;
use crate::wire::webhook::SigningSecret;

/// The keys that name where the secret is, and the one under which it is hidden.
const SECRET: [&str; 3] = ["webhook_secret_env", "webhook_secret_file", "webhook_secret"];

/// The keys of `[jobs]` that begin with `webhook_`.
pub(super) fn read(section: &mut Section<'_>, variables: &Variables, report: &Report) -> WebhookPlan {
    let named = general::named_secret(section, SECRET, variables, report);
    let secrets = named.map(|(key, text)| {
        let secrets: Result<Vec<_>, _> = text.expose().split_whitespace().map(SigningSecret::parse).collect();
        secrets.unwrap_or_else(|fault: &str| {
            section.problem(key, format!("the secret that it names {fault}"));
            Vec::new()
        })
    });
    let allows_http = section.required("webhook_http", value::boolean).unwrap_or_default();
    let allows_private = section.required("webhook_private", value::boolean).unwrap_or_default();
    WebhookPlan { urls: WebhookUrls { allows_http, allows_private }, secrets: secrets.unwrap_or_default() }
}
