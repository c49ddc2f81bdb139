//! `tidegate check`: each warning beside a configuration that does not deserve it, and what the program prints.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tidegate::commands::check::warnings::{self, Warning};
use tidegate::config::{self, Variables};
use tidegate::gateway::state::GatewayState;
use tidegate::gateway::world::World;

/// Every provider's key, caches that are on, and nobody who reaches it from outside: what the default configuration lacks in
/// development.
const VARIABLES: [(&str, &str); 6] = [
    ("HOST", "127.0.0.1"),
    ("OPENAI_API_KEY", "k"),
    ("TOGETHER_API_KEY", "k"),
    ("ANTHROPIC_API_KEY", "k"),
    ("USE_BUILDPANEL", "true"),
    ("LLM_CACHE_ENABLED", "true"),
];

fn found(text: &str, without: &[&str]) -> Vec<Warning> {
    let pairs = VARIABLES.iter().filter(|(name, _)| !without.contains(name));
    let pairs = pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let variables = Variables::new(pairs.collect(), BTreeMap::new());
    let plan = config::load(Some(("x.toml", text)), &variables).unwrap_or_else(|wrong| panic!("{text}\n{wrong}"));
    let world = World::simulated(Arc::default(), jiff::Timestamp::UNIX_EPOCH, 0);
    let state = GatewayState::new(&plan, &world);
    warnings::all(&plan, &state, "2026-11-30T00:00:00Z".parse().unwrap())
}

/// A warning: what raises it, its key, what its text says to do, and what does not raise it.
struct Row {
    code: &'static str,
    key: &'static str,
    says: &'static [&'static str],
    raises: &'static str,
    /// Variables that are not set.
    without: &'static [&'static str],
    does_not: &'static [&'static str],
}

const ROWS: &[Row] = &[
    Row {
        code: "tier_limit_never_reached",
        key: "limit.pro",
        says: &["1000 per min", "limit.ai (30 per min)", "remove `also`"],
        raises: "[limits]\ntier_header = 'X-Tier'\n[limit.ai]\ndevelopment_rate = '30/min'\n\
                 [limit.pro]\ntiers = ['pro']\nalso = true\ncallers = ['openai']\n\
                 calls = ['chat']\nkey = ['user', 'api_key', 'tenant', 'address']\nrate = '1000/min'\n",
        without: &[],
        does_not: &[
            // It takes the place of the general one.
            "[limits]\ntier_header = 'X-Tier'\n[limit.pro]\ntiers = ['pro']\ncalls = ['chat']\n\
             key = ['user', 'api_key', 'tenant', 'address']\nrate = '1000/min'\n",
            // It is below it.
            "[limits]\ntier_header = 'X-Tier'\n[limit.slow]\ntiers = ['slow']\nalso = true\ncalls = ['chat']\n\
             key = ['user', 'api_key', 'tenant', 'address']\nrate = '3/min'\n",
            // It counts a whole tenant, and the general one its users.
            "[limits]\ntier_header = 'X-Tier'\n[limit.pro]\ntiers = ['pro']\nalso = true\ncalls = ['chat']\n\
             key = ['tenant']\nrate = '5000/min'\n",
            // The tenant's own takes its place, and the tier's counts for other tenants alone.
            "[limits]\ntier_header = 'X-Tier'\n[limit.r1]\ntenants = ['r1']\ncalls = ['chat']\n\
             key = ['user', 'api_key', 'tenant', 'address']\nrate = '1000/min'\n",
            // Another rule of the tier takes the general one's place.
            "[limits]\ntier_header = 'X-Tier'\n[limit.pro]\ntiers = ['pro']\nalso = true\ncalls = ['chat']\n\
             key = ['user', 'api_key', 'tenant', 'address']\nrate = '5000/min'\n\
             [limit.instead]\ntiers = ['pro']\nkey = ['address']\nrate = '9000/min'\n",
        ],
    },
    Row {
        code: "tier_limit_never_reached",
        key: "limit.pro",
        says: &["shadow mode replaces nothing", "mode = \"enforce\""],
        raises: "[limits]\ntier_header = 'X-Tier'\n\
                 [limit.pro]\ntiers = ['pro']\nmode = 'shadow'\ncalls = ['chat']\n\
                 key = ['user', 'api_key', 'tenant', 'address']\nrate = '5000/min'\n",
        without: &[],
        does_not: &["[limits]\ntier_header = 'X-Tier'\n\
                     [limit.pro]\ntiers = ['pro']\nmode = 'shadow'\ncalls = ['chat']\n\
                     key = ['user', 'api_key', 'tenant', 'address']\nrate = '5/min'\n"],
    },
    Row {
        code: "tier_limit_never_reached",
        key: "limit.r1",
        says: &["1000 per min", "limit.pro (30 per min)", "remove `also`"],
        raises: "[limits]\ntier_header = 'X-Tier'\n\
                 [limit.pro]\ntiers = ['pro']\ncalls = ['chat']\nkey = ['tenant']\nrate = '30/min'\n\
                 [limit.r1]\ntenants = ['r1']\ntiers = ['pro']\nalso = true\ncallers = ['openai']\n\
                 calls = ['chat']\nkey = ['tenant']\nrate = '1000/min'\n",
        without: &[],
        does_not: &[
            // It takes the place of the tier's.
            "[limits]\ntier_header = 'X-Tier'\n\
             [limit.pro]\ntiers = ['pro']\ncalls = ['chat']\nkey = ['tenant']\nrate = '30/min'\n\
             [limit.r1]\ntenants = ['r1']\ntiers = ['pro']\ncallers = ['openai']\n\
             calls = ['chat']\nkey = ['tenant']\nrate = '1000/min'\n",
            // It is for other tiers of the tenant too.
            "[limits]\ntier_header = 'X-Tier'\n\
             [limit.pro]\ntiers = ['pro']\ncalls = ['chat']\nkey = ['tenant']\nrate = '30/min'\n\
             [limit.r1]\ntenants = ['r1']\nalso = true\ncallers = ['openai']\n\
             calls = ['chat']\nkey = ['tenant']\nrate = '5000/min'\n",
        ],
    },
    Row {
        code: "limit_never_reached",
        key: "limit.loose",
        says: &["200 per min", "limit.tight (100 per min)", "lower this one"],
        raises: "[limit.tight]\nroutes = ['openai-*']\nkey = ['user']\nrate = '100/min'\n\
                 [limit.loose]\nroutes = ['openai-chat']\nkey = ['user']\nrate = '200/min'\n",
        without: &[],
        does_not: &[
            // Another quantity.
            "[limit.tight]\nroutes = ['openai-*']\nkey = ['user']\nrate = '100/min'\n\
             [limit.loose]\nroutes = ['openai-chat']\nkey = ['user']\nquantity = 'tokens'\nrate = '200/min'\n",
            // More routes.
            "[limit.tight]\nroutes = ['openai-chat']\nkey = ['user']\nrate = '100/min'\n\
             [limit.loose]\nroutes = ['openai-*']\nkey = ['user']\nrate = '200/min'\n",
            // A faster one with less at once.
            "[limit.tight]\nroutes = ['openai-*']\nkey = ['user']\nrate = '100/min'\n\
             [limit.loose]\nroutes = ['openai-chat']\nkey = ['user']\nrate = '200/min'\nburst = 5\n",
            // It only reports.
            "[limit.tight]\nroutes = ['openai-*']\nkey = ['user']\nrate = '100/min'\nmode = 'shadow'\n\
             [limit.loose]\nroutes = ['openai-chat']\nkey = ['user']\nrate = '200/min'\n",
            // Other callers share a count.
            "[limit.tight]\nroutes = ['openai-*']\nkey = ['user']\nrate = '100/min'\n\
             [limit.loose]\nroutes = ['openai-chat']\nkey = ['tenant']\nrate = '200/min'\n",
        ],
    },
    Row {
        code: "limit_never_reached",
        key: "limit.each",
        says: &["limit.all"],
        raises: "[limit.all]\nroutes = ['openai-*']\nkey = ['tenant']\nrate = '100/min'\n\
                 [limit.each]\nroutes = ['openai-chat']\nkey = ['tenant+user']\nrate = '200/min'\n",
        without: &[],
        does_not: &["[limit.all]\nroutes = ['openai-*']\nkey = ['tenant']\nrate = '100/min'\n\
                     [limit.each]\nroutes = ['openai-chat']\nkey = ['user']\nrate = '200/min'\n"],
    },
    Row {
        code: "limit_without_calls",
        key: "limit.none",
        says: &["counts nothing", "`callers`"],
        raises: "[limit.none]\ncallers = ['anthropic']\ncalls = ['embeddings']\nkey = ['user']\nrate = '5/min'\n",
        without: &[],
        does_not: &[
            "[limit.some]\ncallers = ['anthropic']\ncalls = ['messages']\nkey = ['user']\nrate = '5/min'\n",
            "[limit.pages]\nroutes = ['health']\ncallers = ['openai']\nkey = ['address']\nrate = '5/min'\n",
        ],
    },
    Row {
        code: "limit_without_calls",
        key: "budget.local",
        says: &["asks a provider"],
        raises: "[budget.local]\nroutes = ['canvas-stats']\nkey = ['all']\namount = 1\nper = 'day'\n",
        without: &[],
        does_not: &["[budget.local]\nroutes = ['canvas-*']\nkey = ['all']\namount = 1\nper = 'day'\n"],
    },
    Row {
        code: "route_stopped",
        key: "route.openai-chat.when_disabled",
        says: &["openai is disabled", "get 503", "`when_disabled = \"failover\"`"],
        raises: "[provider.openai]\nenabled = false\n[route.openai-chat]\ntargets = ['openai', 'together']\n\
                 when_disabled = 'reject'\n",
        without: &[],
        does_not: &[
            "[provider.openai]\nenabled = false\n[route.openai-chat]\ntargets = ['openai', 'together']\n",
            "[provider.openai]\nenabled = false\n[route.openai-chat]\ntargets = ['together', 'openai']\n\
             when_disabled = 'reject'\n",
        ],
    },
    Row {
        code: "route_stopped",
        key: "route.openai-chat.when_disabled",
        says: &["openai is disabled", "get the route's canned reply"],
        raises: "[provider.openai]\nenabled = false\n[route.openai-chat]\ntargets = ['openai', 'together']\n\
                 when_disabled = 'reply'\ncanned = 'sorry'\n",
        without: &[],
        does_not: &[],
    },
    Row {
        code: "route_without_target",
        key: "route.openai-chat",
        says: &["get the route's canned reply"],
        raises: "[provider.openai]\nenabled = false\n[route.openai-chat]\ntargets = ['openai']\ncanned = 'sorry'\n",
        without: &[],
        does_not: &["[route.openai-chat]\ntargets = ['openai']\ncanned = 'sorry'\n"],
    },
    Row {
        code: "route_without_callers",
        key: "route.openai-chat",
        says: &["(old)", "`expires`"],
        raises: "[route.openai-chat]\nauth = ['api_key']\n[api_key.old]\nexpires = '2020-01-31T00:00:00Z'\n\
                 hash = ['sha256:5ca24005b740717ba4f3f6bc48a230700e68c2a4b11ecedb96f169f4efaf1f21']\n",
        without: &[],
        does_not: &[
            "[route.openai-chat]\nauth = ['api_key']\n[api_key.new]\nexpires = '2030-01-31T00:00:00Z'\n\
             hash = ['sha256:5ca24005b740717ba4f3f6bc48a230700e68c2a4b11ecedb96f169f4efaf1f21']\n",
            "[route.openai-chat]\nauth = ['api_key']\n",
        ],
    },
    Row {
        code: "cache_when_unused",
        key: "cache.when",
        says: &["not used by openai-chat", "write it in the `cache` of the route"],
        raises: "[cache]\nwhen = 'always'\n",
        without: &[],
        does_not: &[
            "[cache]\nttl = '5m'\n",
            "[cache]\nwhen = 'deterministic'\n",
            "defaults = false\n[cache]\nwhen = 'always'\n[provider.own]\nkind = 'openai'\nurl = 'http://127.0.0.1:1'\n\
             [route.own]\npaths = ['/own']\ncaller = 'openai'\ncall = 'embeddings'\ntargets = ['own']\ncache = {}\n",
        ],
    },
    Row {
        code: "budget_without_price",
        key: "budget.all",
        says: &["(route chat)", "set price.\"*\""],
        raises: "defaults = false\n[provider.openai]\nkind = 'openai'\nurl = 'http://127.0.0.1:9/v1'\nkey_env = 'OPENAI_API_KEY'\n\
                 [price]\ngpt-4o = { input = 1, output = 2 }\n\
                 [budget.all]\nkey = ['all']\namount = 1\nper = 'day'\n\
                 [route.chat]\npaths = ['/c']\ncaller = 'openai'\ncall = 'chat'\ntargets = ['openai']\n",
        without: &[],
        does_not: &[
            "defaults = false\n[provider.openai]\nkind = 'openai'\nurl = 'http://127.0.0.1:9/v1'\nkey_env = 'OPENAI_API_KEY'\n\
             [price]\ngpt-4o = { input = 1, output = 2 }\n'*' = { input = 1, output = 2 }\n\
             [budget.all]\nkey = ['all']\namount = 1\nper = 'day'\n\
             [route.chat]\npaths = ['/c']\ncaller = 'openai'\ncall = 'chat'\ntargets = ['openai']\n",
            "defaults = false\n[provider.openai]\nkind = 'openai'\nurl = 'http://127.0.0.1:9/v1'\nkey_env = 'OPENAI_API_KEY'\n\
             [price]\ngpt-4o = { input = 1, output = 2 }\n\
             [budget.all]\nkey = ['all']\namount = 1\nper = 'day'\n\
             [route.chat]\npaths = ['/c']\ncaller = 'openai'\ncall = 'chat'\nmodels = ['gpt-4o']\ntargets = ['openai']\n",
        ],
    },
    Row {
        code: "price_by_default",
        key: "price.\"new-model\"",
        says: &["at openai (route ", "prompted)"],
        raises: "[prompt.pp.1]\nstatus = 'active'\nmodel = 'gpt-4o'\ntemplate = '{{ text }}'\n\
                 [prompt.pp.2]\nstatus = 'testing'\npercent = 5\nmodel = 'new-model'\ntemplate = '{{ text }}'\n\
                 [provider.openai]\nmodels = ['*']\n\
                 [route.prompted]\npaths = ['/p']\ncaller = 'restaurant'\ncall = 'chat'\ntargets = ['openai']\nprompt = 'pp'\n",
        without: &[],
        does_not: &["[prompt.pp.1]\nstatus = 'active'\nmodel = 'gpt-4o'\ntemplate = '{{ text }}'\n\
                     [prompt.pp.2]\nstatus = 'deprecated'\nmodel = 'new-model'\ntemplate = '{{ text }}'\n\
                     [provider.openai]\nmodels = ['*']\n\
                     [route.prompted]\npaths = ['/p']\ncaller = 'restaurant'\ncall = 'chat'\ntargets = ['openai']\n\
                     prompt = 'pp'\n"],
    },
    Row {
        code: "limit_without_calls",
        key: "budget.none",
        says: &["`routes`"],
        raises: "[route.widget-chat]\nenabled = false\n\
                 [budget.none]\nroutes = ['widget-chat']\nkey = ['all']\namount = 1\nper = 'day'\n",
        without: &[],
        does_not: &["[budget.some]\nroutes = ['widget-chat']\nkey = ['all']\namount = 1\nper = 'day'\n"],
    },
    Row {
        code: "limit_without_callers",
        key: "limit.gold",
        says: &["no caller can have the tier gold: there are anonymous and free", "limits.tier_header"],
        raises: "[limit.gold]\ntiers = ['gold']\nkey = ['user']\nrate = '5/min'\n",
        without: &[],
        does_not: &[
            "[limits]\ntier_header = 'X-Tier'\n[limit.gold]\ntiers = ['gold']\nkey = ['user']\nrate = '5/min'\n",
            "[limits]\ntier = 'gold'\n[limit.gold]\ntiers = ['gold']\nkey = ['user']\nrate = '5/min'\n",
            "[api_key.a]\nhash = ['sha256:5ca24005b740717ba4f3f6bc48a230700e68c2a4b11ecedb96f169f4efaf1f21']\n\
             tier = 'gold'\n[limit.gold]\ntiers = ['gold']\nkey = ['user']\nrate = '5/min'\n",
            // Keys that are made while the gateway runs may have it.
            "[auth]\nadmin_token = '0123456789abcdef'\n[limit.gold]\ntiers = ['gold']\nkey = ['user']\nrate = '5/min'\n",
        ],
    },
    Row {
        code: "limit_without_callers",
        key: "limit.r2",
        says: &["no caller can have the tenant r2: API keys have r1", "give an API key this `tenant`"],
        raises: "[auth]\ndefault = 'api_key'\n[api_key.a]\ntenant = 'r1'\n\
                 hash = ['sha256:5ca24005b740717ba4f3f6bc48a230700e68c2a4b11ecedb96f169f4efaf1f21']\n\
                 [limit.r2]\ntenants = ['r2']\nkey = ['tenant']\nrate = '5/min'\n",
        without: &[],
        does_not: &[
            // One of its tenants is there.
            "[auth]\ndefault = 'api_key'\n[api_key.a]\ntenant = 'r1'\n\
             hash = ['sha256:5ca24005b740717ba4f3f6bc48a230700e68c2a4b11ecedb96f169f4efaf1f21']\n\
             [limit.r2]\ntenants = ['r1', 'r2']\nkey = ['tenant']\nrate = '5/min'\n",
            // Its holder names the tenant.
            "[auth]\ndefault = 'api_key'\n[api_key.a]\ntenant = '*'\n\
             hash = ['sha256:5ca24005b740717ba4f3f6bc48a230700e68c2a4b11ecedb96f169f4efaf1f21']\n\
             [limit.r2]\ntenants = ['r2']\nkey = ['tenant']\nrate = '5/min'\n",
            // A header may say it where nothing is asked.
            "[limit.r2]\ntenants = ['r2']\nkey = ['tenant']\nrate = '5/min'\n",
        ],
    },
    Row {
        code: "limit_without_callers",
        key: "budget.gold",
        says: &["no caller can have the tier gold"],
        raises: "[budget.gold]\ntiers = ['gold']\nkey = ['all']\namount = 1\nper = 'day'\n",
        without: &[],
        does_not: &["[budget.free]\ntiers = ['free']\nkey = ['all']\namount = 1\nper = 'day'\n"],
    },
    Row {
        code: "limit_without_callers",
        key: "budget.gold",
        says: &["no caller can have the tier gold"],
        raises: "[limits]\nenabled = false\n\
                 [budget.gold]\ntiers = ['gold']\nkey = ['all']\namount = 1\nper = 'day'\n",
        without: &[],
        does_not: &["[limits]\nenabled = false\n[limit.gold]\ntiers = ['gold']\nkey = ['user']\nrate = '5/min'\n"],
    },
    Row {
        code: "price_by_default",
        key: "price.\"gpt-7\"",
        says: &["at openai (route openai-chat)"],
        raises: "[budget.all]\nroutes = ['openai-chat']\nkey = ['all']\namount = 1\nper = 'day'\non_stop = 'cheaper'\n\
                 cheaper = { 'gpt-4o' = 'gpt-7' }\n[route.openai-chat]\ntargets = ['openai']\n",
        without: &[],
        does_not: &["[price]\ngpt-7 = { input = 1, output = 2 }\n\
                     [budget.all]\nroutes = ['openai-chat']\nkey = ['all']\namount = 1\nper = 'day'\non_stop = 'cheaper'\n\
                     cheaper = { 'gpt-4o' = 'gpt-7' }\n[route.openai-chat]\ntargets = ['openai']\n"],
    },
    Row {
        code: "price_by_default",
        key: "price.\"shadow\"",
        says: &["at together (route openai-chat)"],
        raises: "[route.openai-chat.mirror]\ntarget = { provider = 'together', model = 'shadow' }\nshare = 0.1\n",
        without: &[],
        does_not: &["[price]\nshadow = { input = 1, output = 2 }\n\
                     [route.openai-chat.mirror]\ntarget = { provider = 'together', model = 'shadow' }\nshare = 0.1\n"],
    },
    Row {
        code: "target_without_key",
        key: "provider.anthropic",
        says: &["set ANTHROPIC_API_KEY", "openai-chat, ", "provider.anthropic.enabled = false"],
        raises: "[route.openai-chat]\ntargets = ['openai', 'anthropic']\n",
        without: &["ANTHROPIC_API_KEY"],
        does_not: &[
            "[route.openai-chat]\ntargets = ['openai', 'anthropic']\n",
            "[provider.anthropic]\nenabled = false\n",
        ],
    },
    Row {
        code: "target_without_key",
        key: "provider.buildpanel",
        says: &["set USE_BUILDPANEL=true", "restaurant-chat"],
        raises: "[provider.buildpanel]\ntimeout = { total = '9s' }\n",
        without: &["USE_BUILDPANEL"],
        does_not: &["[provider.buildpanel]\ntimeout = { total = '9s' }\n"],
    },
    Row {
        code: "route_without_target",
        key: "route.anthropic-count-tokens",
        says: &["503"],
        raises: "[route.anthropic-count-tokens]\nmax_body = '1MiB'\n",
        without: &["ANTHROPIC_API_KEY"],
        does_not: &["[route.anthropic-count-tokens]\nmax_body = '1MiB'\n", "[provider.together]\nenabled = false\n"],
    },
    Row {
        code: "variant_without_target",
        key: "variant.new",
        says: &["openai-chat", "10 % of callers get the route's own"],
        raises: "[variant.new]\nroutes = ['openai-chat']\npercent = 10\ntargets = ['anthropic']\n",
        without: &["ANTHROPIC_API_KEY"],
        does_not: &[
            "[variant.new]\nroutes = ['openai-chat']\npercent = 10\ntargets = ['openai']\n",
            "[variant.new]\nroutes = ['openai-chat']\npercent = 10\ntargets = ['anthropic', 'openai']\n",
        ],
    },
    Row {
        code: "variant_without_target",
        key: "variant.new",
        says: &["matches no enabled route"],
        raises: "[variant.new]\nroutes = ['canvas-job-*']\npercent = 10\nmodel = 'gpt-4o-mini'\n",
        without: &[],
        does_not: &["[variant.new]\nroutes = ['canvas-*']\npercent = 10\nmodel = 'gpt-4o-mini'\n"],
    },
    Row {
        code: "mirror_without_target",
        key: "route.openai-chat.mirror",
        says: &["nothing is mirrored"],
        raises: "[route.openai-chat.mirror]\ntarget = { provider = 'together' }\nshare = 0.1\n",
        without: &["TOGETHER_API_KEY"],
        does_not: &["[route.openai-chat.mirror]\ntarget = { provider = 'openai' }\nshare = 0.1\n"],
    },
    Row {
        code: "cache_merges_deterministic",
        key: "route.openai-chat.cache",
        says: &["comes from the default configuration", "write `when`"],
        raises: "[route.openai-chat]\ncache = { ttl = '1h' }\n",
        without: &[],
        does_not: &[
            "",
            "[route.openai-chat]\ncache = { ttl = '1h', when = 'deterministic' }\n",
            "[route.openai-chat]\ncache = { ttl = '1h', when = 'always' }\n",
            // It keeps nothing at all.
            "[route.openai-chat]\ncache = { ttl = '0s' }\n",
        ],
    },
    Row {
        code: "cache_shares_sampled",
        key: "route.own.cache",
        says: &["one and the same answer", "when = \"deterministic\""],
        raises: "[route.own]\npaths = ['/own']\ncaller = 'openai'\ncall = 'chat'\ntargets = ['openai']\ncache = {}\n",
        without: &[],
        does_not: &[
            "[route.own]\npaths = ['/own']\ncaller = 'openai'\ncall = 'chat'\ntargets = ['openai']\n\
             cache = { when = 'always' }\n",
            "[route.own]\npaths = ['/own']\ncaller = 'openai'\ncall = 'embeddings'\ntargets = ['openai']\ncache = {}\n",
        ],
    },
    Row {
        code: "cache_shares_tenants",
        key: "route.restaurant-chat.cache",
        says: &["one tenant gets another's answers", "scope = \"tenant\""],
        raises: "[route.restaurant-chat]\ncache = { scope = 'shared' }\n",
        without: &[],
        does_not: &[
            "[route.restaurant-chat]\ncache = { scope = 'tenant' }\n",
            "[route.canvas-chat]\ncache = { scope = 'shared' }\n",
        ],
    },
    Row {
        code: "cache_merges_requests",
        key: "route.openai-chat.cache",
        says: &["`ignore` has tools"],
        raises: "[route.openai-chat]\ncache = { when = 'deterministic', ignore = ['tools', 'service_tier'] }\n",
        without: &[],
        does_not: &["[route.openai-chat]\ncache = { when = 'deterministic', ignore = ['service_tier'] }\n"],
    },
    Row {
        code: "price_by_default",
        key: "price.\"new-model\"",
        says: &["at openai (route openai-chat)", "set its price"],
        raises: "[route.openai-chat]\ntargets = [{ provider = 'openai', model = 'new-model' }]\n",
        without: &[],
        does_not: &[
            "[price]\n'new-*' = { input = 1, output = 2 }\n\
             [route.openai-chat]\ntargets = [{ provider = 'openai', model = 'new-model' }]\n",
            "[provider.openai]\nprice.'new-model' = { input = 1, output = 2 }\n\
             [route.openai-chat]\ntargets = [{ provider = 'openai', model = 'new-model' }]\n",
        ],
    },
    Row {
        code: "config",
        key: "",
        says: &["provider openai is enabled, but OPENAI_API_KEY is not set"],
        raises: "[provider.openai]\nenabled = true\n",
        without: &["OPENAI_API_KEY"],
        does_not: &["[provider.openai]\nenabled = true\n"],
    },
];

#[test]
fn each_warning_is_raised_by_what_deserves_it_and_not_by_what_is_next_to_it() {
    let mut wrong = Vec::new();
    for row in ROWS {
        let is_it =
            |warning: &&Warning| warning.code == row.code && warning.key.as_deref().unwrap_or("").contains(row.key);
        let all = found(row.raises, row.without);
        match all.iter().find(is_it) {
            None => wrong.push(format!("{} {} is not among {all:#?} of\n{}", row.code, row.key, row.raises)),
            Some(warning) => {
                let text = &warning.text;
                let missing = row.says.iter().filter(|words| !text.contains(**words));
                wrong.extend(missing.map(|words| format!("{}: {words:?} is not in {text:?}", row.code)));
            }
        }
        for text in row.does_not {
            let all = found(text, &[]);
            if let Some(warning) = all.iter().find(is_it) {
                wrong.push(format!("{} {warning} is raised by\n{text}", row.code));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// What the program says of a configuration, in a folder of its own.
fn run(name: &str, text: &str, arguments: &[&str]) -> Output {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("check-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("x.toml"), text).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    program.args(["check", "--config", "x.toml"]).args(arguments).current_dir(&folder).env_clear().envs(VARIABLES);
    let output = program.output().unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    output
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The lines of a route's block.
fn block<'t>(text: &'t str, route: &str) -> Vec<&'t str> {
    let is_head = |line: &&str| line.split(' ').next() == Some(route);
    let rest = text.lines().skip_while(|line| !is_head(line)).skip_while(|line| !line.starts_with(' '));
    rest.take_while(|line| !line.is_empty()).map(str::trim).collect()
}

const SHOP: &str = "[limits]\ntier_header = 'X-Tier'\n\
    [limit.pro]\ntiers = ['pro']\ncallers = ['openai']\nkey = ['user', 'address']\nrate = '200/15min'\nburst = 20\n\
    [budget.daily]\nroutes = ['openai-chat']\nkey = ['tenant']\namount = 10\nper = 'day'\n\
    [guard.names]\npatterns = ['email']\nrequest = 'mask'\nanswer = 'reject'\n\
    [variant.small]\nroutes = ['openai-chat']\npercent = 10\nmodel = 'gpt-4o-mini'\n\
    [provider.together]\nenabled = false\n\
    [route.openai-chat]\nguard = ['names']\nmax_body = '26MiB'\ntimeout = { total = '45s' }\n\
    cache = { when = 'deterministic', ttl = '1h' }\n";

#[test]
fn a_route_is_told_in_the_words_of_people() {
    let output = run("words", SHOP, &[]);
    let all = text(&output);
    let told = block(&all, "openai-chat");
    for line in [
        "limits    ai 300 per min, general 1000 per min, by user, else api_key, else tenant, else address",
        "tier pro  pro 200 per 15 min, 20 at once, by user, else address (instead of general and ai)",
        "budgets   daily 10 USD per day by tenant, further calls get 402",
        "cache     deterministic calls only (temperature 0 or a seed) for 1 h, shared within a tenant; 1 h longer when no \
         target can answer",
        "guards    names (requests: mask, answers: reject)",
        "variant   small, 10 % of callers",
        "targets   -  together: disabled (provider.together.enabled is false); its flag use_together enables it",
        "1  openai, models by the map together-to-openai",
        "2  anthropic, translated to `messages`",
        "body      up to 26 MiB",
    ] {
        assert!(told.contains(&line), "{line:?} is not among {told:#?}");
    }
    assert!(told.iter().any(|line| line.starts_with("time      45 s for the whole call;")), "{told:#?}");
    assert!(all.contains("callers: anyone; tenant and user are what their headers say (on every route)\n"), "{all}");
    let shared = "canvas-stats        GET /api/llm/stats              (canvas stats)\n  limits   general ";
    assert!(all.contains(shared), "routes that are equal share a block:\n{all}");
    assert_eq!(all.matches("> failover\n").count(), 2, "a list of policies for calls, and one for WebSockets:\n{all}");
}

#[test]
fn json_has_the_same_facts_and_strict_makes_warnings_failures() {
    let output = run("json", SHOP, &["--json"]);
    assert!(output.status.success());
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let routes = told["routes"].as_array().unwrap();
    let chat = routes.iter().find(|route| route["name"] == "openai-chat").unwrap();
    assert_eq!(chat["limits"][1]["tier"], "pro");
    assert_eq!(chat["limits"][1]["limits"][0]["allows"], "200 per 15 min, 20 at once");
    assert_eq!(chat["cache"]["ttl_s"], 3600.0);
    assert_eq!(chat["targets"][1]["provider"], "openai");
    assert!(chat["targets"][0]["left_out"].as_str().unwrap().contains("use_together"));
    assert_eq!(chat["variants"][0]["percent"], 10.0);
    assert!(told["model_maps"]["together-to-openai"].is_object(), "{}", told["model_maps"]);
    assert_eq!(told["prompts"][0]["active"], 1, "{}", told["prompts"]);
    let bad = format!(
        "{SHOP}[limit.gold]\ntiers = ['gold']\nkey = ['user']\ncalls = ['menu']\ncallers = ['openai']\nrate = '5/min'\n"
    );
    let told: Value = serde_json::from_slice(&run("warned", &bad, &["--json"]).stdout).unwrap();
    let codes: BTreeSet<&str> =
        told["warnings"].as_array().unwrap().iter().filter_map(|warning| warning["code"].as_str()).collect();
    assert!(codes.contains("limit_without_calls"), "{codes:?}");
    assert_eq!(run("lenient", &bad, &[]).status.code(), Some(0));
    assert_eq!(run("strict", &bad, &["--strict"]).status.code(), Some(1));
}

#[path = "check/counted.rs"]
mod counted;
#[path = "check/played.rs"]
mod played;

/// What is said of a call on a route; an error is the last line.
fn call(config: &str, route: &str, caller: &str) -> String {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let output =
        run(&format!("call-{}", CALLS.fetch_add(1, Ordering::Relaxed)), config, &["--route", route, "--as", caller]);
    match output.status.success() {
        true => text(&output),
        false => String::from_utf8(output.stderr).unwrap(),
    }
}

const KEYS: &str = "[api_key.shop]\nhash = ['sha256:5ca24005b740717ba4f3f6bc48a230700e68c2a4b11ecedb96f169f4efaf1f21']\n\
    tenant = 'r1'\ntier = 'pro'\nmodels = ['gpt-4o*']\nroutes = ['openai-*']\n\
    [auth]\njwt_secret = '0123456789abcdef0123456789abcdef'\nroles = ['staff']\n";

#[test]
fn a_call_is_told_from_the_door_to_the_targets() {
    let config = format!("{SHOP}{KEYS}");
    let told = call(&config, "openai-chat", "key=shop,model=gpt-4o,temperature=0");
    for line in [
        "shows      the API key shop",
        "caller     tier pro, tenant r1, API key shop, address 203.0.113.7, proven",
        "limits     pro 200 per 15 min, 20 at once, counts address 203.0.113.7",
        "budgets    daily 10 USD per day, account of tenant \"r1\", further calls get 402",
        "guards     names (requests: mask, answers: reject)",
        "model      gpt-4o",
        "targets    -  together: disabled (provider.together.enabled is false); its flag use_together enables it",
        "-  anthropic: it does not serve gpt-4o",
        "attempts   at most 6 attempts at all targets, 3 at one",
    ] {
        assert!(told.lines().any(|known| known.trim() == line), "{line:?} is not in\n{told}");
    }
    assert!(told.contains("\ncache      yes: deterministic calls only"), "{told}");
    assert!(told.contains("openai, model gpt-4o, 2.5 USD in, 1.25 USD cached, 10 USD out per 1M tokens"), "{told}");
    assert!(
        call(&config, "openai-chat", "key=shop,model=gpt-4o")
            .contains("\ncache      no: the route caches responses only")
    );
}

#[test]
fn who_is_not_let_in_is_told_why() {
    let config = format!("{SHOP}{KEYS}");
    for (route, caller, wanted) in [
        ("openai-chat", "key=shop,model=o3", "refused    403"),
        ("anthropic-messages", "key=shop,model=claude-sonnet-4-5", "refused    403"),
        ("openai-chat", "key=shop,tenant=r2,model=gpt-4o", "refused    403"),
        ("openai-chat", "role=guest,user=u1", "refused    401"),
        ("restaurant-chat", "key=shop", "refused    401"),
        ("restaurant-chat", "role=staff,user=u1", "refused    403"),
    ] {
        let told = call(&config, route, caller);
        assert!(told.contains(wanted), "{route} {caller}: {told}");
    }
    let told = call(&config, "restaurant-chat", "role=staff,user=u1,tenant=r9");
    assert!(told.contains("admitted   yes") && told.contains("tenant r9, user u1"), "{told}");
}

#[test]
fn what_is_asked_wrongly_is_told_with_what_is_there() {
    let off =
        "[route.off]\nenabled = false\npaths = ['/off']\ncaller = 'openai'\ncall = 'chat'\ntargets = ['openai']\n";
    let config = format!("{SHOP}{KEYS}{off}");
    for (route, caller, wanted) in [
        ("openai-chart", "", "there is no route \"openai-chart\", did you mean `openai-chat`"),
        ("openai-chat", "tire=pro", "there is no \"tire\", did you mean `tier`"),
        ("openai-chat", "user=u1,user=u2", "\"user\" is said twice"),
        ("off", "", "the route off is disabled (route.off.enabled is false)"),
        ("openai-chat", "key=shops", "there is no API key \"shops\""),
        ("openai-chat", "model", "no NAME=VALUE"),
        ("openai-chat", "address=here", "no IP address"),
        ("openai-chat", "temperature=hot", "no number from 0 to 2"),
        ("openai-chat", "key=shop,tier=free", "has not the tier \"free\" (its tier: \"pro\")"),
    ] {
        let told = call(&config, route, caller);
        assert!(told.contains(wanted), "{route} {caller}: {told}");
    }
}

/// The command of the issue, and what else is no mistake but should be known.
#[test]
fn what_says_nothing_or_is_not_known_is_noted() {
    let open = KEYS.replace("[auth]", "[auth]\ndefault = 'none'");
    let keys = format!("{open}[route.openai-transcriptions]\nauth = ['api_key']\n");
    for (config, route, caller, wanted) in [
        (
            "",
            "openai-chat",
            "tier=pro,model=gpt-4o",
            &["admitted   yes", "no limit, budget or API key names the tier \"pro\""][..],
        ),
        (SHOP, "openai-chat", "tier=por,model=gpt-4o", &["admitted   yes", "\"por\", did you mean `pro`"]),
        ("", "openai-chat", "role=staff", &["ignored here: role, as no token is shown"]),
        ("", "openai-models", "temperature=1,model=gpt-4o", &["ignored here: model", "ignored here: temperature"]),
        (
            &keys,
            "openai-chat",
            "key=shop",
            &["the tenant, tier, routes and models of the key", "callers with the same credential"],
        ),
        (&keys, "openai-chat", "", &["callers without a tenant that show no credential either, or the same"]),
        (
            &keys,
            "openai-transcriptions",
            "key=shop,model=gpt-4o-transcribe",
            &["admitted   yes", "unknown: what depends on the body"],
        ),
        (
            "[limit.r1]\ntenants = ['r1']\nkey = ['tenant']\nrate = '5/min'\n",
            "openai-chat",
            "tenant=r1,model=gpt-4o",
            &["limits     ai 300 per min", "no limit of the tenant holds (r1)", "address=10.0.0.1"],
        ),
        (&keys, "openai-transcriptions", "key=shop,model=whisper-1", &["model      whisper-1\nrefused    403"]),
        (&keys, "openai-transcriptions", "key=shop,user=u1", &["ignored here: user, as the key has no `names_users`"]),
    ] {
        let config = match config.contains("[route.openai-chat]") {
            true => config.to_owned(),
            false => format!("{config}[route.openai-chat]\ncache = {{ when = 'always' }}\n"),
        };
        let told = call(&config, route, caller);
        for words in wanted {
            assert!(told.contains(words), "{route} {caller}: {words:?} is not in\n{told}");
        }
    }
}

/// What differs among targets, what an expired key opens, and why a name is not believed.
#[test]
fn each_target_has_its_own_attempts_and_times_and_no_key_outlives_its_end() {
    let config = "[provider.openai.retry]\nmax_attempts = 1\n[provider.together.retry]\nmax_attempts = 5\n\
                  [route.openai-chat]\ntargets = [{ provider = 'openai', model = 'a', total = '3s' }, \
                  { provider = 'together', model = 'b', total = '20s' }]\n";
    let told = call(config, "openai-chat", "model=gpt-4o");
    assert!(told.contains("attempts   at most 6 attempts at all targets; 1 at target 1, 5 at target 2\n"), "{told}");
    let each = "for the whole call\n           1  openai: an attempt 3 s, ";
    assert!(told.contains(each) && told.contains("\n           2  together: an attempt 20 s, "), "{told}");

    let key = "[route.openai-chat]\nauth = ['api_key']\n[api_key.old]\nexpires = '2020-01-31T00:00:00Z'\n\
               hash = ['sha256:5ca24005b740717ba4f3f6bc48a230700e68c2a4b11ecedb96f169f4efaf1f21']\n";
    let told = call(key, "openai-chat", "key=old,user=u1");
    assert!(told.contains("shows      the API key old, which has expired\n"), "{told}");
    assert!(told.contains("ignored here: user, as the key has no `names_users`\nrefused    401"), "{told}");
    let told = text(&run("expired", key, &[]));
    assert!(told.contains("an API key (the file has none for it; expired: old)"), "{told}");
}

#[test]
fn the_tested_version_of_a_prompt_is_told_with_its_share() {
    let config = "[prompt.pp.1]\nstatus = 'active'\ntemplate = '{{ text }}'\n\
                  [prompt.pp.2]\nstatus = 'testing'\npercent = 100\ntemplate = '{{ text }}'\n\
                  [route.prompted]\npaths = ['/p']\ncaller = 'restaurant'\ncall = 'chat'\ntargets = ['openai']\nprompt = 'pp'\n";
    let told = call(config, "prompted", "user=u1,tenant=r1");
    assert!(told.contains("\nprompt     pp, version 2, as user u1 is among its 100 % of callers\n"), "{told}");
    let told = call(&config.replace("percent = 100", "percent = 0"), "prompted", "user=u1,tenant=r1");
    assert!(told.contains("\nprompt     pp, version 1 (active)\n"), "{told}");
}

/// What a text of the configuration or of an argument does to a terminal: nothing.
#[test]
fn no_text_of_a_configuration_moves_the_cursor_or_begins_a_line() {
    let config = "[limit.l]\ntiers = [\"a\\u001b[2Jb\\nc\", 'x,y']\nkey = ['address']\nrate = '5/min'\n\
                  [budget.b]\nkey = ['all']\namount = 1\nper = 'day'\ntenants = [\"t\\u001b[2J\\n\"]\n\
                  [model_map.m]\n\"a\\u001b[2J\\nwarning: forged\" = \"b\\u001b[2J\"\n\
                  [route.openai-chat]\nmodel = \"m\\u001b[2J\\nx\"\ncache = { ignore = [\"x\\u001b[2J\"] }\n\
                  targets = [{ provider = 'openai', model = \"q\\u001b[2J\\nwarning: forged\" }, \
                  { provider = 'openai', model_map = 'm' }]\n";
    let all = text(&run("forged", config, &[]));
    let one = call(config, "openai-chat", "model=g\u{1b}[2J\nwarning: forged,tier=x,y");
    for told in [all, one] {
        assert!(!told.contains('\u{1b}') && !told.contains("\nwarning: forged"), "{told}");
    }
}

/// A value may hold a comma, and the description may come in several parts.
#[test]
fn a_caller_is_described_in_several_parts() {
    let config = "[limits]\ntier_header = 'X-Tier'\n\
                  [limit.l]\ntiers = ['x,y']\nkey = ['address']\nrate = '5/min'\n";
    let arguments = ["--route", "openai-chat", "--as", "tier=x,y", "--as", "model=gpt-4o,user=u1"];
    let told = text(&run("parts", config, &arguments));
    assert!(told.contains("caller     tier x,y, tenant default (it names none), user u1,"), "{told}");
    assert!(told.contains("\nmodel      gpt-4o\n"), "{told}");
    let output = run("twice", config, &["--route", "openai-chat", "--as", "user=u1", "--as", "user=u2"]);
    assert_eq!((output.status.code(), &*output.stdout), (Some(2), &b""[..]));
    assert!(String::from_utf8(output.stderr).unwrap().contains("\"user\" is said twice"));
    assert_eq!(run("no-route", config, &["--route", "nope"]).status.code(), Some(2));
    // Of a text with two readings the error says how to write the other one, and that is so.
    let said = call("", "openai-chat", "user=u1,model=a,b=c");
    assert!(said.contains("there is no \"b\"") && said.contains(r"escape the comma: 'model=a\,b=c'"), "{said}");
    let told = call("", "openai-chat", r"user=u1,model=a\,b=c,tier=pro");
    assert!(told.contains("\nmodel      a,b=c\n") && told.contains("tier pro"), "{told}");
}

#[test]
fn a_call_with_tools_or_as_a_stream_is_asked_of_the_targets_apis() {
    let config = "[route.openai-chat]\ntargets = [{ provider = 'buildpanel', model = 'm' }, 'openai']\n";
    let told = call(config, "openai-chat", "model=gpt-4o,tools=true");
    assert!(told.contains("-  buildpanel: it does not support tools\n") && told.contains("1  openai"), "{told}");
    for carried in ["tools=false", "stream=true", "stream=false"] {
        let told = call(config, "openai-chat", &format!("model=gpt-4o,{carried}"));
        assert!(told.contains("1  buildpanel") && !told.contains("ignored here"), "{told}");
    }
    let told = call("", "openai-embeddings", "stream=true,tools=true");
    assert!(told.contains("ignored here: stream") && told.contains("ignored here: tools"), "{told}");
    assert!(call("", "openai-chat", "stream=yes").contains("stream=yes is neither stream=true nor stream=false"));
}

#[test]
fn warnings_and_the_verdict_are_the_last_lines() {
    let config =
        "[limit.gold]\ntiers = ['gold']\nkey = ['user']\ncalls = ['menu']\ncallers = ['openai']\nrate = '5/min'\n";
    for arguments in [&[][..], &["--brief"]] {
        let told = text(&run("last", config, arguments));
        let lines: Vec<&str> = told.lines().collect();
        let first = lines.iter().position(|line| line.starts_with("warning: ")).unwrap();
        assert!(lines[first..].iter().rev().skip(1).all(|line| line.starts_with("warning: ")), "{told}");
        let count = lines.len() - 1 - first;
        assert!(lines.last().unwrap().starts_with("ok: x.toml, "), "{told}");
        assert!(lines.last().unwrap().contains(&format!(", {count} warning")), "{told}");
        // Only a terminal gets colours.
        assert!(!told.contains('\u{1b}'), "{told:?}");
    }
    let told = text(&run("strictly", config, &["--strict"]));
    assert!(told.lines().last().unwrap().starts_with("not ok: x.toml, "), "{told}");
}

#[test]
fn a_brief_check_has_a_line_for_each_route() {
    let told = text(&run("brief", SHOP, &["--brief"]));
    let line = |route: &str| told.lines().find(|line| line.split(' ').next() == Some(route)).unwrap_or_default();
    for route in ["openai-chat", "openai-embeddings", "widget-chat", "canvas-stats"] {
        assert!(!line(route).is_empty(), "{route}: {told}");
    }
    assert!(line("openai-chat").contains("openai"), "{told}");
    assert!(line("canvas-stats").ends_with("the gateway itself"), "{told}");
    let full = text(&run("full", SHOP, &[]));
    assert!(told.lines().count() * 2 < full.lines().count(), "{told}");
}

#[test]
fn what_is_known_only_by_numbers_is_told_as_it_was_written() {
    let config = "[route.openai-chat.mirror]\nshare = 0.07\ntarget = { provider = 'openai', model = 'gpt-4o-mini' }\n\
                  [budget.local]\nroutes = ['canvas-stats', 'openai-chat']\nkey = ['all']\namount = 1\nper = 'day'\n";
    let told = text(&run("mirror", config, &[]));
    assert!(told.contains("7 % of the calls also go to openai\n"), "{told}");
    assert!(!block(&told, "canvas-stats").iter().any(|line| line.starts_with("budgets")), "{told}");
    for (host, is_open) in [("::ffff:127.0.0.1", false), ("::ffff:10.0.0.5", true)] {
        let pairs = [("OPENAI_API_KEY", "k"), ("HOST", host)].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let plan = config::load(None, &Variables::new(pairs.into(), BTreeMap::new())).unwrap();
        let warned = plan.warnings.join("\n");
        assert_eq!(warned.contains("anyone who can reach"), is_open, "{host}: {warned}");
    }
}

/// A model that nobody has named is not held against a caller.
#[test]
fn without_a_model_one_is_taken_that_the_caller_may_name() {
    let key = |models: &str| {
        format!(
            "[route.openai-chat]\nauth = ['api_key']\n[api_key.shop]\nmodels = {models}\n\
             hash = ['sha256:5ca24005b740717ba4f3f6bc48a230700e68c2a4b11ecedb96f169f4efaf1f21']\n"
        )
    };
    let told = call(&key("['gpt-4o-mini']"), "openai-chat", "key=shop");
    assert!(told.contains("admitted   yes") && told.contains("\nmodel      gpt-4o-mini (a usual one"), "{told}");
    let told = call(&key("['own-*']"), "openai-chat", "key=shop");
    assert!(told.contains("admitted   yes") && told.contains("whether the caller may name its model"), "{told}");
    let told = call(&key("['own-*']"), "openai-chat", "key=shop,model=gpt-4o");
    assert!(told.contains("\nmodel      gpt-4o\nrefused    403"), "{told}");
}

#[test]
fn lists_of_models_and_sockets_have_times_of_their_own() {
    let told = call("", "openai-models", "");
    assert!(told.contains("attempts   all targets at once, at most 2 attempts at each"), "{told}");
    assert!(told.contains("for the whole call; 5 s for each target"), "{told}");
    let told = call("", "openai-realtime", "model=gpt-realtime");
    assert!(told.contains("until it is open\nat once    ") && told.contains("WebSockets, "), "{told}");
    assert!(told.contains(", lifetime "), "{told}");
}

#[test]
fn one_key_is_enough_for_a_strict_check() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("check-one-key-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    program.args(["check", "--strict"]).current_dir(&folder).env_clear();
    let output = program.envs([("OPENAI_API_KEY", "k"), ("HOST", "127.0.0.1")]).output().unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    let told = text(&output);
    assert!(output.status.success() && !told.contains("warning:"), "{told}");
    let note = told.lines().find(|line| line.starts_with("note: not set up (named only by the defaults)")).unwrap();
    assert!(note.contains("anthropic") && note.contains("routes without a target"), "{note}");
}

#[test]
fn mistakes_are_told_as_json_too() {
    let output = run("broken-json", "[limit.ai]\nrate = 'fast'\n", &["--json"]);
    assert_eq!(output.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let problem = &told["problems"][0];
    assert_eq!(
        (problem["at"].as_str(), problem["key"].as_str()),
        (Some("x.toml:2:8"), Some("limit.ai.rate")),
        "{told}"
    );
    assert!(output.stderr.is_empty());
}

/// That `cache = {}` is there makes the route cache.
#[test]
fn a_table_without_keys_that_is_taken_away_is_a_change() {
    let route = "[route.w]\npaths = ['/w']\ncaller = 'restaurant'\ncall = 'chat'\ntargets = ['openai']\n";
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("check-empty-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let files = [folder.join("with.toml"), folder.join("without.toml")];
    std::fs::write(&files[0], format!("{route}cache = {{}}\n")).unwrap();
    std::fs::write(&files[1], route).unwrap();
    let compared = |[before, after]: [&Path; 2]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        program.arg("check").arg("--config").arg(after).arg("--against").arg(before).env_clear().envs(VARIABLES);
        let output = program.output().unwrap();
        (output.status.code(), text(&output))
    };
    let [with, without] = [&*files[0], &*files[1]];
    assert_eq!(compared([with, without]), (Some(2), "route.w.cache: {} -> (not set)\n".into()));
    assert_eq!(compared([without, with]), (Some(2), "route.w.cache: (not set) -> {}\n".into()));
    assert_eq!(compared([with, with]), (Some(0), "no changes\n".into()));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn arguments_that_many_try_first_are_answered_with_those_to_use() {
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_tidegate")).args(arguments).env_clear().output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for command in ["check", "serve", "worker"] {
        let (code, said) = run(&[command, "mine.toml"]);
        assert!(
            code == Some(2) && said.contains("tip: --config names the configuration: --config mine.toml"),
            "{said}"
        );
    }
    for arguments in [["init", "openai", "mine.toml"], ["check", "--json", "--nonsense"]] {
        let (code, said) = run(&arguments);
        assert!(code == Some(2) && !said.contains("names the configuration"), "{said}");
    }
    let (code, said) = run(&["demo", "--listen", "8080"]);
    assert!(code == Some(2) && said.contains("an IP address and a port, such as 127.0.0.1:8080"), "{said}");
    let (code, said) = run(&["jobs", "retry"]);
    assert!(code == Some(2) && said.contains("<ID|--state <STATE>>"), "{said}");
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let (code, said) = run(&["check", "--against", &free.to_string()]);
    assert!(code == Some(1) && said.contains(&format!("cannot connect to http://{free}/config")), "{said}");
    let (code, said) = run(&["check", "--against", "no/such:9901"]);
    assert!(code == Some(1) && said.contains("no/such:9901: cannot read it"), "{said}");
}

/// The indented blocks of a page, without their indentation.
fn blocks(page: &str) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    let mut is_in = false;
    for line in page.lines() {
        match line.strip_prefix("    ") {
            Some(code) if is_in => blocks.last_mut().unwrap().push_str(&format!("{code}\n")),
            Some(code) => blocks.push(format!("{code}\n")),
            // An empty line does not end a block; what comes after it does.
            None if line.is_empty() && is_in => blocks.last_mut().unwrap().push('\n'),
            None => {}
        }
        is_in = line.starts_with("    ") || (is_in && line.is_empty());
    }
    blocks
}

#[test]
fn the_examples_of_the_page_are_what_the_program_prints() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/check.md")).unwrap();
    let blocks = blocks(&page);
    let config = blocks.iter().find(|block| block.starts_with("defaults = false")).unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("check-page-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("shop.toml"), config).unwrap();
    let mut tried = 0;
    for block in &blocks {
        let Some((command, printed)) = block.split_once('\n').filter(|(line, _)| line.contains("shop.toml")) else {
            continue;
        };
        let mut program = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        let words = command.split(' ').skip(1);
        let output = program.args(words).current_dir(&folder).env_clear().env("OPENAI_API_KEY", "k").output().unwrap();
        assert_eq!(text(&output).trim_end(), printed.trim_end(), "docs/check.md, {command}");
        tried += 1;
    }
    std::fs::remove_dir_all(folder).unwrap();
    assert_eq!(tried, 2);
}
