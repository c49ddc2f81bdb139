//! Limit: rate limits, by key.

use std::sync::Arc;

use http::{HeaderName, Method};

use crate::config::engine::amounts::MILLION;
use crate::config::plan::{CallKind, CallerKind, RoutePlan};
use crate::model::call::{ANONYMOUS, Head};
use crate::model::ip_ranges;
use crate::model::names::customer;
use crate::model::rate::{Key, KeyParts, KeyPrefix, Rate};

/// `[limits]` and all rules.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitsPlan {
    /// False: no rule counts.
    pub is_on: bool,
    /// Keys that are remembered at once, in this process.
    pub max_keys: usize,
    /// The tier of users of whom nothing else is known.
    pub tier: Arc<str>,
    /// The header whose word is the caller's tier.
    pub tier_header: Option<HeaderName>,
    /// The rules that are switched on.
    pub rules: Vec<Arc<LimitPlan>>,
}

impl LimitsPlan {
    /// The tier of callers of whom nothing says one.
    pub fn usual_tier(&self, is_known: bool) -> Arc<str> {
        if is_known { self.tier.clone() } else { ANONYMOUS.clone() }
    }
}

/// `[limit.NAME]`: what is limited, for whom, and how much.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitPlan {
    /// Its name.
    pub name: Arc<str>,
    /// Names of routes, or their beginnings followed by `*`; empty means any route of callers.
    pub routes: Vec<Box<str>>,
    /// What is asked for; empty means anything.
    pub calls: Vec<CallKind>,
    /// The callers' dialects; empty means all.
    pub callers: Vec<CallerKind>,
    /// Methods; empty means all.
    pub methods: Vec<Method>,
    /// Tiers; empty means all.
    pub tiers: Vec<Box<str>>,
    /// Tenants; empty means all, and callers that name none.
    pub tenants: Vec<Box<str>>,
    /// Whether it is about the calls that jobs make: `None`: about those too, `true`: about those alone, `false`: not about them.
    pub is_about_jobs: Option<bool>,
    /// True when a rule for tiers or tenants holds beside those that are for more callers. Otherwise it takes their place.
    pub is_also: bool,
    /// Who is counted: the first of these of which every part is known.
    pub key: Vec<KeyPlan>,
    /// What is counted.
    pub quantity: Quantity,
    /// How much of it, in the quantity's units.
    pub rate: Rate,
    /// False: it counts and reports, and refuses nothing.
    pub is_enforced: bool,
    /// What a refused caller reads.
    pub message: Option<Arc<str>>,
    /// Where a refused caller can get more.
    pub upgrade_url: Option<Arc<str>>,
}

/// One way to say who is counted: these parts together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPlan(pub Vec<KeyPart>);

impl KeyPlan {
    /// Who is counted under a rule: the first of several ways of which every part is known of a caller; `None` when nobody is.
    pub fn first(ways: &[Self], rule: &KeyPrefix, head: &Head) -> Option<Counted> {
        let believes = Self::believes(ways, head);
        ways.iter().find_map(|way| {
            let mut parts = rule.begin();
            for part in &way.0 {
                part.add(head, &mut parts)?;
            }
            if !believes && !way.is_address() {
                parts = rule.begin();
                KeyPart::Address.add(head, &mut parts)?;
            }
            let is_unchecked = !head.is_proven && way.0.contains(&KeyPart::ApiKey);
            Some(Counted { key: parts.key(), is_by_place: !believes || way.has_address() || is_unchecked })
        })
    }

    /// The same in words: `user "u1"`, `tenant "r1" + address 203.0.113.7`.
    pub fn in_words(ways: &[Self], head: &Head) -> Option<String> {
        let believes = Self::believes(ways, head);
        ways.iter().find_map(|way| {
            let parts: Vec<String> = way.0.iter().map(|part| part.in_words(head)).collect::<Option<_>>()?;
            match believes || way.is_address() {
                true => Some(parts.join(" + ")),
                false => KeyPart::Address.in_words(head),
            }
        })
    }

    /// A user, tenant or token that nobody has checked can be made up, a new one for each request. From the internet it tells
    /// nobody apart where an address can.
    fn believes(ways: &[Self], head: &Head) -> bool {
        is_believed(head) || !ways.iter().any(Self::has_address)
    }

    /// The word in the config: `tenant+address`.
    pub fn as_written(&self) -> String {
        self.0.iter().map(|part| part.as_str()).collect::<Vec<_>>().join("+")
    }

    fn is_address(&self) -> bool {
        self.0 == [KeyPart::Address]
    }

    /// True when the caller's address is a part of it.
    pub fn has_address(&self) -> bool {
        self.0.contains(&KeyPart::Address)
    }
}

/// True when what a caller says of itself counts: a credential shows it, or the caller is in a private network.
fn is_believed(head: &Head) -> bool {
    head.is_proven || ip_ranges::is_near(head.address)
}

/// The tenant whose own rules a caller has; `None`: it names none, or one that it may have made up.
pub fn believed_tenant(head: &Head) -> Option<&str> {
    (head.is_tenant_named && is_believed(head)).then_some(&*head.tenant)
}

/// Who is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Under which key.
    pub key: Key,
    /// True when it tells many callers behind one address not apart: an address, or a token that nobody has checked, as many
    /// clients show the same placeholder.
    pub is_by_place: bool,
}

/// A part of who is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPart {
    /// The user that the caller names.
    User,
    /// The tenant that the caller names.
    Tenant,
    /// The bearer token that the caller sends.
    ApiKey,
    /// The caller's network address; of IPv6 its first 64 bits, which one customer has as a rule.
    Address,
}

impl KeyPart {
    /// All of them with their words.
    pub const ALL: [(KeyPart, &'static str); 4] = [
        (KeyPart::User, "user"),
        (KeyPart::Tenant, "tenant"),
        (KeyPart::ApiKey, "api_key"),
        (KeyPart::Address, "address"),
    ];

    /// The word in the config.
    pub fn as_str(self) -> &'static str {
        match self {
            KeyPart::User => "user",
            KeyPart::Tenant => "tenant",
            KeyPart::ApiKey => "api_key",
            KeyPart::Address => "address",
        }
    }

    /// What is known of a caller.
    fn of(self, head: &Head) -> Option<&Arc<str>> {
        match self {
            KeyPart::User => head.user.as_ref(),
            // Everybody who names none has the default one: it is not who they are.
            KeyPart::Tenant => Some(&head.tenant).filter(|_| head.is_tenant_named),
            KeyPart::ApiKey => head.api_key.as_ref(),
            KeyPart::Address => None,
        }
    }

    fn in_words(self, head: &Head) -> Option<String> {
        match self {
            KeyPart::Address => Some(format!("address {}", customer(head.address))),
            KeyPart::ApiKey => Some(format!("API key \"{}\"", self.of(head)?)),
            KeyPart::User | KeyPart::Tenant => Some(format!("{} \"{}\"", self.as_str(), self.of(head)?)),
        }
    }

    /// Adds what is known of a caller to a key; `None`: nothing is.
    fn add(self, head: &Head, parts: &mut KeyParts<'_>) -> Option<()> {
        let kind = (self as u8, self.as_str());
        match self {
            KeyPart::Address => parts.address(kind, customer(head.address)),
            KeyPart::User | KeyPart::Tenant | KeyPart::ApiKey => parts.text(kind, self.of(head)?),
        }
        Some(())
    }
}

/// What a rule counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// Calls.
    Requests,
    /// Tokens, of prompts and answers together.
    Tokens,
    /// What tokens cost, in millionths of a dollar.
    Usd,
}

impl Quantity {
    pub(in crate::config) const ALL: [(Quantity, &'static str); 3] =
        [(Quantity::Requests, "requests"), (Quantity::Tokens, "tokens"), (Quantity::Usd, "usd")];

    /// The word in the config and in headers.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(quantity, _)| *quantity == self).map_or("requests", |(_, word)| word)
    }

    /// Millionths of what the config counts in, as units; `None` when that is no whole number above zero.
    pub(in crate::config) fn units(self, millionths: u64) -> Option<u64> {
        let per_unit = MILLION / self.scale();
        (millionths > 0 && millionths.is_multiple_of(per_unit)).then_some(millionths / per_unit)
    }

    /// Units in one of what the config counts in.
    pub fn scale(self) -> u64 {
        match self {
            Quantity::Requests | Quantity::Tokens => 1,
            Quantity::Usd => MILLION,
        }
    }
}

impl LimitPlan {
    /// True when the rule is about this route.
    pub fn is_about(&self, route: &RoutePlan) -> bool {
        let names_it = names_route(&self.routes, &route.name);
        let asks_it = self.calls.is_empty() || self.calls.contains(&route.call);
        let speaks_it = self.callers.is_empty() || self.callers.contains(&route.caller);
        let does_it = self.methods.is_empty() || route.methods.iter().any(|method| self.methods.contains(method));
        let is_for_them = self.is_about_jobs.is_none_or(|jobs| jobs == route.is_for_jobs());
        names_it && asks_it && speaks_it && does_it && is_for_them
    }

    /// True when the rule is about the health pages. Only a rule that names them is.
    pub fn is_about_health(&self) -> bool {
        self.routes.iter().any(|route| &**route == HEALTH)
    }

    /// For whom it is. A tenant is narrower than a tier: whoever names one means it.
    pub fn specificity(&self) -> Specificity {
        match (self.tenants.is_empty(), self.tiers.is_empty()) {
            (false, _) => Specificity::Tenants,
            (true, false) => Specificity::Tiers,
            (true, true) => Specificity::Everybody,
        }
    }

    /// True when it takes the place of less specific rules that count the same, for its callers. One that refuses nothing takes
    /// nobody's.
    pub fn is_instead(&self) -> bool {
        self.specificity() != Specificity::Everybody && !self.is_also && self.is_enforced
    }

    /// True when it is about callers of this tier and this tenant; `None`: they name none, or one that nobody has checked.
    pub fn is_for(&self, tier: &str, tenant: Option<&str>) -> bool {
        names_caller(&self.tiers, &self.tenants, tier, tenant)
    }

    /// What the rule says, as far as counts depend on it: while it stays the same, counts go on where they were.
    pub fn fingerprint(&self) -> String {
        let Self { name, key, quantity, rate, .. } = self;
        let Rate { count, period, burst } = rate;
        format!("{name} {key:?} {} {count} {} {burst}", quantity.as_str(), period.as_nanos())
    }
}

/// True when callers of this tier and this tenant are among these; an empty list names all.
pub(in crate::config) fn names_caller(
    tiers: &[Box<str>],
    tenants: &[Box<str>],
    tier: &str,
    tenant: Option<&str>,
) -> bool {
    let is_tier = || tiers.iter().any(|own| **own == *tier);
    let is_tenant = || tenant.is_some_and(|tenant| tenants.iter().any(|own| **own == *tenant));
    (tiers.is_empty() || is_tier()) && (tenants.is_empty() || is_tenant())
}

/// For whom a rule is, the widest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Specificity {
    /// Every caller.
    Everybody,
    /// Callers of some tiers.
    Tiers,
    /// Callers of some tenants.
    Tenants,
}

/// The name that rules use for the pages that the gateway answers at `/health`, `/health/status` and `/info`.
pub const HEALTH: &str = "health";

/// True when one of these names, or prefixes followed by `*`, is the route's; and when there are none.
pub(in crate::config) fn names_route(wanted: &[Box<str>], route: &str) -> bool {
    let fits = |wanted: &str| match wanted.strip_suffix('*') {
        Some(beginning) => route.starts_with(beginning),
        None => route == wanted,
    };
    wanted.is_empty() || wanted.iter().any(|wanted| fits(wanted))
}
