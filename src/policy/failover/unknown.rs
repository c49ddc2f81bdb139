//! The refusal of a model that none of a route's targets has, with the models that may be asked for instead.
//!
//! It does not know whether a target is out at the moment: that is no reason to call a model unknown.

use super::Target;
use crate::config::plan::TargetPlan;
use crate::fault::{Fault, RequestFault};

/// The most names that are listed of each target.
const MAX_NAMES: usize = 40;

/// The most characters of the list of a target, and of the model's name.
const MAX_LIST: usize = 600;
const MAX_MODEL: usize = 100;

/// The refusal of `model`.
pub(super) fn fault(model: &str, targets: &[Target]) -> Fault {
    let shown: String = model.chars().take(MAX_MODEL).collect();
    let known = known(targets.iter().map(|target| &target.plan));
    RequestFault::NoModel { model: shown.into(), known: known.into() }.into()
}

/// The models that may be asked for, in words: `Available: gpt-*, o1* (openai).`
fn known<'a>(targets: impl Iterator<Item = &'a TargetPlan>) -> String {
    let lists: Vec<String> = targets.map(|target| format!("{} ({})", list(target), target.provider.name)).collect();
    format!("Available: {}.", lists.join("; "))
}

fn list(target: &TargetPlan) -> String {
    let rest = target.takes_any().then(|| "any model that is not another provider's".to_owned());
    let all: Vec<String> = target.named_models().map(ToString::to_string).chain(rest).collect();
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
            "[provider.own]\nkind = \"openai\"\nurl = \"http://127.0.0.1:1/v1\"\nmodels = {models}\n\
             [route.openai-chat]\ntargets = [\"own\"]\n"
        );
        let plan = config::load(Some(("x.toml", &text)), &Variables::default()).unwrap();
        let route = plan.routes.iter().find(|route| &*route.name == "openai-chat").unwrap();
        known(route.targets.iter())
    }

    #[test]
    fn the_list_names_what_may_be_asked_for_and_has_an_end() {
        for (models, wanted) in [
            (r#"["a", "b-*"]"#, "Available: a, b-* (own)."),
            ("[]", "Available: any model that is not another provider's (own)."),
        ] {
            assert_eq!(list_of(models), wanted);
        }
        let many: Vec<String> = (0..100).map(|number| format!("\"model-{number}\"")).collect();
        assert!(list_of(&format!("[{}]", many.join(", "))).ends_with("model-39, and 60 more (own)."));
        let long: Vec<String> = (0..9).map(|number| format!("\"{number}{}\"", "x".repeat(99))).collect();
        let list = list_of(&format!("[{}]", long.join(", ")));
        assert!(list.len() < 700 && list.ends_with(", and 4 more (own)."), "{list}");
    }
}
