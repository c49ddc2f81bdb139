//! The 404 for a model that none of a route's targets serves, with the models that the route does serve.
//!
//! A target that is down still counts: an outage is no reason to call a model unknown.

use crate::config::plan::{Pattern, TargetPlan};
use crate::model::fault::{Fault, RequestFault};

/// The most names in a list.
const MAX_NAMES: usize = 40;

/// The most characters of a list, and of the model's name.
const MAX_LIST: usize = 600;
const MAX_MODEL: usize = 100;

/// The refusal of `model`.
pub(super) fn fault<'a>(model: &str, targets: impl Iterator<Item = &'a TargetPlan>) -> Fault {
    let shown: String = model.chars().take(MAX_MODEL).collect();
    RequestFault::NoModel { model: shown.into(), known: known(targets).into() }.into()
}

/// The models that may be asked for, in words: `Available: gpt-*, o1* (openai).`
fn known<'a>(targets: impl Iterator<Item = &'a TargetPlan>) -> String {
    let lists: Vec<String> =
        targets.map(|target| format!("{} ({})", available(target), target.provider.name)).collect();
    format!("Available: {}.", lists.join("; "))
}

fn available(target: &TargetPlan) -> String {
    let named = list(target.named_models());
    // One that takes any model leaves out only those of other providers: the model is one of theirs.
    let others = match target.provider.models.is_empty() {
        true => Some(format!("any name except {}", list(target.foreign.iter()))),
        false => None,
    };
    [Some(named), others].into_iter().flatten().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(", ")
}

fn list<'a>(patterns: impl Iterator<Item = &'a Pattern>) -> String {
    let all: Vec<String> = patterns.map(ToString::to_string).collect();
    let mut length = 0;
    let fits = |name: &&String| {
        length += name.len() + 2;
        length <= MAX_LIST
    };
    let mut shown: Vec<String> = all.iter().take(MAX_NAMES).take_while(fits).cloned().collect();
    if all.len() > shown.len() {
        shown.push(format!("and {} more", all.len() - shown.len()));
    }
    shown.join(", ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::config::{self, Variables};

    fn list_of(models: &str) -> String {
        let text = format!(
            "defaults = false\n[provider.own]\nkind = \"openai\"\nurl = \"http://127.0.0.1:1/v1\"\nmodels = {models}\n\
             [provider.others]\nkind = \"openai\"\nurl = \"http://127.0.0.1:2/v1\"\nmodels = [\"x-*\", \"y\"]\n\
             [model_map.m]\n\"z\" = \"a\"\n\"*\" = \"b\"\n\
             [route.r]\npaths = [\"/r\"]\ncaller = \"openai\"\ncall = \"chat\"\n\
             targets = [\"own\", {{ provider = \"own\", model_map = \"m\" }}]\n"
        );
        let plan = config::load(Some(("x.toml", &text)), &Variables::default()).unwrap();
        known(plan.routes[0].targets.iter())
    }

    #[test]
    fn the_list_names_what_may_be_asked_for_and_has_an_end() {
        for (models, wanted) in [
            (r#"["a", "b-*"]"#, "Available: a, b-* (own); a, b-*, z (own)."),
            ("[]", "Available: any name except x-*, y (own); z, any name except x-*, y (own)."),
        ] {
            assert_eq!(list_of(models), wanted);
        }
        let many: Vec<String> = (0..100).map(|number| format!("\"model-{number}\"")).collect();
        assert!(list_of(&format!("[{}]", many.join(", "))).ends_with("model-39, and 61 more (own)."));
        let long: Vec<String> = (0..9).map(|number| format!("\"{number}{}\"", "x".repeat(99))).collect();
        let list = list_of(&format!("[{}]", long.join(", ")));
        assert!(list.len() < 1_300 && list.ends_with(", and 5 more (own)."), "{list}");
    }
}
