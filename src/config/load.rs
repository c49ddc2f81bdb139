//! Load: merges defaults, file and environment, and reads the result; the entry points of `config`.
//!
//! It knows no key but `defaults`, which selects the base layer.

use std::path::Path;
use std::sync::Arc;

use crate::config::engine::document::{Table, Value};
use crate::config::engine::effective::Effective;
use crate::config::engine::environment::Variables;
use crate::config::engine::problem::{Findings, Layer, Origin, Problem, Problems, Report};
use crate::config::engine::reader::Section;
use crate::config::engine::record::KnownKey;
use crate::config::engine::{document, environment, remarks, text_file, value};
use crate::config::models_file;
use crate::config::plan::{Environment, Plan, Prices};
use crate::config::prompt_files;
use crate::config::tables::policies::Policies;
use crate::config::tables::routes::Context;
use crate::config::tables::targets::TargetContext;
use crate::config::tables::{
    auth, caching, costs, edge, explaining, flags, general, guards, idempotency, jobs, labels, limits, listing,
    open_keys, prompts, providers, recording, routes, sentry, tracing, tunnels, variants,
};
use crate::model::switch::FlagKind;

/// The defaults: the file in the repository is what the program carries, so the two cannot differ.
pub(super) const DEFAULTS: &str = include_str!("../../config/gateway.toml");
const DEFAULTS_NAME: &str = "built-in config/gateway.toml";

/// Read when no file is named, if it exists.
pub(super) const USUAL_FILE: &str = "config/gateway.toml";

/// More than any configuration takes.
const MAX_BYTES: u64 = 16 << 20;

/// The folder of prompts where the config names none, beside it.
pub(super) const USUAL_PROMPTS: &str = "prompts";

/// The variables' file.
pub(super) const DOTENV: &str = "./.env";

/// The tables that `defaults = false` takes away.
const OPTIONAL_DEFAULTS: [&str; 6] = ["provider", "route", "model_map", "price", "limit", "prompt"];

/// A plan and where it came from.
#[derive(Debug)]
pub struct Loaded {
    /// What the configuration means.
    pub plan: Plan,
    /// The file's name, or `built-in defaults`.
    pub source: String,
}

/// Reads the configuration of this process: the environment, `.env` in the working directory, and a file. An explicit
/// file must exist; without one, `config/gateway.toml` is read if it is there.
pub fn load_from(path: Option<&Path>) -> Result<Loaded, Problems> {
    load_with(path, &Variables::from_process(Path::new(DOTENV)), &[])
}

/// The same for a world in which nothing is sent to anybody: no secret is missing there. Keys may be set to other values, `limit.ai.rate`
/// to `20/min`; they win over file and environment.
pub fn load_assumed(path: Option<&Path>, set: &[(String, String)]) -> Result<Loaded, Problems> {
    load_with(path, &Variables::from_process(Path::new(DOTENV)).with_all_secrets(), set)
}

fn load_with(path: Option<&Path>, variables: &Variables, set: &[(String, String)]) -> Result<Loaded, Problems> {
    let path = file_for(path);
    let beside = beside(path);
    let Some(path) = path else {
        return load_beside(None, Some(beside), variables, set)
            .map(|plan| Loaded { plan, source: "built-in defaults".into() });
    };
    let source = path.display().to_string();
    match text_file::bounded(path, MAX_BYTES) {
        Ok(text) => {
            load_beside(Some((&source, &text)), Some(beside), variables, set).map(|plan| Loaded { plan, source })
        }
        Err(error) => {
            let origin = Origin::Whole(source.into());
            Err(Problems::new(vec![Problem {
                origin,
                key: String::new(),
                message: format!("cannot read it: {error}"),
            }]))
        }
    }
}

/// The file that is read: the one that is named, or the usual one if it is there.
pub(super) fn file_for(named: Option<&Path>) -> Option<&Path> {
    let usual = Path::new(USUAL_FILE);
    named.or_else(|| usual.exists().then_some(usual))
}

/// The folder of the file that is read, at which the paths of prompts begin; the usual file's where none is read.
pub(super) fn beside(file: Option<&Path>) -> &Path {
    file.unwrap_or(Path::new(USUAL_FILE)).parent().unwrap_or(Path::new(""))
}

/// Reads a configuration: a file by its name and text, if there is one, and variables. Everything that is wrong is
/// reported at once.
///
/// Files named by keys that end in `_file` are read on the way; nothing else outside the arguments is.
pub fn load(file: Option<(&str, &str)>, variables: &Variables) -> Result<Plan, Problems> {
    load_beside(file, None, variables, &[])
}

/// The same with the prompts in the folder that the configuration names, whose path begins at `beside`.
fn load_beside(
    file: Option<(&str, &str)>,
    beside: Option<&Path>,
    variables: &Variables,
    set: &[(String, String)],
) -> Result<Plan, Problems> {
    let report = Report::default();
    report.extend(variables.problems().iter().cloned());
    let mut warnings = Vec::new();
    let (mut tree, mut broken) = document::parse(Layer::Defaults, DEFAULTS_NAME, DEFAULTS);
    broken.extend(prompt_files::ship(&mut tree));
    let name = file.map_or(DEFAULTS_NAME, |(name, _)| name);
    let folder = beside.unwrap_or(Path::new(""));
    let user = file.map(|(name, text)| {
        let (mut user, problems) = document::parse(Layer::File, name, text);
        broken.extend(problems);
        auth::unfold(&mut user);
        report.extend(prompt_files::fold(&mut user, folder));
        user
    });
    let defaults = user.as_ref().and_then(|user| user.find("defaults")).map(|node| &node.value);
    let has_defaults = !matches!(defaults, Some(Value::Bool(false)));
    if !has_defaults {
        for key in OPTIONAL_DEFAULTS {
            tree.remove(key);
        }
    }
    let (mut models, problems) = models_file::layer(user.as_ref(), has_defaults, folder);
    broken.extend(problems);
    models_file::keep_known_providers(&mut models, &[Some(&tree), user.as_ref()]);
    let mut clashes = Vec::new();
    for layer in [Some(models), user].into_iter().flatten() {
        tree.merge(layer, "", &mut clashes);
    }
    for (key, node) in clashes {
        report.add(&node.origin, key, value::table_wanted(&node.value));
    }
    if let Some(beside) = beside {
        broken.extend(prompt_files::graft(&mut tree, beside));
    }
    environment::overlay(&mut tree, variables, &mut warnings);
    for (key, text) in set {
        if let Err(message) = environment::set(&mut tree, key, text) {
            report.add(&Origin::Set, key.clone(), message);
        }
    }
    let mut plan = read(&tree, Origin::Whole(name.into()), variables, &report, warnings);
    let Findings { mut problems, known, secrets } = report.into_findings();
    plan.effective = Effective::of(&tree, &known, secrets);
    // A value that was repaired after a mistake of syntax is a guess: what is wrong with it is the syntax.
    problems.retain(|problem| !broken.iter().any(|syntax| document::same_line(&syntax.origin, &problem.origin)));
    problems.extend(broken);
    match problems.is_empty() {
        true => Ok(plan),
        false => Err(Problems::new(problems)),
    }
}

/// What the readers ask for when they read the default file with all that it shows.
pub(super) fn known() -> KnownKey {
    let record = |texts: [&str; 2], known: KnownKey| {
        let tree = defaults(texts).0;
        let report = Report::after(known);
        // Files that are only shown do not exist; what is wrong with the values does not change which keys there are.
        read(&tree, Origin::Whole(DEFAULTS_NAME.into()), &Variables::default(), &report, Vec::new());
        report.into_findings().known
    };
    let all = [DEFAULTS, models_file::SHIPPED].map(remarks::uncommented);
    let known = record([&all[0], &all[1]], KnownKey::default());
    record([&known.bare(), ""], known)
}

/// The layers of the program: its two files with these texts.
fn defaults([gateway, models]: [&str; 2]) -> (Table, Vec<Problem>) {
    let (mut tree, mut problems) = document::parse(Layer::Defaults, DEFAULTS_NAME, gateway);
    let (models, wrong) = document::parse(Layer::Defaults, models_file::SHIPPED_NAME, models);
    problems.extend(wrong);
    tree.merge(models, "", &mut Vec::new());
    (tree, problems)
}

/// Reads the whole tree. The plan counts only when nothing was reported.
fn read(tree: &Table, origin: Origin, variables: &Variables, report: &Report, mut warnings: Vec<String>) -> Plan {
    let mut root = Section::root(tree, origin, report);
    let environment = root.required("environment", value::word("an environment", general::ENVIRONMENTS));
    let environment = environment.unwrap_or(Environment::Development);
    let production = root.node("environment").map_or(root.origin(), |node| &node.origin).clone();
    let default_tenant: Arc<str> = root.required("default_tenant", value::text).unwrap_or_default().into();
    root.optional("defaults", value::boolean);
    let server = general::server(&mut root, report);
    let log = general::log(&mut root);
    let tracing = tracing::read(&mut root, &log.service);
    let sentry = sentry::read(&mut root);
    let record = recording::read(&mut root, variables, report);
    let store = general::store(&mut root, variables, report);
    let health = general::health(&mut root);
    let edge = edge::read(&mut root);
    let timeouts = general::timeouts(&mut root);
    let attempts = root.required("attempts", value::few(1)).unwrap_or_default();
    let policies = Policies::read(&mut root, None);
    let tunnel = tunnels::read(&mut root, None);
    let models = costs::models(&mut root);
    let maps = general::model_maps(&mut root, report);
    let prices = general::prices(&mut root, report);
    let longest_comeback = policies.quota.longest;
    let defaults = providers::Defaults { timeouts, policies, prices: prices.clone() };
    let providers = providers::read(&mut root, &defaults, variables, report, &mut warnings);
    let caching = caching::read(&mut root, environment, store.redis_url.as_ref(), variables, report);
    let auth = auth::read(&mut root, variables, report, &mut warnings);
    let guards = guards::read(&mut root, report);
    let variants = variants::read(&mut root, report);
    let prompts = prompts::read(&mut root, report, &mut warnings);
    let listing = listing::providers(&mut root);
    let jobs = jobs::read(&mut root, caching.plan.secret.as_ref(), variables, report);
    let context = Context {
        timeouts,
        tunnel: &tunnel,
        targets: TargetContext { listing: &listing, providers: &providers, maps: &maps, report },
        caching: &caching,
        auth: &auth,
        guards: &guards,
        variants: &variants,
        prompts: &prompts,
        jobs: &jobs,
        report,
    };
    let routes = routes::read(&mut root, &context);
    // Where secrets are assumed nobody calls from outside.
    if !variables.has_all_secrets() {
        auth::check_doors(&auth, environment, &server, &routes, &production, report, &mut warnings);
        warnings.extend(open_keys::warning(environment, server.listen, &routes));
    }
    let jobs = jobs.settle(&routes, store.address.as_ref(), report);
    let limits = limits::read(&mut root, variables, environment, report);
    let explain = explaining::read(&mut root);
    let idempotency = idempotency::read(&mut root);
    let guarded = providers.plans.iter().map(|provider| FlagKind::Provider.key(&provider.name));
    let guarded: Vec<Arc<str>> = guarded.chain(variants.names().map(|name| FlagKind::Variant.key(name))).collect();
    let flags = flags::read(&mut root, &guarded, report);
    let usage = costs::usage(&mut root);
    let budgets = costs::budgets(&mut root, report);
    let metrics = labels::read(&mut root);
    root.close();
    let prices = Prices::new(prices, providers.prices);
    let providers = providers.plans;
    Plan {
        server,
        log,
        store,
        health,
        edge,
        environment,
        default_tenant,
        auth,
        providers,
        routes,
        attempts,
        longest_wait: timeouts.longest,
        longest_comeback,
        cache: caching.plan,
        explain,
        idempotency,
        jobs,
        limits,
        models,
        prices,
        prompts,
        flags,
        usage,
        tracing,
        record,
        sentry,
        budgets,
        metrics,
        warnings,
        effective: Effective::default(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    /// Each key that takes a secret, with one of its form, and what of it may not show.
    const SECRETS: [(&str, &str, &str); 6] = [
        ("auth.admin_token", "canary-0123456789-0123456789-0123", "canary"),
        ("auth.jwt_secret", "canary-0123456789-0123456789-0123", "canary"),
        ("jobs.redis_url", "redis://:canary@127.0.0.1:6379", "canary"),
        ("sentry.dsn", "https://canary@sentry.example/1", "canary"),
        ("store.redis_url", "redis://:canary@127.0.0.1:6379", "canary"),
        ("tracing.headers", "x-key=canary", "canary"),
    ];

    fn written(key: &str, value: &str) -> String {
        let (table, key) = key.rsplit_once('.').unwrap();
        format!("[{table}]\n{key} = '{value}'\n")
    }

    fn plan(text: &str, variables: &[(&str, &str)]) -> Plan {
        let pairs = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let variables = Variables::new(pairs.collect(), std::collections::BTreeMap::new());
        load(Some(("x.toml", text)), &variables).unwrap_or_else(|wrong| panic!("{wrong}"))
    }

    fn dump(plan: &Plan) -> Json {
        serde_json::to_value(plan.effective.dump("salt")).unwrap()
    }

    /// What a dump and `check --against` show of a key, and what a plan's `Debug` form has.
    fn all_that_shows(plan: &Plan) -> String {
        let changes = Effective::default().dump("").changes(&plan.effective.dump(""));
        let changes = changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        format!("{}\n{changes}\n{plan:?}", dump(plan))
    }

    #[test]
    fn every_key_of_a_secret_is_hidden_wherever_keys_are_shown() {
        assert_eq!(known().secret_keys(""), SECRETS.map(|(key, ..)| key), "each key that takes a secret is tried here");
        for (key, value, hidden) in SECRETS {
            let plan = plan(&written(key, value), &[]);
            let shown = all_that_shows(&plan);
            assert!(!shown.contains(hidden), "{key}: {shown}");
            assert!(dump(&plan)[key]["secret"].is_string(), "{key} is compared by a mark");
        }
    }

    #[test]
    fn a_secret_in_a_variable_is_compared_under_its_own_key() {
        let text = "[cache]\nsecret_env = 'OWN'\n[auth]\nadmin_token_env = 'OTHER'\n";
        let long = "canary-0123456789-0123456789-0123";
        let plan = plan(
            text,
            &[("OWN", long), ("OTHER", long), ("OPENAI_API_KEY", "canary"), ("REDIS_URL", "redis://:canary@h")],
        );
        let shown = all_that_shows(&plan);
        assert!(!shown.contains("canary"), "{shown}");
        for key in ["cache.secret", "auth.admin_token", "provider.openai.key", "store.redis_url"] {
            assert!(dump(&plan)[key]["secret"].is_string(), "{key}");
        }
        assert_eq!(dump(&plan)["cache.secret_env"], "OWN");
        assert_eq!(dump(&plan)["provider.openai.key_env"], "OPENAI_API_KEY");
    }

    #[test]
    fn keys_that_are_only_called_like_secrets_are_shown() {
        let text =
            "[limit.x]\nkey = ['user', 'tenant']\nrate = '1/min'\n[budget.y]\nkey = 'all'\namount = 1.0\nper = 'day'\n";
        let dump = dump(&plan(text, &[]));
        assert_eq!((&dump["limit.x.key"], &dump["budget.y.key"]), (&json!("user, tenant"), &json!("all")));
    }

    #[test]
    fn what_the_default_file_shows_is_shown_but_for_secrets() {
        let all = [DEFAULTS, models_file::SHIPPED].map(remarks::uncommented);
        let (tree, _) = defaults([&all[0], &all[1]]);
        let report = Report::default();
        read(&tree, Origin::Whole(DEFAULTS_NAME.into()), &Variables::default(), &report, Vec::new());
        let effective = Effective::of(&tree, &report.into_findings().known, []);
        let all = serde_json::to_value(effective.dump("")).unwrap();
        let hidden = all.as_object().unwrap().iter().filter(|(_, shown)| shown.is_object()).map(|(key, _)| key);
        let hidden: Vec<&String> = hidden.collect();
        assert_eq!(hidden, SECRETS.map(|(key, ..)| key));
    }

    #[test]
    fn a_rate_that_is_set_wins_over_those_of_environments_and_variables() {
        let variables = Variables::new([("RATE_LIMIT_MAX_REQUESTS".to_owned(), "9".to_owned())].into(), [].into());
        let rates = |set: &[(String, String)]| {
            let plan = load_beside(None, None, &variables, set).unwrap();
            let rate = |name: &str| plan.limits.rules.iter().find(|rule| &*rule.name == name).unwrap().rate.count;
            [rate("general"), rate("ai")]
        };
        let set = ["general", "ai"].map(|name| (format!("limit.{name}.rate"), "7/min".to_owned()));
        assert_eq!(rates(&[]), [9, 300]);
        assert_eq!(rates(&set), [7, 7]);
    }
}
