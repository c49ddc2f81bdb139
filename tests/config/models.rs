//! Prices, lists of models and model maps: the file that the program carries, and a newer one in its place.

use std::fs;
use std::path::{Path, PathBuf};

use tidegate::config::load_from;
use tidegate::config::plan::{ModelChoice, Plan};
use tidegate::config::watch::Watch;

use super::{KEYS, MODELS, plan, provider, route};

/// A folder with a config file, removed with it.
struct Place(PathBuf);

impl Place {
    fn new(test: &str, config: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("tidegate-models-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let place = Self(folder);
        place.write("gateway.toml", config);
        place
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }

    fn load(&self) -> Result<Plan, String> {
        let told = |problems: String| problems.replace(&format!("{}/", self.0.display()), "");
        let loaded = load_from(Some(&self.0.join("gateway.toml")));
        loaded.map(|loaded| loaded.plan).map_err(|problems| told(problems.to_string()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a million tokens of a model's prompt cost at a provider, in millionths of a dollar, and whether somebody has said so.
fn price(plan: &Plan, provider: &str, model: &str) -> (u64, bool) {
    let quote = plan.prices.of(provider, model);
    (quote.price.input, !quote.is_default)
}

#[test]
fn the_models_of_today_have_prices_and_the_file_says_of_which_day() {
    let plan = plan("", KEYS);
    assert_eq!(plan.models.date.unwrap().to_string(), "2026-11-30");
    for (provider, model, millionths) in [
        ("openai", "gpt-6.2-sol", 2_000_000),
        ("openai", "gpt-6.1-terra-2026-10-26", 1_000_000),
        ("openai", "gpt-5-mini", 250_000),
        ("openai", "gpt-4-turbo", 10_000_000),
        ("openai", "gpt-4.1-nano", 100_000),
        ("openai", "text-embedding-3-small", 20_000),
        ("openai", "omni-moderation-latest", 0),
        ("together", "openai/gpt-oss-120b", 150_000),
        ("together", "moonshotai/Kimi-K3", 3_000_000),
        ("anthropic", "claude-opus-5-5", 4_000_000),
        ("anthropic", "claude-opus-4-5", 5_000_000),
        ("anthropic", "claude-opus-4-1-20250805", 15_000_000),
    ] {
        assert_eq!(price(&plan, provider, model), (millionths, true), "{model}");
    }
    assert_eq!(price(&plan, "openai", "gpt-7"), (1_000_000, false));
}

/// Every model that a map or a route names by itself.
#[test]
fn every_model_that_the_defaults_name_has_a_price() {
    let plan = plan("", &[KEYS, &[("ANTHROPIC_API_KEY", "a")]].concat());
    let maps: toml::Table = toml::from_str(MODELS).unwrap();
    for (name, map) in maps["model_map"].as_table().unwrap() {
        let provider = name.rsplit('-').next().unwrap();
        for to in map.as_table().unwrap().values() {
            let to = to.as_str().unwrap();
            assert!(price(&plan, provider, to).1, "{name}: {to}");
        }
    }
    for route in &plan.routes {
        for target in &route.targets {
            for model in [&target.model, &route.model].into_iter().flatten() {
                if let ModelChoice::AsAsked = target.choose(Some(model)) {
                    assert!(price(&plan, &target.provider.name, model).1, "{}: {model}", route.name);
                }
            }
        }
    }
}

#[test]
fn the_users_file_wins_over_both_files_of_defaults_key_by_key() {
    let plan = plan("[price.gpt-4]\ninput = 1.5\n[model_map.together-to-openai]\n'*' = 'gpt-4o'\n", KEYS);
    let quote = plan.prices.of("openai", "gpt-4").price;
    assert_eq!((quote.input, quote.output), (1_500_000, 60_000_000));
    let fallback = &route(&plan, "openai-chat").targets[1];
    assert_eq!(fallback.choose(Some("meta-llama/Llama-3-8b-chat-hf")), ModelChoice::Replace("gpt-3.5-turbo".into()));
    assert_eq!(fallback.choose(Some("Qwen/any")), ModelChoice::Replace("gpt-4o".into()));
}

#[test]
fn a_newer_file_takes_the_place_of_the_built_in_one_and_the_users_file_still_wins() {
    let place = Place::new(
        "newer",
        "[models]\nfile = 'new.toml'\n[price.b]\ninput = 7.0\n[provider]\n\
         openai.requires_key = false\ntogether.requires_key = false\n",
    );
    place.write(
        "new.toml",
        "[models]\ndate = '2027-02-01'\n[price]\na = { input = 3.0, output = 4.0 }\nb = { input = 5.0, output = 6.0 }\n\
         [provider.openai]\nmodels = ['a', 'b']\n[provider.later]\nmodels = ['c']\n\
         [model_map.together-to-openai]\n'x/*' = 'a'\n",
    );
    let plan = place.load().unwrap();
    assert_eq!(plan.models.date.unwrap().to_string(), "2027-02-01");
    let found = ["a", "b", "gpt-4"].map(|model| price(&plan, "openai", model));
    assert_eq!(found, [(3_000_000, true), (7_000_000, true), (1_000_000, false)], "the price of any stays");
    assert_eq!(provider(&plan, "openai").models.len(), 2);
    let fallback = &route(&plan, "openai-chat").targets[1];
    let choices = ["x/y", "Qwen/any"].map(|model| fallback.choose(Some(model)));
    assert_eq!(choices, [ModelChoice::Replace("a".into()), ModelChoice::NotHere], "the map is the newer one, whole");
    assert!(plan.providers.iter().all(|provider| &*provider.name != "later"), "nobody but the list knows it");
}

#[test]
fn a_newer_file_with_a_price_of_any_model_has_the_last_word_on_it() {
    let place = Place::new("any", "[models]\nfile = 'new.toml'\n");
    place.write("new.toml", "[price]\n'*' = { input = 9.0, output = 9.0 }\n");
    let quote = place.load().unwrap().prices.of("openai", "gpt-4");
    assert_eq!((quote.price.input, quote.is_default, quote.price.max_answer), (9_000_000, true, None));
}

#[test]
fn newer_prices_without_a_date_have_not_that_of_the_older_ones() {
    let place = Place::new("undated", "[models]\nfile = 'new.toml'\n");
    place.write("new.toml", "[price]\na = { input = 3.0, output = 4.0 }\n");
    assert_eq!(place.load().unwrap().models.date, None);
    place.write("new.toml", "[provider.openai]\nmodels = ['a']\n");
    assert!(place.load().unwrap().models.date.is_some(), "the prices are still the program's");
}

#[test]
fn a_file_without_an_end_is_not_read_to_it() {
    let place = Place::new("endless", "[models]\nfile = '/dev/zero'\n");
    let told = place.load().unwrap_err();
    assert!(told.contains("models.file: cannot read \"/dev/zero\": it is not a regular file"), "{told}");
    place.write("gateway.toml", "[models]\nfile = 'new.toml'\n");
    place.write("new.toml", &"#".repeat((4 << 20) + 1));
    let told = place.load().unwrap_err();
    assert!(told.contains("it has 4194305 bytes; the limit is 4194304"), "{told}");
    let told = load_from(Some(Path::new("/dev/zero"))).unwrap_err().to_string();
    assert!(told.starts_with("/dev/zero: cannot read it: it has more than 16777216 bytes, the limit"), "{told}");
}

#[test]
fn the_file_of_the_program_can_be_that_newer_file() {
    let place = Place::new("same", "[models]\nfile = 'models.toml'\n");
    place.write("models.toml", MODELS);
    let (with, without) = (place.load().unwrap(), load_from(None).unwrap().plan);
    assert_eq!(format!("{:?}", with.prices), format!("{:?}", without.prices));
    assert_eq!(with.models, without.models);
}

#[test]
fn without_the_defaults_only_a_named_file_counts() {
    let config = "defaults = false\n[provider.own]\nkind = 'openai'\nurl = 'http://127.0.0.1:1'\n";
    let place = Place::new("bare", config);
    let plan = place.load().unwrap();
    assert_eq!((plan.models.date, price(&plan, "own", "gpt-4")), (None, (0, false)));
    place.write("gateway.toml", &config.replace("[provider", "[models]\nfile = 'models.toml'\n[provider"));
    place.write("models.toml", MODELS);
    let plan = place.load().unwrap();
    assert_eq!(price(&plan, "own", "gpt-4"), (30_000_000, true));
    assert_eq!(plan.providers.len(), 1);
}

#[test]
fn what_is_wrong_with_a_models_file_is_told_with_its_name_and_line() {
    let place = Place::new("wrong", "[models]\nfile = 'gone.toml'\n");
    let told = place.load().unwrap_err();
    assert!(told.starts_with("gateway.toml:2:8: models.file: cannot read \""), "{told}");

    place.write("gateway.toml", "[models]\nfile = 'new.toml'\ndate = 'soon'\n");
    place.write(
        "new.toml",
        "[models]\nfile = 'more.toml'\n[price.a]\ninput = -1\noutput = 2\n[server]\nport = 80\n[provider.openai]\n\
         url = 'http://elsewhere'\n",
    );
    let told = place.load().unwrap_err();
    for wanted in [
        "gateway.toml:3:8: models.date: expected a day, a text such as \"2026-01-31\", got \"soon\"",
        "new.toml:2:1: models.file: not in a models file",
        "new.toml:4:9: price.\"a\".input: ",
        "new.toml:6:2: server: not in a models file",
        "new.toml:9:1: provider.openai.url: not in a models file",
    ] {
        assert!(told.contains(wanted), "{wanted:?} is missing in\n{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_changed_models_file_is_noticed() {
    let place = Place::new("watch", "[models]\nfile = 'models.toml'\n");
    place.write("models.toml", MODELS);
    let mut watch = Watch::new(Some(&place.0.join("gateway.toml")));
    place.write("models.toml", &MODELS.replace("2026-11-30", "2026-12-31"));
    watch.changed().await.unwrap();
    assert_eq!(place.load().unwrap().models.date.unwrap().to_string(), "2026-12-31");
}
