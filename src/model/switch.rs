//! Switch: a flag at runtime: on or off for everyone, for some tenants or tiers, or for a share of the callers.
//!
//! It does not know what it switches, nor who changes it.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

use crate::model::call::Head;
use crate::model::names::customer;

/// What a share is hashed with, so that nothing else that hashes the same words gives the same numbers.
const CONTEXT: &str = "tidegate 2026 share of a flag";

/// Off for everybody.
const OFF: u8 = 0;
/// On for everybody.
const ON: u8 = 1;
/// It depends on who calls.
const DEPENDS: u8 = 2;

/// A share of callers, in hundredths of a percent, so that it is exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u16);

impl Share {
    /// Nobody.
    pub const NONE: Self = Self(0);
    /// Everybody.
    pub const ALL: Self = Self(10_000);

    /// A share from a percentage; `None` where that is not 0 to 100. What is finer than a hundredth is rounded.
    pub fn of_percent(percent: f64) -> Option<Self> {
        (0.0..=100.0).contains(&percent).then_some(Self((percent * 100.0).round() as u16))
    }

    /// How many of the 10,000 places of [`place`] it takes.
    pub fn places(self) -> u16 {
        self.0
    }

    /// The percentage.
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

/// For whom a switch is on.
#[derive(Clone, Debug, PartialEq)]
pub struct Position {
    /// False: for nobody.
    pub is_on: bool,
    /// The share of callers.
    pub share: Share,
    /// Only these tenants, where there are any.
    pub tenants: Vec<Arc<str>>,
    /// Only these tiers, where there are any.
    pub tiers: Vec<Arc<str>>,
}

impl Position {
    /// On or off for everybody.
    pub fn plain(is_on: bool) -> Self {
        Self { is_on, share: Share::ALL, tenants: Vec::new(), tiers: Vec::new() }
    }

    /// `off`, `on`, or for whom it is on. `shows_names`: whether tenants are named, or only counted.
    pub fn in_words(&self, shows_names: bool) -> String {
        let listed = |one: &str, names: &[Arc<str>]| match names {
            [name] => format!("{one} {name}"),
            names => format!("{one}s {}", names.join(", ")),
        };
        let tenants = match &*self.tenants {
            [] => None,
            names if shows_names => Some(listed("tenant", names)),
            [_] => Some("1 tenant".to_owned()),
            names => Some(format!("{} tenants", names.len())),
        };
        let tiers = (!self.tiers.is_empty()).then(|| listed("tier", &self.tiers));
        let groups: Vec<String> = tenants.into_iter().chain(tiers).collect();
        let percent = self.share.percent();
        match (self.word(), groups.is_empty()) {
            (OFF, _) => "off".into(),
            (ON, _) => "on".into(),
            (_, true) => format!("on for {percent} % of callers"),
            (_, false) if self.share == Share::ALL => format!("on for {}", groups.join(" in ")),
            (_, false) => format!("on for {percent} % of {}", groups.join(" in ")),
        }
    }

    fn word(&self) -> u8 {
        match self {
            Position { is_on: false, .. } | Position { share: Share::NONE, .. } => OFF,
            Position { share: Share::ALL, tenants, tiers, .. } if tenants.is_empty() && tiers.is_empty() => ON,
            _ => DEPENDS,
        }
    }

    /// True for this caller. Who is in a share stays in it as it grows, at every gateway and after every restart.
    fn is_for(&self, key: &str, head: &Head) -> bool {
        self.is_aimed_at(head) && (self.share == Share::ALL || place(key, head) < self.share.0)
    }

    /// True where only the share decides whether it is on for this caller.
    pub fn is_aimed_at(&self, head: &Head) -> bool {
        let is_among = |words: &[Arc<str>], word: &Arc<str>| words.is_empty() || words.contains(word);
        self.is_on && is_among(&self.tenants, &head.tenant) && is_among(&self.tiers, &head.tier)
    }
}

/// Where a caller stands between 0 and 9999: by its user, else its tenant, else its address. Another key, another order: who
/// is the first to try one thing is not the first to try all.
pub fn place(key: &str, head: &Head) -> u16 {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(key.as_bytes()).update(&[0]);
    match (&head.user, head.is_tenant_named) {
        // The same user id at two tenants is two people.
        (Some(user), _) => {
            hasher.update(b"user").update(&[0]).update(head.tenant.as_bytes()).update(&[0]).update(user.as_bytes())
        }
        (None, true) => hasher.update(b"tenant").update(&[0]).update(head.tenant.as_bytes()),
        (None, false) => match customer(head.address) {
            IpAddr::V4(address) => hasher.update(b"address").update(&[0]).update(&address.octets()),
            IpAddr::V6(address) => hasher.update(b"address").update(&[0]).update(&address.octets()),
        },
    };
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    (u64::from_le_bytes(first) % u64::from(Share::ALL.0)) as u16
}

/// Which of several ways a caller gets, each in its position. They take their shares one after the other from one order of all
/// callers, so that they add up. One that is off keeps its place in the order: who was in its share gets none of them, and
/// nobody changes over to another. `None`: what all others get.
pub fn choose<T>(order: &str, head: &Head, ways: impl IntoIterator<Item = (T, Arc<Position>)>) -> Option<T> {
    let place = u32::from(place(order, head));
    let mut end = 0;
    let taken = ways.into_iter().find(|(_, position)| {
        let start = end;
        end += u32::from(position.share.places());
        (start..end).contains(&place) && position.is_aimed_at(head)
    });
    taken.map(|(way, _)| way)
}

/// A switch, shared by all who ask it. For whom it is on or off for everybody, asking is one atomic load.
#[derive(Clone, Debug)]
pub struct Switch(Arc<State>);

#[derive(Debug)]
struct State {
    key: Arc<str>,
    word: AtomicU8,
    position: ArcSwap<Position>,
}

impl Switch {
    /// A switch in this position. Its key decides who is in which share.
    pub fn new(key: Arc<str>, position: Position) -> Self {
        Self(Arc::new(State { key, word: AtomicU8::new(position.word()), position: ArcSwap::from_pointee(position) }))
    }

    /// True when it is on for this caller.
    pub fn is_on_for(&self, head: &Head) -> bool {
        match self.0.word.load(Ordering::Relaxed) {
            OFF => false,
            ON => true,
            _ => self.0.position.load().is_for(&self.0.key, head),
        }
    }

    /// True when it may be on for somebody.
    pub fn is_on(&self) -> bool {
        self.0.word.load(Ordering::Relaxed) != OFF
    }

    /// The part of those that it is aimed at for whom it is on: 0 to 1.
    pub fn part(&self) -> f64 {
        let position = self.position();
        if position.is_on { position.share.percent() / 100.0 } else { 0.0 }
    }

    /// Its position.
    pub fn position(&self) -> Arc<Position> {
        self.0.position.load_full()
    }

    /// Throws it. Calls that run see it at the next thing that they ask it.
    pub fn set(&self, position: Position) {
        let word = position.word();
        self.0.position.store(Arc::new(position));
        self.0.word.store(word, Ordering::Release);
    }

    /// True when nobody else holds it.
    pub fn is_alone(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

/// A position as it is written: `{"enabled", "rolloutPercentage", "tenants", "tiers"}`.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    enabled: bool,
    rollout_percentage: f64,
    tenants: Vec<Arc<str>>,
    tiers: Vec<Arc<str>>,
}

impl Serialize for Position {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { is_on, share, tenants, tiers } = self.clone();
        Written { enabled: is_on, rollout_percentage: share.percent(), tenants, tiers }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Written { enabled, rollout_percentage, tenants, tiers } = Written::deserialize(deserializer)?;
        let share = Share::of_percent(rollout_percentage);
        let share = share.ok_or_else(|| serde::de::Error::custom("rolloutPercentage is not 0 to 100"))?;
        Ok(Self { is_on: enabled, share, tenants, tiers })
    }
}

/// What a flag switches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagKind {
    /// Whether a provider is asked: `use_NAME`.
    Provider,
    /// Whether a route answers: `route_NAME`.
    Route,
    /// Whether a policy does its work: `policy_NAME`.
    Policy,
    /// Who gets a variant: `variant_NAME`.
    Variant,
    /// Whether versions of a prompt are tested, and who gets one: `prompt_KEY`, `prompt_KEY_VERSION`.
    Prompt,
}

impl FlagKind {
    /// The word in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            FlagKind::Provider => "provider",
            FlagKind::Route => "route",
            FlagKind::Policy => "policy",
            FlagKind::Variant => "variant",
            FlagKind::Prompt => "prompt",
        }
    }

    /// The key of the flag that switches the one of this name. Two names that differ only in `-`, `.` and `_` share a flag.
    pub fn key(self, name: &str) -> Arc<str> {
        let prefix = match self {
            FlagKind::Provider => "use",
            other => other.as_str(),
        };
        format!("{prefix}_{}", name.replace(['-', '.'], "_")).into()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn caller(user: Option<&str>, tenant: &str, is_tenant_named: bool, address: [u8; 4]) -> Head {
        Head {
            is_tenant_named,
            user: user.map(Arc::from),
            tier: "free".into(),
            ..Head::anonymous("i".into(), "r".into(), tenant.into(), IpAddr::V4(Ipv4Addr::from(address)))
        }
    }

    fn switch(percent: f64) -> Switch {
        Switch::new("use_a".into(), Position { share: Share::of_percent(percent).unwrap(), ..Position::plain(true) })
    }

    #[test]
    fn a_share_of_users_is_that_share() {
        for percent in [1.0, 25.0, 50.0, 90.0] {
            let switch = switch(percent);
            let is_in = |number: &u32| switch.is_on_for(&caller(Some(&format!("user-{number}")), "t", true, [0; 4]));
            let share = (0..20_000).filter(is_in).count() as f64 / 200.0;
            assert!((share - percent).abs() < 1.5, "{share} % of users instead of {percent}");
        }
    }

    /// Written down, because another gateway, another version and a restart must all come to the same.
    #[test]
    fn where_a_caller_stands_never_changes() {
        let places = [
            place("use_buildpanel", &caller(Some("ann"), "r1", true, [10, 0, 0, 1])),
            place("use_buildpanel", &caller(None, "r1", true, [10, 0, 0, 1])),
            place("use_buildpanel", &caller(None, "default", false, [10, 0, 0, 1])),
            place("use_openai", &caller(Some("ann"), "r1", true, [10, 0, 0, 1])),
        ];
        assert_eq!(places, [1340, 9320, 8353, 8595]);
    }

    proptest! {
        #[test]
        fn who_is_in_a_share_stays_in_it_as_it_grows(user in "[a-z]{1,8}", small in 0.0..100.0f64, more in 0.0..100.0f64) {
            let caller = caller(Some(&user), "t", true, [0; 4]);
            let larger = (small + more).min(100.0);
            prop_assert!(!switch(small).is_on_for(&caller) || switch(larger).is_on_for(&caller));
            prop_assert!(!switch(0.0).is_on_for(&caller) && switch(100.0).is_on_for(&caller));
        }

        #[test]
        fn a_caller_is_known_by_its_user_else_its_tenant_else_its_address(
            percent in 0.0..100.0f64, one in any::<[u8; 4]>(), other in any::<[u8; 4]>(),
        ) {
            let switch = switch(percent);
            let is_on = |user, is_named, address| switch.is_on_for(&caller(user, "t", is_named, address));
            prop_assert_eq!(is_on(Some("u"), true, one), is_on(Some("u"), false, other));
            prop_assert_eq!(is_on(None, true, one), is_on(None, true, other));
            prop_assert_eq!(is_on(None, false, one), is_on(None, false, one));
        }
    }

    #[test]
    fn ways_share_one_order_and_one_that_is_off_keeps_its_place() {
        let share = |percent, is_on| {
            Arc::new(Position { share: Share::of_percent(percent).unwrap(), ..Position::plain(is_on) })
        };
        let chosen = |ways: [(char, Arc<Position>); 2]| {
            let callers = (0..2000).map(|number| caller(Some(&format!("user-{number}")), "t", true, [0; 4]));
            callers.map(|caller| choose("order", &caller, ways.clone())).collect::<Vec<_>>()
        };
        let both = chosen([('a', share(20.0, true)), ('b', share(30.0, true))]);
        let part = |all: &[Option<char>], way| all.iter().filter(|taken| **taken == way).count() as f64 / 20.0;
        assert!((part(&both, Some('a')) - 20.0).abs() < 4.0 && (part(&both, Some('b')) - 30.0).abs() < 4.0);
        let without = chosen([('a', share(20.0, false)), ('b', share(30.0, true))]);
        for (before, now) in both.iter().zip(&without) {
            assert_eq!(*now, before.filter(|way| *way == 'b'));
        }
    }

    #[test]
    fn a_switch_for_some_tenants_and_tiers_is_on_for_who_is_of_both() {
        let position = Position { tenants: vec!["r1".into()], tiers: vec!["free".into()], ..Position::plain(true) };
        let switch = Switch::new("use_a".into(), position.clone());
        assert!(
            switch.is_on_for(&caller(None, "r1", true, [0; 4])) && !switch.is_on_for(&caller(None, "r2", true, [0; 4]))
        );
        switch.set(Position { tiers: vec!["pro".into()], ..position });
        assert!(!switch.is_on_for(&caller(None, "r1", true, [0; 4])) && switch.is_on());
        switch.set(Position::plain(false));
        assert!(!switch.is_on());
    }

    #[test]
    fn a_position_is_told_in_words_and_tenants_are_named_only_where_they_may_be() {
        let words = |is_on, percent, tenants: &[&str], tiers: &[&str]| {
            let names = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect();
            let share = Share::of_percent(percent).unwrap();
            let position = Position { is_on, share, tenants: names(tenants), tiers: names(tiers) };
            [position.in_words(true), position.in_words(false)]
        };
        assert_eq!(words(false, 100.0, &["a"], &[]), ["off", "off"]);
        assert_eq!(words(true, 0.0, &[], &[]), ["off", "off"]);
        assert_eq!(words(true, 100.0, &[], &[]), ["on", "on"]);
        assert_eq!(words(true, 2.5, &[], &[]), ["on for 2.5 % of callers", "on for 2.5 % of callers"]);
        let both = ["on for tenants a, b in tier pro", "on for 2 tenants in tier pro"];
        assert_eq!(words(true, 100.0, &["a", "b"], &["pro"]), both);
        assert_eq!(words(true, 12.5, &["a"], &[]), ["on for 12.5 % of tenant a", "on for 12.5 % of 1 tenant"]);
    }

    #[test]
    fn a_position_is_read_as_it_was_written() {
        let position = Position {
            is_on: true,
            share: Share::of_percent(0.25).unwrap(),
            tenants: vec!["r1".into()],
            tiers: Vec::new(),
        };
        let text = serde_json::to_string(&position).unwrap();
        assert_eq!(serde_json::from_str::<Position>(&text).unwrap(), position);
        assert!(serde_json::from_str::<Position>(&text.replace("0.25", "100.1")).is_err());
    }
}
