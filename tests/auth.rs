//! Who may call, in virtual time: every way in which a token can be wrong, keys that change while calls go on, and a
//! publisher of keys that is out. What callers see in their own shapes is in `tests/scenarios/auth-*`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on stops, and says what it expected"
)]

#[path = "auth/bench.rs"]
mod bench;
mod tokens;

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::bench::{Bench, START};
use crate::tokens::{SECRET, encoded, head, jwk, public_pem, signed};

/// Claims that are good for an hour from the start.
fn claims() -> Value {
    json!({"sub": "u1", "restaurant_id": "r1", "iss": "https://issuer.example", "aud": "authenticated", "exp": START + 3600})
}

fn with(base: Value, more: Value) -> Value {
    let (mut base, Value::Object(more)) = (base, more) else { panic!("an object") };
    base.as_object_mut().unwrap().extend(more);
    base
}

fn without(mut base: Value, name: &str) -> Value {
    base.as_object_mut().unwrap().remove(name);
    base
}

/// What is checked with the secret, with published keys (`rsa`, `ed`) and with a key from a file (`ec`).
const EVERYTHING: &str = r#"
[auth]
jwks_url = "https://keys.example/jwks.json"
public_key_file = "tests/tokens/ec.pub.pem"
issuer = "https://issuer.example"
audience = ["authenticated", "service"]
"#;

/// Tokens that let in: who signs, with which head, and what they say.
fn good() -> Vec<(&'static str, String)> {
    let token = |key: &str| signed(&head(key), &claims(), key);
    let changed = |more: Value| signed(&head(SECRET), &with(claims(), more), SECRET);
    vec![
        ("HS256", token(SECRET)),
        ("RS256, published", token("rsa")),
        ("EdDSA, published", token("ed")),
        ("ES256, from a file", token("ec")),
        ("without a name of its key", signed(&json!({"alg": "EdDSA"}), &claims(), "ed")),
        (
            "the key of a file under any name",
            signed(&json!({"alg": "ES256", "kid": "../../etc/passwd"}), &claims(), "ec"),
        ),
        ("one of several audiences", changed(json!({"aud": ["other", "service"]}))),
        ("ends with a fraction", changed(json!({"exp": START as f64 + 0.5}))),
        ("ended within the leeway", changed(json!({"exp": START - 29}))),
        ("begins within the leeway", changed(json!({"nbf": START + 30}))),
        ("a numbered tenant", changed(json!({"restaurant_id": 17}))),
        ("a role of Supabase's", changed(json!({"role": "authenticated", "is_anonymous": false}))),
        ("a role of the deployment's", changed(json!({"role": "waiter"}))),
        ("a role that may name tenants", changed(json!({"role": "super_admin"}))),
    ]
}

/// Tokens that do not: what is wrong with them, and what the log calls it.
fn bad() -> Vec<(&'static str, String, &'static str)> {
    let by_secret = |claims: &Value| signed(&head(SECRET), claims, SECRET);
    let changed = |more: Value| by_secret(&with(claims(), more));
    let headed = |more: Value| signed(&with(head(SECRET), more), &claims(), SECRET);
    let good = by_secret(&claims());
    let [good_head, good_claims, good_signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let other_claims = encoded(with(claims(), json!({"restaurant_id": "r2"})).to_string());
    let other_head = encoded(json!({"alg": "HS256", "typ": "jwt"}).to_string());
    let flipped = format!("{}{}", &good_signature[..20], if good_signature[20..].starts_with('A') { "B" } else { "A" });
    let flipped = format!("{flipped}{}", &good_signature[21..]);
    let unsigned = |algorithm: &str| {
        format!("{}.{}.", encoded(json!({"alg": algorithm, "typ": "JWT"}).to_string()), encoded(claims().to_string()))
    };
    let own = |more: Value| signed(&with(head("rsa2"), more), &claims(), "rsa2");
    vec![
        // Not what it was when it was signed.
        ("claims of another", format!("{good_head}.{other_claims}.{good_signature}"), "token_signature"),
        ("another head", format!("{other_head}.{good_claims}.{good_signature}"), "token_signature"),
        ("a flipped bit", format!("{good_head}.{good_claims}.{flipped}"), "token_signature"),
        ("half a signature", good[..good.len() - 20].into(), "token_signature"),
        ("no signature", format!("{good_head}.{good_claims}."), "token_signature"),
        ("another secret", signed(&head(SECRET), &claims(), "another secret"), "token_signature"),
        ("an empty secret", signed(&head(SECRET), &claims(), ""), "token_signature"),
        (
            "another's key under a known name",
            signed(&json!({"alg": "RS256", "kid": "rsa"}), &claims(), "rsa2"),
            "token_signature",
        ),
        // Algorithms.
        ("alg none", unsigned("none"), "token_malformed"),
        ("alg None", unsigned("None"), "token_malformed"),
        ("alg empty", unsigned(""), "token_malformed"),
        ("alg missing", signed(&json!({"typ": "JWT", "alg": null}), &claims(), SECRET), "token_malformed"),
        ("alg HS512", signed(&json!({"alg": "HS512"}), &claims(), SECRET), "token_algorithm"),
        (
            "alg PS256, not asked for",
            signed(&json!({"alg": "PS256", "kid": "rsa"}), &claims(), "rsa"),
            "token_algorithm",
        ),
        (
            "alg HS256 with a public key for the secret",
            signed(&json!({"alg": "HS256", "kid": "rsa"}), &claims(), &public_pem("rsa")),
            "token_signature",
        ),
        (
            "alg HS256 with the key of the file",
            signed(&json!({"alg": "HS256"}), &claims(), &public_pem("ec")),
            "token_signature",
        ),
        (
            "alg RS256 for a key on a curve",
            signed(&json!({"alg": "RS256", "kid": "ed"}), &claims(), "rsa"),
            "token_key_unknown",
        ),
        ("alg ES256 for an RSA key", format!("{}{}", unsigned("ES256"), encoded([0; 64])), "token_signature"),
        // Keys that it brings along.
        ("its own key", own(json!({"jwk": jwk("rsa2", "rsa2")})), "token_brings_key"),
        ("its own publisher", own(json!({"jku": "https://evil.example/jwks.json"})), "token_brings_key"),
        ("its own certificate's address", own(json!({"x5u": "https://evil.example/cert.pem"})), "token_brings_key"),
        ("its own certificate", own(json!({"x5c": ["MIIB"]})), "token_brings_key"),
        (
            "a good signature and a publisher",
            headed(json!({"jku": "https://evil.example/jwks.json"})),
            "token_brings_key",
        ),
        ("a name that nobody knows", own(json!({})), "token_key_unknown"),
        ("a name that is a path", own(json!({"kid": "../../../../dev/null"})), "token_key_unknown"),
        ("a name that is a query", own(json!({"kid": "x' UNION SELECT 'key"})), "token_key_unknown"),
        ("something critical", headed(json!({"crit": ["b64"], "b64": false})), "token_critical"),
        ("nothing critical", headed(json!({"crit": []})), "token_critical"),
        // Time, and for whom.
        ("ended", changed(json!({"exp": START - 30})), "token_expired"),
        ("ended long ago", changed(json!({"exp": 0})), "token_expired"),
        ("ended before all time", changed(json!({"exp": -1})), "token_expired"),
        ("no end", by_secret(&without(claims(), "exp")), "token_without_end"),
        ("an end in words", changed(json!({"exp": "2030-01-01"})), "token_without_end"),
        ("not yet", changed(json!({"nbf": START + 31})), "token_not_yet_valid"),
        ("a beginning in words", changed(json!({"nbf": "now"})), "token_not_yet_valid"),
        ("another issuer", changed(json!({"iss": "https://evil.example"})), "token_issuer"),
        ("issuers in a list", changed(json!({"iss": ["https://issuer.example"]})), "token_issuer"),
        ("no issuer", by_secret(&without(claims(), "iss")), "token_issuer"),
        ("another audience", changed(json!({"aud": "other"})), "token_audience"),
        ("no audience", by_secret(&without(claims(), "aud")), "token_audience"),
        ("an empty list of audiences", changed(json!({"aud": []})), "token_audience"),
        ("a tenant that can be none", changed(json!({"restaurant_id": "r1\r\nx: y"})), "token_claims"),
        ("a tenant that is a list", changed(json!({"restaurant_id": ["r1", "r2"]})), "token_claims"),
        ("a user that breaks a header", changed(json!({"sub": "u\r\n1"})), "token_claims"),
        // Signed by who may, and nobody's: what a Supabase project publishes, or hands out for other purposes.
        ("the project's public key", by_secret(&with(without(claims(), "sub"), json!({"role": "anon"}))), "token_role"),
        ("the public key's role with a user", changed(json!({"role": "anon"})), "token_role"),
        ("the public role in capitals", changed(json!({"role": " Anon "})), "token_role"),
        ("the public role in a list", changed(json!({"role": ["anon", "authenticated"]})), "token_role"),
        ("an anonymous sign-in", changed(json!({"role": "authenticated", "is_anonymous": true})), "token_role"),
        ("the operator's own key", changed(json!({"role": "service_role"})), "token_role"),
        (
            "a link to a file",
            by_secret(&with(without(claims(), "sub"), json!({"url": "a/b.png"}))),
            "token_without_user",
        ),
        (
            "no user, with a role",
            by_secret(&with(without(claims(), "sub"), json!({"role": "admin"}))),
            "token_without_user",
        ),
        ("a user that is null", changed(json!({"sub": null})), "token_without_user"),
        ("an empty user", changed(json!({"sub": ""})), "token_claims"),
        // No tokens at all.
        ("too long", changed(json!({"padding": "x".repeat(9000)})), "token_too_long"),
        ("two parts", format!("{good_head}.{good_claims}"), "token_malformed"),
        ("four parts", format!("{good}.{good_signature}"), "token_malformed"),
        ("dots", "..".into(), "token_malformed"),
        ("garbage", "eyJ!.garbage.%%".into(), "token_malformed"),
        (
            "claims that are no object",
            {
                let text = encoded("[1]");
                signed_raw(good_head, &text)
            },
            "token_signature",
        ),
        ("padding", format!("{good}="), "token_signature"),
        ("a blank inside", good.replacen('.', ". ", 1), "token_signature"),
    ]
}

/// A good signature over claims that are not JSON objects.
fn signed_raw(head: &str, claims: &str) -> String {
    let message = format!("{head}.{claims}");
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    format!("{message}.{}", encoded(ring::hmac::sign(&key, message.as_bytes())))
}

async fn everything() -> Bench {
    let bench = Bench::new(EVERYTHING, &[("SUPABASE_JWT_SECRET", SECRET)]);
    bench.publish(&["rsa", "ed"]);
    bench
}

#[tokio::test(start_paused = true)]
async fn a_good_token_lets_in_whoever_signed_it() {
    let bench = everything().await;
    for (what, token) in good() {
        let answer = bench.chat(&token).await;
        assert_eq!(answer.status, 200, "{what}: {}", answer.body);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_else_does_and_what_is_wrong_is_told_to_the_log_alone() {
    let mut shapes = std::collections::BTreeSet::new();
    for (what, token, reason) in bad() {
        let bench = everything().await;
        let answer = bench.chat(&token).await;
        assert_eq!((answer.status, &*answer.reason), (401, reason), "{what}: {}", answer.body);
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"tidegate\", error=\"invalid_token\"", "{what}");
        // All but the time and the request's id, which are new each time.
        shapes.insert(answer.shape());
        assert_eq!(bench.asked("openai") + bench.asked("together") + bench.asked("buildpanel"), 0, "{what}");
        // The publisher is asked for its own document and for nothing else.
        assert!(bench.asked("jwks") <= 2, "{what}");
        let parts = token.split('.').filter(|part| part.len() > 15);
        assert!(!parts.into_iter().any(|part| bench.log().contains(part)), "{what}: {}", bench.log());
    }
    assert_eq!(shapes.len(), 1, "{shapes:#?}");
}

#[tokio::test(start_paused = true)]
async fn with_public_keys_alone_no_secret_is_any_good() {
    let bench = Bench::new("[auth]\npublic_key_file = ['tests/tokens/rsa.pub.pem']\n", &[]);
    assert_eq!(bench.chat(&signed(&head("rsa"), &claims(), "rsa")).await.status, 200);
    for secret in [public_pem("rsa"), public_pem("rsa").trim().to_owned(), String::new()] {
        let answer = bench.chat(&signed(&json!({"alg": "HS256"}), &claims(), &secret)).await;
        assert_eq!((answer.status, &*answer.reason), (401, "token_algorithm"));
    }
}

#[tokio::test(start_paused = true)]
async fn claims_have_the_names_that_the_config_gives_them() {
    let config = "[auth]\ntenant_claim = 'app_metadata.shop'\nuser_claim = 'https://x.example/user'\nrole_claim = 'app_metadata.role'\n\
                  tenant_header = 'X-Shop'\ntenant_override_roles = ['owner']\n";
    let bench = Bench::new(config, &[("SUPABASE_JWT_SECRET", SECRET)]);
    let said = |role: &str| {
        let claims = json!({"exp": START + 60, "https://x.example/user": "auth0|7", "app_metadata": {"shop": "s1", "role": role}});
        signed(&head(SECRET), &claims, SECRET)
    };
    let request = async |role: &str, shop: &str| {
        bench.chat_as(&said(role), &[("x-shop", shop), ("x-restaurant-id", "r9")]).await.status
    };
    assert_eq!(
        (request("clerk", "s1").await, request("clerk", "s2").await, request("owner", "s2").await),
        (200, 403, 200)
    );
    let seen = bench.seen("buildpanel");
    assert_eq!(
        (&seen[0].headers["x-restaurant-id"], &seen[0].headers["x-user-id"]),
        (&"s1".parse().unwrap(), &"auth0|7".parse().unwrap())
    );
    assert_eq!(seen[1].headers["x-restaurant-id"], "s2");
}

#[tokio::test(start_paused = true)]
async fn the_config_says_which_roles_may_call() {
    let request = async |config: &str, more: Value| {
        let bench = Bench::new(config, &[("SUPABASE_JWT_SECRET", SECRET)]);
        bench.chat(&signed(&head(SECRET), &with(claims(), more), SECRET)).await.status
    };
    let staff = "[auth]\nroles = ['authenticated', 'admin']\n";
    assert_eq!(request(staff, json!({"role": "admin"})).await, 200);
    assert_eq!(request(staff, json!({"role": ["waiter", "admin"]})).await, 200);
    assert_eq!((request(staff, json!({"role": "waiter"})).await, request(staff, json!({})).await), (401, 401));
    assert_eq!(request(staff, json!({"role": "authenticated", "is_anonymous": true})).await, 401);
    let guests = "[auth]\nroles = ['authenticated', 'anon']\n";
    assert_eq!(request(guests, json!({"role": "authenticated", "is_anonymous": true})).await, 200);
    assert_eq!(
        request(guests, json!({"role": "anon", "sub": null})).await,
        401,
        "the public key is nobody all the same"
    );
    // Where a deployment keeps its roles elsewhere, Supabase's own still says what kind of token it is.
    let elsewhere = "[auth]\nrole_claim = 'app_metadata.role'\n";
    assert_eq!(request(elsewhere, json!({"role": "anon", "app_metadata": {"role": "admin"}})).await, 401);
    assert_eq!(request(elsewhere, json!({"role": "authenticated", "app_metadata": {"role": "owner"}})).await, 200);
}

#[tokio::test(start_paused = true)]
async fn keys_rotate_without_a_call_refused_and_a_publisher_that_is_out_locks_nobody_out() {
    let bench = Bench::new("[auth]\njwks_url = 'https://keys.example/jwks.json'\n", &[]);
    bench.publish(&["rsa"]);
    let token = |key: &str| signed(&head(key), &claims(), key);
    assert_eq!(bench.chat(&token("rsa")).await.status, 200);
    tokio::time::sleep(Duration::from_secs(60)).await;
    // The new one is published, and used at once.
    bench.publish(&["rsa", "rsa2"]);
    let answers = futures_util::future::join_all((0..50).map(|_| bench.chat_text(token("rsa2")))).await;
    assert!(
        answers.iter().all(|answer| answer.status == 200),
        "{:?}",
        answers.iter().map(|it| it.status).collect::<Vec<_>>()
    );
    assert_eq!(bench.asked("jwks"), 2);
    // From now on there is nobody to ask.
    bench.fail("jwks");
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!((bench.chat(&token("rsa")).await.status, bench.chat(&token("rsa2")).await.status), (200, 200));
    }
    // The old one is withdrawn: soon nobody has it any more.
    bench.heal("jwks");
    bench.publish(&["rsa2"]);
    tokio::time::sleep(Duration::from_secs(601)).await;
    assert_eq!((bench.chat(&token("rsa")).await.status, bench.chat(&token("rsa2")).await.status), (401, 200));
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_names_that_nobody_knows_asks_the_publisher_once_in_an_interval() {
    let bench = Bench::new("[auth]\njwks_url = 'https://keys.example/jwks.json'\nfailures = '1000000/s'\n", &[]);
    bench.publish(&["rsa"]);
    let token = |number: usize| signed(&json!({"alg": "EdDSA", "kid": format!("k{number}")}), &claims(), "ed");
    for round in 0..600 {
        let calls = (0..5).map(|number| bench.chat_text(token(5 * round + number)));
        assert!(futures_util::future::join_all(calls).await.iter().all(|answer| answer.status == 401));
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // 300 s in intervals of 30 s, and one when it began.
    assert!((10..=11).contains(&bench.asked("jwks")), "{}", bench.asked("jwks"));
    assert_eq!(bench.chat(&signed(&head("rsa"), &claims(), "rsa")).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn while_a_publisher_was_never_reached_its_tokens_wait_for_it() {
    let bench = Bench::new("[auth]\njwks_url = 'https://keys.example/jwks.json'\n", &[]);
    bench.fail("jwks");
    let token = signed(&head("rsa"), &claims(), "rsa");
    // Not 401: with that a browser would throw its session away.
    let answer = bench.chat(&token).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"), "{}", answer.body);
    bench.heal("jwks");
    bench.publish(&["rsa"]);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(bench.chat(&token).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn who_guesses_is_slowed_down_and_who_is_merely_late_is_not() {
    let bench = Bench::new("[auth]\nfailures = '5/min'\n", &[("SUPABASE_JWT_SECRET", SECRET)]);
    let wrong = signed(&head(SECRET), &claims(), "wrong");
    let late = signed(&head(SECRET), &with(claims(), json!({"exp": START - 60})), SECRET);
    let good = signed(&head(SECRET), &claims(), SECRET);
    for _ in 0..100 {
        assert_eq!(bench.chat(&late).await.status, 401);
    }
    for number in 0..8 {
        assert_eq!(bench.chat(&wrong).await.status, if number < 5 { 401 } else { 429 });
    }
    let locked = bench.chat(&wrong).await;
    // Twelve seconds, and a tenth more at most.
    assert!(matches!(locked.header("retry-after"), "12" | "13"), "{}", locked.header("retry-after"));
    assert_eq!(&*locked.reason, "token_signature");
    // Others behind the same address are not made to suffer for it, and those elsewhere even less.
    assert_eq!((bench.chat(&good).await.status, bench.chat(&late).await.status), (200, 401));
    assert_eq!(bench.chat_from("192.0.2.9", &wrong).await.status, 401);
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!((bench.chat(&wrong).await.status, bench.chat(&wrong).await.status), (401, 429));
}

#[tokio::test(start_paused = true)]
async fn a_key_opens_what_it_is_for_and_says_for_whom() {
    let hash = |key: &str| tidegate::model::api_key::Digest::of(key).to_string();
    let config = format!(
        "auth = 'api_key'\n\
         [api_key.plain]\nhash = ['{}', '{}']\n\
         [api_key.shop]\nhash = '{}'\ntenant = 'r1'\nroutes = ['restaurant-*']\nnames_users = true\n\
         [api_key.any]\nhash = '{}'\ntenant = '*'\n\
         [api_key.small]\nhash = '{}'\nmodels = ['gpt-3.5*']\nexpires = '2026-01-01T01:00:00Z'\n",
        hash("k-new"),
        hash("k-old"),
        hash("k-shop"),
        hash("k-any"),
        hash("k-small")
    );
    let bench = Bench::new(&config, &[]);
    let openai = async |key: &str, model: &str| bench.openai(key, model).await.status;
    let chat =
        async |key: &str, tenant: &str| bench.chat_as(key, &[("x-restaurant-id", tenant), ("x-user-id", "ann")]).await;
    assert_eq!(
        (openai("k-new", "gpt-4").await, openai("k-old", "gpt-4").await, openai("k-older", "gpt-4").await),
        (200, 200, 401)
    );
    // No tenant of its own: no restaurant.
    assert_eq!((chat("k-new", "r1").await.status, bench.chat("k-new").await.status), (403, 403));
    assert_eq!(
        (openai("k-shop", "gpt-4").await, chat("k-shop", "r1").await.status, chat("k-shop", "r2").await.status),
        (403, 200, 403)
    );
    assert_eq!((chat("k-any", "r7").await.status, bench.chat("k-any").await.status), (200, 403));
    let seen = bench.seen("buildpanel");
    assert_eq!(
        (&seen[0].headers["x-user-id"], &seen[1].headers["x-user-id"]),
        (&"ann".parse().unwrap(), &"anonymous".parse().unwrap())
    );
    assert_eq!((openai("k-small", "gpt-3.5-turbo").await, openai("k-small", "gpt-4").await), (200, 403));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let over = bench.openai("k-small", "gpt-3.5-turbo").await;
    assert_eq!((over.status, &*over.reason), (401, "key_expired"));
}

#[tokio::test(start_paused = true)]
async fn keys_are_made_changed_and_revoked_by_who_has_the_admin_token() {
    let bench = Bench::new(
        "auth = 'api_key'\n[api_key.written]\nhash = 'sha256:aa00000000000000000000000000000000000000000000000000000000000000'\n",
        &[("ADMIN_TOKEN", "canary-admin-token-0123")],
    );
    let admin =
        async |method: &str, path: &str, body: Value| bench.admin("canary-admin-token-0123", method, path, body).await;
    for (token, status) in
        [("", 401), ("wrong", 401), ("canary-admin-token-012", 401), ("canary-admin-token-01234", 401)]
    {
        let refused = bench.admin(token, "GET", "/admin/keys", Value::Null).await;
        assert_eq!((refused.status, refused.header("content-type")), (status, "application/problem+json"), "{token}");
    }
    assert_eq!(bench.admin("wrong", "POST", "/api/llm/reset", Value::Null).await.status, 401);
    assert_eq!(admin("POST", "/api/llm/reset", Value::Null).await.status, 200);
    assert_eq!(bench.admin("wrong", "POST", "/cache/purge", json!({"all": true})).await.status, 401);
    assert_eq!(admin("POST", "/cache/purge", json!({"all": true})).await.status, 200);

    let made = admin(
        "POST",
        "/admin/keys",
        json!({"name": "shop", "tenant": "r1", "tier": "pro", "routes": ["restaurant-*"]}),
    )
    .await;
    assert_eq!(made.status, 201, "{}", made.body);
    let key = made.json()["key"].as_str().unwrap().to_owned();
    assert!(key.starts_with("tg_") && key.len() == 67, "{key}");
    assert_eq!(bench.chat(&key).await.status, 200);
    assert_eq!(bench.openai(&key, "gpt-4").await.status, 403);

    let list = admin("GET", "/admin/keys", Value::Null).await;
    assert_eq!(list.json()["keys"].as_array().unwrap().len(), 2);
    assert!(!list.body.contains(&key) && !list.body.contains("sha256"), "{}", list.body);
    assert_eq!(admin("GET", "/admin/keys/shop", Value::Null).await.json()["tier"], "pro");

    for (method, path, body, status) in [
        ("POST", "/admin/keys", json!({"name": "shop"}), 409),
        ("POST", "/admin/keys", json!({"name": "written"}), 409),
        ("POST", "/admin/keys", json!({"name": "a b"}), 400),
        ("POST", "/admin/keys", json!({"name": "a", "hashes": [{"hash": format!("sha256:{}", "0".repeat(64))}]}), 400),
        ("POST", "/admin/keys", json!({"name": "a", "tenants": "r1"}), 400),
        ("POST", "/admin/keys", json!({"name": "a", "expires": "soon"}), 400),
        ("POST", "/admin/keys", json!([]), 400),
        ("POST", "/admin/keys/shop/rotate", json!({"overlap_seconds": 99_999_999}), 400),
        ("POST", "/admin/keys/nobody/rotate", Value::Null, 404),
        ("DELETE", "/admin/keys/nobody", Value::Null, 404),
        ("DELETE", "/admin/keys/written", Value::Null, 409),
        ("PUT", "/admin/keys", Value::Null, 405),
        ("GET", "/admin/nothing", Value::Null, 404),
        ("GET", "/admin/keysx", Value::Null, 404),
    ] {
        let answer = admin(method, path, body.clone()).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (status, "application/problem+json"),
            "{method} {path} {body}: {}",
            answer.body
        );
        assert_eq!(answer.json()["status"], status);
    }

    assert_eq!(admin("DELETE", "/admin/keys/shop", Value::Null).await.status, 200);
    assert_eq!(bench.chat(&key).await.status, 401);
    // Who did what, and never with what.
    let log = bench.log();
    for action in ["create", "revoke"] {
        let is_it = |line: &&str| line.contains("tidegate::audit") && line.contains(&format!("action=\"{action}\""));
        let line = log.lines().find(is_it).unwrap_or_else(|| panic!("no {action} in {log}"));
        assert!(
            line.contains("WARN") && line.contains("api_key=\"shop\"") && line.contains("address=127.0.0.1"),
            "{line}"
        );
    }
    assert!(!log.contains("canary") && !log.contains(&key) && !log.contains("tg_"), "{log}");
}

#[tokio::test(start_paused = true)]
async fn without_an_admin_token_the_admin_api_is_off_and_says_so() {
    let bench = Bench::new("", &[]);
    let answer = bench.admin("anything", "GET", "/admin/keys", Value::Null).await;
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("ADMIN_TOKEN"), "{}", answer.body);
    for (method, path) in
        [("POST", "/api/llm/reset"), ("POST", "/cache/purge"), ("PUT", "/admin/log"), ("PUT", "/api/flags/x")]
    {
        let refused = bench.admin("", method, path, json!({"all": true})).await;
        assert_eq!(refused.status, 403, "{path}");
        assert!(refused.body.contains("set ADMIN_TOKEN"), "{path}: {}", refused.body);
    }
    assert_eq!(bench.admin("", "GET", "/health", Value::Null).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_changed_for_another_under_load_without_a_call_refused() {
    let bench = Bench::new("auth = 'api_key'\n", &[("ADMIN_TOKEN", "canary-admin-token-0123")]);
    let admin = async |path: &str, body: Value| bench.admin("canary-admin-token-0123", "POST", path, body).await.json();
    let mut key = admin("/admin/keys", json!({"name": "shop"})).await["key"].as_str().unwrap().to_owned();
    let mut olds = Vec::new();
    for round in 0..20 {
        let calls = futures_util::future::join_all((0..20).map(|_| bench.openai(&key, "gpt-4")));
        let rotated = admin("/admin/keys/shop/rotate", json!({"overlap_seconds": 10}));
        let (answers, rotated) = tokio::join!(calls, rotated);
        let next = rotated["key"].as_str().unwrap().to_owned();
        assert!(answers.iter().all(|answer| answer.status == 200), "round {round}");
        // Both, while they overlap.
        assert_eq!((bench.openai(&key, "gpt-4").await.status, bench.openai(&next, "gpt-4").await.status), (200, 200));
        olds.push(std::mem::replace(&mut key, next));
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    for old in &olds {
        assert_eq!(bench.openai(old, "gpt-4").await.status, 401);
    }
    assert_eq!(bench.openai(&key, "gpt-4").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_body_is_not_read_before_it_is_known_who_sends_it() {
    let bench = Bench::new("", &[("SUPABASE_JWT_SECRET", SECRET)]);
    let answer = bench.upload(None).await;
    assert_eq!((answer.status, answer.took < Duration::from_secs(1)), (401, true), "{:?}", answer.took);
    // The same from a known caller is waited for as long as the server allows.
    let known = bench.upload(Some(&signed(&head(SECRET), &claims(), SECRET))).await;
    assert_eq!((known.status, known.took), (408, Duration::from_secs(30)));
}

#[tokio::test(start_paused = true)]
async fn what_calls_are_refused_for_is_not_counted_against_limits() {
    let limited = "[limit.general]\nrate = '1/h'\n[limit.ai]\nrate = '1/h'\n";
    let bench = Bench::limited(limited, &[("SUPABASE_JWT_SECRET", SECRET)]);
    for _ in 0..20 {
        assert_eq!(bench.chat(&signed(&head(SECRET), &claims(), "wrong")).await.status, 401);
    }
    let good = signed(&head(SECRET), &claims(), SECRET);
    assert_eq!((bench.chat(&good).await.status, bench.chat(&good).await.status), (200, 429));
    // Revoked, or wrong: that is told before anything is.
    assert_eq!(bench.chat(&signed(&head(SECRET), &claims(), "wrong")).await.status, 401);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever stands in `Authorization`: it opens nothing, and nothing breaks.
    #[test]
    fn no_bytes_open_the_door_or_break_it(
        value in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..300),
            ("eyJ[A-Za-z0-9_-]{0,40}", "[A-Za-z0-9_=-]{0,60}", "[A-Za-z0-9_-]{0,60}").prop_map(|(a, b, c)| format!("Bearer {a}.{b}.{c}").into_bytes()),
            any::<String>().prop_map(|json| format!("Bearer {}.{}.x", encoded(&json), encoded(&json)).into_bytes()),
            "\\{\"alg\":\"(HS256|RS256|none|ES256)\",\"kid\":[^}]{0,20}\\}".prop_map(|head| format!("Bearer {}.{}.AAAA", encoded(head), encoded("{}")).into_bytes()),
        ]
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let bench = everything().await;
            if let Ok(value) = http::HeaderValue::from_bytes(&value) {
                let answer = bench.shown(value).await;
                prop_assert_eq!(answer.status, 401, "{}", answer.body);
            }
            Ok(())
        })?;
    }
}
