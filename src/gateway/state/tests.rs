//! How a configuration change affects the state of providers and flags.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use futures_util::FutureExt;

use http::StatusCode;

use super::*;
use crate::config::{self, Variables};
use crate::model::fault::Denial;
use crate::model::switch::Position;
use crate::state::flags::record::{Change, Record, What};

const PROVIDER: &str = "defaults = false\n[provider.a]\nkind = \"openai\"\nurl = \"http://127.0.0.1:1/v1\"\n";

/// Has an operator throw the switch of `a`.
fn switch(state: &GatewayState, is_on: bool) {
    let (key, known) = state.switches().find("use_a").unwrap();
    let change = Change {
        version: 0,
        position: Some(Position::plain(is_on)),
        was_meant_to_be_on: known.meant.is_on,
        at_ms: 0,
        by: "test".into(),
        from: None,
        what: What::Set,
        note: None,
    };
    let before = state.flags().record(key);
    let after = Record::after(before.as_deref(), change);
    state.flags().change(key, before, after).now_or_never().unwrap().unwrap();
}

/// The state after a change of the config from `PROVIDER` to `text`, while `a` is known to be up and disabled.
fn after(text: &str) -> (GatewayState, GatewayState) {
    let plan = |text: &str| config::load(Some(("x.toml", text)), &Variables::default()).unwrap();
    let world = World::simulated(Arc::default(), jiff::Timestamp::UNIX_EPOCH, 1);
    let before = GatewayState::new(&plan(PROVIDER), &world);
    let a = before.provider("a").unwrap();
    a.note_health(Health::Connected { latency: Duration::ZERO });
    switch(&before, false);
    a.tally.calls.fetch_add(1, Ordering::Relaxed);
    let after = before.adopt(&plan(text), world.chance());
    (before, after)
}

#[tokio::test]
async fn a_provider_that_does_not_change_keeps_its_state() {
    let (before, after) = after(&format!("{PROVIDER}[provider.b]\nkind = \"openai\"\nurl = \"http://[::1]/\"\n"));
    let (old, new) = (before.provider("a").unwrap(), after.provider("a").unwrap());
    assert!(new.health().is_connected() && !new.switch.is_on() && new.breakers.is_same(&old.breakers));
    assert_eq!(new.counts().calls, 1);
    assert_eq!(after.provider("b").unwrap().health(), Health::Unknown);
    assert!(before.provider("b").is_none() && Arc::ptr_eq(before.metrics(), after.metrics()));
    after.drain();
    assert!(before.is_draining());
}

#[tokio::test]
async fn another_breaker_is_a_new_machine_and_nothing_else_changes() {
    let (before, after) = after(&format!("{PROVIDER}breaker = {{ consecutive = 9 }}\n"));
    let (old, new) = (before.provider("a").unwrap(), after.provider("a").unwrap());
    assert!(new.health().is_connected() && !new.switch.is_on() && !new.breakers.is_same(&old.breakers));
    assert_eq!(new.counts().calls, 1);
}

#[tokio::test]
async fn at_another_address_nothing_is_known_about_its_health() {
    let (before, after) = after(&PROVIDER.replace("127.0.0.1", "127.0.0.2"));
    let (old, new) = (before.provider("a").unwrap(), after.provider("a").unwrap());
    assert_eq!((new.health(), new.counts().calls, new.switch.is_on()), (Health::Unknown, 1, false));
    assert!(!new.breakers.is_same(&old.breakers) && old.health().is_connected());
}

#[tokio::test]
async fn what_the_config_takes_out_stays_out_until_an_operator_who_knows_switches_it_on() {
    let (before, off) = after(&format!("{PROVIDER}enabled = false\n"));
    let is_on = |state: &GatewayState| state.provider("a").unwrap().switch.is_on();
    assert!(!is_on(&before) && !is_on(&off));
    switch(&off, true);
    assert!(is_on(&before) && is_on(&off), "the operator's last word is for all");
    switch(&before, true);
    assert!(is_on(&before) && !is_on(&off), "what the config takes out, nobody has switched on who did not know");
}

#[tokio::test]
async fn a_provider_that_goes_takes_its_state_along() {
    let (before, after) = after("defaults = false\n");
    assert!(after.providers().is_empty() && before.provider("a").is_some());
}

#[test]
fn a_simulated_world_has_no_store_whatever_the_plan_names() {
    let store = format!("{PROVIDER}[store]\nredis_url = \"redis://127.0.0.1:1\"\n");
    let plan = config::load(Some(("x.toml", &store)), &Variables::default()).unwrap();
    let world = World::simulated(Arc::default(), jiff::Timestamp::UNIX_EPOCH, 1);
    let state = GatewayState::new(&plan, &world);
    assert!(plan.store.address.is_some() && state.redis().is_none() && state.cluster().is_none());
    let state = GatewayState::new(&plan, &world.with_network_stores());
    assert!(state.redis().is_some());
}

#[tokio::test]
async fn a_probe_shows_that_a_key_is_taken_only_where_a_probe_was_refused_for_it() {
    let (state, _) = after(PROVIDER);
    let a = state.provider("a").unwrap();
    let connected = Health::Connected { latency: Duration::ZERO };
    let refused = Health::Failing { status: StatusCode::UNAUTHORIZED };
    a.note_key(Some(Denial::Key));
    a.note_health(connected.clone());
    assert!(a.is_key_refused(), "the path may be open to all");
    a.note_health(refused.clone());
    a.note_health(Health::Limited { latency: Duration::ZERO });
    assert!(a.is_key_refused(), "a limit says nothing of the key");
    a.note_health(refused.clone());
    a.note_health(connected.clone());
    assert!(!a.is_key_refused());
    // An account without credit may well list models.
    a.note_key(Some(Denial::Account));
    a.note_health(refused);
    a.note_health(connected);
    assert!(a.is_key_refused());
}
