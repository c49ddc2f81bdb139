//! Models file: prices, the models that providers serve, and model maps, in a file of their own. The program carries one; the
//! tables of a newer one beside the config file take the place of its own.
//!
//! It knows which tables may be in such a file, and not what they mean.

use std::path::{Path, PathBuf};

use crate::config::engine::document;
use crate::config::engine::document::{Node, Table, Value};
use crate::config::engine::problem::{Layer, Origin, Problem};
use crate::config::engine::text_file;

/// The file that the program carries.
pub(super) const SHIPPED: &str = include_str!("../../config/models.toml");

/// Its name in messages.
pub(super) const SHIPPED_NAME: &str = "built-in config/models.toml";

/// The table that names a newer file.
const MODELS: &str = "models";

/// The table of prices.
const PRICE: &str = "price";

/// The price of models that have none of their own.
const ANY_MODEL: &str = "*";

/// The table of model maps.
const MODEL_MAP: &str = "model_map";

/// The table of all providers.
const PROVIDER: &str = "provider";

/// The keys of a provider that are about its models.
pub(crate) const OF_PROVIDER: [&str; 3] = ["models", "structured", PRICE];

/// More than the models of all providers take.
const MAX_BYTES: u64 = 4 << 20;

/// What a file may hold. It is about models: it can be taken from elsewhere without reading it for addresses and keys.
const TABLES: &str = "`models.date`, `price`, `model_map`, and `models`, `structured` and `price` of a provider";

/// The file that a config names.
pub(super) fn path(tree: &Table, beside: &Path) -> Option<(PathBuf, Origin)> {
    let Value::Table(models) = &tree.find(MODELS)?.value else { return None };
    let node = models.find("file")?;
    let Value::Text(file) = &node.value else { return None };
    Some((beside.join(file.trim()), node.origin.clone()))
}

/// The layer between the defaults and the config file: what the program carries, where there are defaults, and over it the
/// file that the config names.
pub(super) fn layer(user: Option<&Table>, has_defaults: bool, beside: &Path) -> (Table, Vec<Problem>) {
    let (mut layer, mut problems) = match has_defaults {
        true => document::parse(Layer::Defaults, SHIPPED_NAME, SHIPPED),
        false => (Table::default(), Vec::new()),
    };
    let Some((path, named_at)) = user.and_then(|user| path(user, beside)) else { return (layer, problems) };
    let shown = path.display().to_string();
    match text_file::regular(&path, MAX_BYTES) {
        Ok(text) => {
            let (mut newer, wrong) = document::parse(Layer::File, &shown, &text);
            problems.extend(wrong);
            restrict(&mut newer, &mut problems);
            replace(&mut layer, newer);
        }
        Err(fault) => {
            let message = format!("cannot read {shown:?}: {fault}");
            problems.push(Problem { origin: named_at, key: format!("{MODELS}.file"), message });
        }
    }
    (layer, problems)
}

/// Puts the tables of a newer file in the place of the older ones: what it does not price any more has the price of any model,
/// and what a map of it does not name is not mapped. Tables that it lacks stay.
fn replace(layer: &mut Table, newer: Table) {
    // The date of the older prices says nothing of newer ones.
    if newer.find(MODELS).is_some() || newer.find(PRICE).is_some() {
        layer.remove(MODELS);
    }
    if let Some(Node { value: Value::Table(newer), .. }) = newer.find(PRICE) {
        let older = layer.remove(PRICE);
        // Without the price of any model one without a price would cost nothing, and no budget would hold.
        if let Some(Node { origin, value: Value::Table(older) }) = older
            && newer.find(ANY_MODEL).is_none()
            && let Some(any) = older.entries().find(|entry| entry.key == ANY_MODEL)
            && let Some(kept) = layer.table_mut(PRICE, &origin)
        {
            kept.set(any.clone());
        }
    }
    if let (Some(Value::Table(maps)), Some(Node { value: Value::Table(newer), .. })) =
        (layer.value_mut(MODEL_MAP), newer.find(MODEL_MAP))
    {
        for entry in newer.entries() {
            maps.remove(&entry.key);
        }
    }
    // What clashes stands in the newer file, and is reported when the layer is merged.
    layer.merge(newer, "", &mut Vec::new());
}

/// Takes away the providers that no other layer has: a file may know more of them than the config.
pub(super) fn keep_known_providers(layer: &mut Table, others: &[Option<&Table>]) {
    let is_known = |name: &str| {
        others.iter().flatten().any(|other| match other.find(PROVIDER).map(|node| &node.value) {
            Some(Value::Table(providers)) => providers.find(name).is_some(),
            _ => false,
        })
    };
    if let Some(Value::Table(providers)) = layer.value_mut(PROVIDER) {
        let names: Vec<String> = providers.entries().map(|entry| entry.key.clone()).collect();
        for name in names.iter().filter(|name| !is_known(name)) {
            providers.remove(name);
        }
    }
}

/// Takes away, and reports, what is not about models.
fn restrict(table: &mut Table, problems: &mut Vec<Problem>) {
    retain(table, "", problems, |key| matches!(key, MODELS | PRICE | MODEL_MAP | PROVIDER));
    if let Some(Value::Table(models)) = table.value_mut(MODELS) {
        retain(models, "models.", problems, |key| key == "date");
    }
    if let Some(Value::Table(providers)) = table.value_mut(PROVIDER) {
        for (name, value) in providers.values_mut() {
            if let Value::Table(provider) = value {
                let path = format!("provider.{name}.");
                retain(provider, &path, problems, |key| OF_PROVIDER.contains(&key));
            }
        }
    }
}

fn retain(table: &mut Table, path: &str, problems: &mut Vec<Problem>, may_stay: impl Fn(&str) -> bool) {
    let strange = table.entries().filter(|entry| !may_stay(&entry.key));
    let strange: Vec<(String, Origin)> = strange.map(|entry| (entry.key.clone(), entry.key_origin.clone())).collect();
    for (key, origin) in strange {
        table.remove(&key);
        let message = format!("not in a models file, which has only {TABLES}: move it to the config file");
        problems.push(Problem { origin, key: format!("{path}{key}"), message });
    }
}
