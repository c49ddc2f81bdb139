//! `tidegate webhook-secret TENANT`: prints what a tenant checks the signatures of its webhooks with.
//!
//! It opens no socket. The secret goes to the standard output alone, so that it can be piped to where it belongs.

use std::path::Path;
use std::process::ExitCode;

use super::loading::load;
use super::output::put;
use super::serve::end;
use crate::config::plan::WebhookPlan;

/// Prints the tenant's secret; while secrets are changed one line for each, the newest first.
pub fn run(file: Option<&Path>, tenant: &str) -> ExitCode {
    let Some(loaded) = load(file) else { return ExitCode::FAILURE };
    end(secrets(&loaded.plan.jobs.webhooks, tenant).map_err(String::from).and_then(|text| put(&text)))
}

fn secrets(plan: &WebhookPlan, tenant: &str) -> Result<String, &'static str> {
    if tenant.is_empty() {
        return Err("TENANT is empty: use the name of the tenant whose jobs have webhooks");
    }
    if plan.secrets.is_empty() {
        return Err("no webhook is signed, because there is no secret: set jobs.webhook_secret_env or \
                    jobs.webhook_secret_file (docs/jobs.md)");
    }
    Ok(plan.secrets.iter().map(|secret| secret.of_tenant(tenant).expose() + "\n").collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::webhook::SigningSecret;

    #[test]
    fn each_secret_of_the_config_makes_one_of_the_tenant() {
        let main = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let plan = WebhookPlan { secrets: vec![main.clone()], ..WebhookPlan::default() };
        let text = secrets(&plan, "pizza").unwrap();
        assert_eq!(SigningSecret::parse(text.trim_end()).unwrap(), main.of_tenant("pizza"));
        assert_ne!(text, secrets(&plan, "sushi").unwrap());
        let both = WebhookPlan { secrets: vec![main.of_tenant("new"), main], ..WebhookPlan::default() };
        assert_eq!(secrets(&both, "pizza").unwrap().lines().nth(1), Some(text.trim_end()));
        assert!(secrets(&plan, "").unwrap_err().contains("TENANT"));
        assert!(secrets(&WebhookPlan::default(), "pizza").unwrap_err().contains("jobs.webhook_secret_env"));
    }
}
