//! `tidegate keys`.

use serde_json::Value;

use crate::desk::{Desk, TOKEN};

/// A route that wants a key, and a key of the configuration.
const TABLES: &str = "[route.openai-completions]\nauth = [\"api_key\"]\n\
                      [api_key.written]\nhash = [\"sha256:5ca24005b740717ba4f3f6bc48a230700e68c2a4b11ecedb96f169f4efaf1f21\"]\n";

async fn status_with(desk: &Desk, secret: &str) -> u16 {
    let body = r#"{"model":"priced","prompt":"hi"}"#;
    desk.call("/v1/completions", &format!("authorization: Bearer {secret}\r\n"), body).await.status()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_created_used_rotated_and_revoked() {
    let desk = Desk::with("keys", TABLES).await;
    let said = desk.run(&["keys", "create", "shop", "--tenant", "r1", "--routes", "openai-*"]).await;
    let text = said.text();
    let secret = text.lines().find_map(|line| line.strip_prefix("secret")).expect("a secret").trim().to_owned();
    assert!(secret.starts_with("tg_") && text.matches(&secret).count() == 1, "{text}");
    assert!(text.contains("store it now, because nothing shows it again"), "{text}");
    assert!(text.contains("in this gateway's memory only"), "{text}");
    assert_eq!(status_with(&desk, &secret).await, 200);
    assert_eq!(status_with(&desk, "tg_wrong").await, 401);

    // Scripts take it from the JSON, and people are warned all the same.
    let said = desk.run(&["keys", "rotate", "shop", "--overlap", "0s", "--json"]).await;
    assert!(said.code == 0 && said.err.contains("store it now"), "{}", said.err);
    let rotated: Value = serde_json::from_str(&said.out).unwrap();
    let new = rotated["key"].as_str().unwrap();
    assert!(!said.err.contains(new), "the secret is on standard output alone");
    assert_eq!((status_with(&desk, &secret).await, status_with(&desk, new).await), (401, 200));

    let shown = desk.run(&["keys", "show", "shop"]).await.text();
    assert!(shown.contains("tenant         r1") && !shown.contains("tg_"), "{shown}");
    assert_eq!(desk.run(&["keys", "show", "shop", "--json"]).await.json(), desk.get("/admin/keys/shop").await.json());
    assert_eq!(desk.run(&["keys", "revoke", "shop"]).await.text(), "shop is revoked\n");
    assert_eq!(status_with(&desk, new).await, 401);
    let written = desk.program.written();
    assert!(!written.contains(&secret) && !written.contains(new) && !written.contains(TOKEN), "no log has a secret");
    assert!(written.contains("API key changed"), "{written}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_second_of_overlap_is_not_none() {
    let desk = Desk::with("keys-overlap", TABLES).await;
    desk.run(&["keys", "create", "shop"]).await.text();
    let rotated = desk.run(&["keys", "rotate", "shop", "--overlap", "500ms", "--json"]).await;
    let rotated: Value = serde_json::from_str(&rotated.out).unwrap();
    assert_eq!(rotated["valid_secrets"], 2, "{rotated}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_field_of_a_key_can_be_given() {
    let desk = Desk::with("keys-fields", TABLES).await;
    let create = [
        "keys",
        "create",
        "all",
        "--tenant",
        "*",
        "--tier",
        "pro",
        "--routes",
        "a,b-*",
        "--models",
        "gpt-*",
        "--expires",
        "2099-01-31T00:00:00Z",
        "--names-users",
        "--account",
        "--json",
    ];
    let created = desk.run(&create).await;
    let mut created: Value = serde_json::from_str(&created.out).unwrap();
    let expected = serde_json::json!({
        "name": "all", "tenant": "*", "tier": "pro", "routes": ["a", "b-*"], "models": ["gpt-*"], "expires": "2099-01-31T00:00:00Z",
        "names_users": true, "account": true, "source": "admin", "valid_secrets": 1,
    });
    let key = created.as_object_mut().unwrap();
    assert!(key.remove("key").is_some() && key.remove("note").is_some() && key.remove("is_shared").is_some());
    assert_eq!(created, expected);
    assert_eq!(desk.run(&["keys", "list", "--json"]).await.json(), desk.get("/admin/keys").await.json());
    let listed = desk.run(&["keys", "list"]).await.text();
    let line = listed.lines().find(|line| line.starts_with("all")).expect("a line");
    let words: Vec<&str> = line.split_whitespace().collect();
    let expected =
        ["all", "admin", "*", "pro", "a,", "b-*", "gpt-*", "2099-01-31T00:00:00Z", "1", "names", "users,", "account"];
    assert_eq!(words, expected);
    assert!(listed.lines().any(|line| line.starts_with("written") && line.contains("config")), "{listed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_is_said() {
    let desk = Desk::with("keys-wrong", TABLES).await;
    desk.run(&["keys", "create", "shop"]).await.text();
    for (arguments, said) in [
        (&["keys", "create", "shop"][..], "a key named \"shop\" already exists"),
        (&["keys", "create", "a b"], "letters, digits"),
        (&["keys", "create", "late", "--expires", "tomorrow"], "2030-01-31T00:00:00Z"),
        (&["keys", "create", "late", "--expires", "2020-01-31T00:00:00Z"], "`expires` is in the past"),
        (&["keys", "show", "nobody"], "no key has this name"),
        (&["keys", "revoke", "nobody"], "no key has this name"),
        (&["keys", "revoke", "written"], "defined in the configuration: change it there"),
        (&["keys", "rotate", "shop", "--overlap", "31d"], "between 0 and 2592000"),
        (&["keys", "show", ".."], "is not the name of a key"),
    ] {
        let problem = desk.run(arguments).await.problem();
        assert!(problem.contains(said), "{arguments:?}: {problem}");
    }
    let usage = desk.run(&["keys", "rotate", "shop", "--overlap", "90"]).await;
    assert!(usage.code == 2 && usage.err.contains("5s, 90m, 24h or 30d"), "{}", usage.err);
}
