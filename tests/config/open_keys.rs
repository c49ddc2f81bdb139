//! Whether the configuration warns that anyone who reaches the port can spend the provider keys.

use super::{KEYS, LONG, plan};

const WARNING: &str = "anyone who can reach";

fn warnings(text: &str, variables: &[&[(&str, &str)]]) -> Vec<String> {
    let plan = plan(text, &variables.concat());
    plan.warnings.into_iter().filter(|warning| warning.starts_with(WARNING)).collect()
}

#[test]
fn an_open_port_beyond_loopback_says_whose_keys_it_gives_away() {
    let canaries = [("TOGETHER_API_KEY", "canary-t"), ("OPENAI_API_KEY", "canary-o")];
    for (text, host, environment, address) in [
        ("", "0.0.0.0", "development", "0.0.0.0:3001"),
        ("", "::", "staging", "[::]:3001"),
        ("auth = 'none'\n", "192.0.2.7", "development", "192.0.2.7:3001"),
    ] {
        let said = warnings(text, &[&canaries, &[("HOST", host), ("NODE_ENV", environment)]]);
        let expected = format!(
            "anyone who can reach {address} can spend your provider keys (together, openai): in {environment} callers \
             need no credentials. To close it, set HOST=127.0.0.1 (for a container, publish the port as 127.0.0.1:3001; \
             for a socket of systemd, set ListenStream), or environment = \"production\" with authentication"
        );
        assert_eq!(said, [expected]);
    }
}

#[test]
fn keys_that_only_a_route_of_the_users_spends_are_named_too() {
    let canaries = [("MINE", "canary"), ("OTHER", "canary")];
    let own = "defaults = false\n[provider.mine]\nkind = 'openai'\nurl = 'https://mine.example/v1'\nkey_env = 'MINE'\n\
               [provider.other]\nkind = 'openai'\nurl = 'https://other.example/v1'\nkey_env = 'MINE'\n\
               [route.chat]\npaths = ['/v1/chat/completions']\ncaller = 'openai'\ncall = 'chat'\ntargets = ['mine']\n";
    let said = warnings(own, &[&canaries]);
    assert!(matches!(&*said, [only] if only.contains("keys (mine):") && !only.contains("canary")), "{said:?}");
    let variant = format!("{own}[variant.new]\nroutes = ['chat']\npercent = 10\ntargets = ['other']\n");
    let said = warnings(&variant, &[&canaries]);
    assert!(matches!(&*said, [only] if only.contains("keys (mine, other):")), "{said:?}");
}

#[test]
fn a_port_that_gives_no_key_away_is_silent() {
    let key = format!("[api_key.a]\nhash = 'sha256:{}'\n", "0".repeat(64));
    let required = format!("auth = 'api_key'\n{key}");
    let nothing: [(&str, &[(&str, &str)]); 6] = [
        // On loopback, of either kind.
        ("", &[("HOST", "127.0.0.1"), KEYS[1]]),
        ("", &[("HOST", "::1"), KEYS[1]]),
        // Without keys; a provider that needs none has none to lose.
        ("", &[]),
        (
            "[provider.local]\nkind = 'openai'\nurl = 'http://127.0.0.1:8000/v1'\nrequires_key = false\n\
          [route.openai-chat]\ntargets = ['local']\n",
            &[],
        ),
        // Callers must show who they are; the website's assistant is meant for everybody.
        ("", &[KEYS[1], KEYS[2], ("SUPABASE_JWT_SECRET", LONG)]),
        (&required, &[KEYS[1]]),
    ];
    for (text, variables) in nothing {
        assert_eq!(warnings(text, &[variables]), [""; 0], "{text} {variables:?}");
    }
}
