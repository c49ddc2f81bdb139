//! Sampled metrics: values in a gateway's state that are read at scrape. What policies keep is described beside
//! them; this file lists them, and has everything that lower storeys keep.

use std::sync::Arc;

use crate::config::plan::Plan;
use crate::gateway::state::{GatewayState, Health, ProviderState};
use crate::gateway::world::World;
use crate::model::calendar::Period;
use crate::model::job::JobPriority;
use crate::policy::auth::jwks::{self, KeySet};
use crate::policy::{admit, breaker, cache, concurrency, limit};
use crate::provider::balance;
use crate::state::jobs::process::Jobs;
use crate::telemetry::metrics::process;
use crate::telemetry::metrics::sampled::{Sampled, Samples};

/// Everything that is sampled of one generation of the configuration.
pub(super) fn sampled(
    generation: u64,
    plan: &Arc<Plan>,
    state: &Arc<GatewayState>,
    world: &Arc<World>,
    jobs: &Arc<Jobs>,
    published: Option<KeySet>,
) -> Sampled {
    let mut sampled = Sampled::default();
    sampled.add(process::sampled);
    sampled.add(config(generation, state.clone(), world.clone()));
    sampled.add(providers(state.clone()));
    sampled.add(breaker::sampled(of_providers(state, |provider| provider.breakers.clone())));
    sampled.add(concurrency::sampled(of_providers(state, |provider| provider.places.clone())));
    sampled.add(balance::sampled(of_providers(state, |provider| provider.instances.clone())));
    sampled.add(limits(state.clone()));
    sampled.add(limit::sampled(state.limits().fronts.clone()));
    sampled.add(budgets(plan.clone(), state.clone(), world.clone()));
    sampled.add(cache::sampled(state.entries().clone(), state.flights().clone(), state.cluster().cloned()));
    sampled.add(admit::sampled(state.tunnels().clone()));
    sampled.add(jwks::sampled(published));
    sampled.add(flags(state.clone()));
    sampled.add(queue(jobs.clone(), world.clone()));
    let (spans, reports, recording) = (state.spans().clone(), state.reports().clone(), state.recording().clone());
    sampled.add(move |samples| {
        spans.sample(samples);
        reports.sample(samples);
        recording.sample(samples);
    });
    sampled
}

/// A part of each provider's state, with the provider's name.
fn of_providers<T>(state: &GatewayState, part: impl Fn(&ProviderState) -> T) -> Vec<(Arc<str>, T)> {
    state.providers().iter().map(|provider| (provider.name.clone(), part(provider))).collect()
}

fn config(generation: u64, state: Arc<GatewayState>, world: Arc<World>) -> impl Fn(&mut Samples<'_>) {
    move |samples| {
        let reloads = state.reloads();
        let loaded = reloads.last.as_ref().map_or(world.started(), |last| last.at).as_millisecond() as f64 / 1000.0;
        samples.gauge("tidegate_config_generation", "Configurations loaded since the start of the process", generation);
        let help = "Configuration reloads by result";
        let by_result = [(["success"], reloads.succeeded), (["failure"], reloads.failed)];
        samples.counters("tidegate_config_reloads_total", help, ["result"], by_result);
        let help = "1 if the last configuration reload succeeded, 0 if it was rejected";
        samples.gauge("tidegate_config_last_reload_success", help, u32::from(reloads.is_fine()));
        let help = "Time of the last configuration reload, or of the start, in seconds since 1970";
        samples.gauge("tidegate_config_last_reload_timestamp_seconds", help, loaded);
        let help = "Memory held by buffered request bodies";
        samples.gauge("tidegate_buffered_bytes", help, state.buffers().taken());
    }
}

fn providers(state: Arc<GatewayState>) -> impl Fn(&mut Samples<'_>) {
    move |samples| {
        let providers = || state.providers().iter();
        // Nothing is known before the first probe has ended.
        let probed = providers().map(|provider| (&provider.name, provider.health()));
        let probed = probed.filter(|(_, health)| *health != Health::Unknown);
        let up = probed.map(|(name, health)| ([name], u32::from(health.is_connected())));
        samples.gauges("tidegate_provider_up", "1 if the last probe of the provider succeeded", ["provider"], up);
        let help = "1 while a provider rejects the gateway's API key or account";
        let refused = providers().map(|provider| ([&provider.name], u32::from(provider.is_key_refused())));
        samples.gauges("tidegate_provider_key_refused", help, ["provider"], refused);
        let help = "Cost of provider responses, from the price table";
        let cost = providers().map(|provider| ([&provider.name], provider.counts().nanodollars as f64 / 1e9));
        samples.counters("tidegate_cost_usd_total", help, ["provider"], cost);
        let (hits, misses) = state.cache_counts();
        samples.counter("cache_hits_total", "Calls answered with a cached response", hits);
        samples.counter("cache_misses_total", "Cacheable calls for which no cached response was found", misses);
    }
}

/// What rate limits keep, and the store that counts for them.
fn limits(state: Arc<GatewayState>) -> impl Fn(&mut Samples<'_>) {
    move |samples| {
        let tally = state.limits().meter.tally();
        samples.gauge("tidegate_limit_keys", "Rate limit keys held in memory", tally.keys);
        let help = "Rate limit keys evicted from memory because the table was full";
        samples.counter("tidegate_limit_keys_evicted_total", help, tally.evicted);
        let help = "Rate limit corrections that never reached the shared store";
        samples.counter("tidegate_limit_unsettled_total", help, tally.unsettled);
        let redis = state.redis();
        // The store inside the process always answers.
        let is_up = redis.is_none_or(|redis| !redis.is_out());
        samples.gauge("tidegate_store_up", "1 while the store responds", u32::from(is_up));
        samples.gauge("tidegate_store_gateways", "Gateways that share the store", tally.gateways);
        let operations = redis.map(|redis| redis.operations()).unwrap_or_default();
        samples.counter("tidegate_store_operations_total", "Operations sent to the store", operations.asked);
        samples.counter("tidegate_store_failures_total", "Store operations that failed", operations.failures);
    }
}

fn budgets(plan: Arc<Plan>, state: Arc<GatewayState>, world: Arc<World>) -> impl Fn(&mut Samples<'_>) {
    move |samples| {
        let spent = state.accounts().shares(world.now());
        // A budget of which nobody has spent anything in this period is there too.
        let unspent = plan.budgets.iter().filter(|plan| !spent.contains_key(&plan.name));
        let unspent = unspent.map(|plan| ([&plan.name], 0.0));
        let help = "Largest share of the budget that is spent, of all its accounts";
        let shares = spent.iter().map(|(budget, share)| ([budget], *share)).chain(unspent);
        samples.gauges("tidegate_budget_used_ratio", help, ["budget"], shares);
        let most = [(Period::Day, plan.usage.user_day), (Period::Month, plan.usage.user_month)];
        let over = most.map(|(period, most)| ([period.as_str()], state.ledger().users_over(period, most, world.now())));
        let help = "Users who spent more than usage.user_day or usage.user_month";
        samples.gauges("tidegate_users_over_budget", help, ["period"], over);
    }
}

fn flags(state: Arc<GatewayState>) -> impl Fn(&mut Samples<'_>) {
    move |samples| {
        let shares = state.switches().iter().map(|(flag, known)| ([flag], known.switch.part()));
        samples.gauges("tidegate_flag_share", "Share of callers for whom the flag is on, 0 to 1", ["flag"], shares);
        let trips = state.flags().trips().into_iter().map(|((flag, reason), count)| ([flag, reason.into()], count));
        let help = "Automatic disables of a flag by its guard, by reason";
        samples.counters("tidegate_flag_trips_total", help, ["flag", "reason"], trips);
    }
}

/// Jobs, as the store counted them last. They are those of all gateways that share it.
fn queue(jobs: Arc<Jobs>, world: Arc<World>) -> impl Fn(&mut Samples<'_>) {
    move |samples| {
        let counts = jobs.counts();
        let queued =
            JobPriority::ALL.into_iter().zip(counts.queued).map(|(priority, count)| ([priority.as_str()], count));
        let help = "Jobs that wait for their turn, by priority";
        samples.gauges("tidegate_jobs_waiting", help, ["priority"], queued);
        let help = "Jobs that wait for a time: their own delay, the next attempt, room, limits or budgets";
        samples.gauge("tidegate_jobs_delayed", help, counts.delayed);
        samples.gauge("tidegate_jobs_running", "Jobs that workers have", counts.active);
        samples.gauge("tidegate_jobs_dead", "Jobs that have failed and are still kept (dead letters)", counts.failed);
        let help = "How long the oldest queued job has been queued; 0 if none is";
        samples.gauge("tidegate_jobs_oldest_seconds", help, counts.oldest_age(world.now()).as_secs_f64());
        samples.gauge("tidegate_jobs_webhooks_due", "Webhooks that are not delivered yet", counts.hooks);
        let help = "1 while jobs can be submitted, as far as is known";
        samples.gauge("tidegate_jobs_store_up", help, u32::from(jobs.store().outage().is_none()));
    }
}
