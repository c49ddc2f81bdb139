//! Whom a limit counts, in words: they are the same for two callers exactly where the key is.

use std::net::IpAddr;
use std::sync::Arc;

use proptest::prelude::*;
use tidegate::config::plan::{KeyPart, KeyPlan};
use tidegate::model::call::Head;
use tidegate::model::rate::{KeyPrefix, KeyScheme};

fn head() -> impl Strategy<Value = Head> {
    let name = || prop_oneof![Just(None), Just(Some(Arc::from("a"))), Just(Some(Arc::from("b")))];
    let address = prop_oneof![Just("10.0.0.5"), Just("203.0.113.7"), Just("203.0.113.8"), Just("2001:db8::1")];
    (name(), name(), name(), address, any::<bool>()).prop_map(|(user, tenant, api_key, address, is_proven)| {
        let address: IpAddr = address.parse().unwrap();
        Head {
            user,
            is_tenant_named: tenant.is_some(),
            api_key,
            is_proven,
            ..Head::anonymous("id".into(), "r".into(), tenant.unwrap_or_else(|| "default".into()), address)
        }
    })
}

fn ways() -> impl Strategy<Value = Vec<KeyPlan>> {
    let part = prop::sample::select(KeyPart::ALL.map(|(part, _)| part).to_vec());
    let way = prop::collection::vec(part, 0..3).prop_map(KeyPlan);
    prop::collection::vec(way, 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn words_tell_callers_apart_as_keys_do(ways in ways(), one in head(), other in head()) {
        let rule = KeyPrefix::new(KeyScheme::Shared, "rule");
        let key = |head| KeyPlan::first(&ways, &rule, head).map(|counted| counted.key);
        let words = |head| KeyPlan::in_words(&ways, head);
        prop_assert_eq!(key(&one).is_some(), words(&one).is_some());
        prop_assert_eq!(key(&one) == key(&other), words(&one) == words(&other), "{:?} {:?}", words(&one), words(&other));
    }
}
