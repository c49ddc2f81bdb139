//! What an operator is told who has no token, a wrong one, or the wrong address; and TLS.

use crate::desk::{Desk, TOKEN, run_at};
use crate::program::{BINARY, Folder, Program};
use crate::secure::Authority;

/// One change of each command.
const CHANGES: [&[&str]; 4] = [
    &["flags", "off", "use_openai"],
    &["keys", "create", "shop"],
    &["jobs", "purge", "--state", "failed"],
    &["jobs", "cancel", "01234567-89ab-8def-8123-456789abcdef"],
];

/// One question of each command.
const QUESTIONS: [&[&str]; 5] = [&["flags", "list"], &["keys", "list"], &["usage"], &["jobs", "list"], &["explain"]];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_token_or_with_another_nothing_is_changed_and_the_reason_is_said() {
    let desk = Desk::open("refused").await;
    for command in CHANGES {
        for variables in [&[][..], &[("ADMIN_TOKEN", "")]] {
            let problem = desk.run_with(command, variables).await.problem();
            assert!(problem.contains("401") && problem.contains("ADMIN_TOKEN, which is not set here"), "{problem}");
        }
        let problem = desk.run_with(command, &[("ADMIN_TOKEN", "guessed")]).await.problem();
        assert!(
            problem.contains("401") && problem.contains("ADMIN_TOKEN as it is set here is not the gateway's"),
            "{problem}"
        );
        assert!(!problem.contains("guessed"), "{problem}");
    }
    assert_eq!(desk.get("/api/flags/use_openai").await.json()["version"], 0);
    assert_eq!(desk.get("/admin/keys").await.json()["keys"], serde_json::json!([]));
    // Whoever is on this machine may read, except keys.
    for command in QUESTIONS {
        let said = desk.run_with(command, &[]).await;
        assert_eq!(said.code, i32::from(command[0] == "keys"), "{command:?}: {}", said.err);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_address_is_said() {
    let desk = Desk::open("refused-address").await;
    let callers = format!("http://{}", desk.program.address);
    for command in [&["keys", "list"][..], &["jobs", "list"], &["explain"]] {
        let problem = run_at(&desk.folder, &callers, command, &[("ADMIN_TOKEN", TOKEN)]).await.problem();
        assert!(
            problem.contains("404") && problem.contains("is it the admin address (server.admin, ADMIN_ADDR)?"),
            "{command:?}: {problem}"
        );
    }
    // A port that nobody listens on any more.
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    for command in QUESTIONS {
        let problem = run_at(&desk.folder, &format!("http://{free}"), command, &[]).await.problem();
        assert!(problem.contains("cannot connect to") && problem.contains("refused"), "{command:?}: {problem}");
        assert!(problem.contains("does a gateway run at that address?"), "{command:?}: {problem}");
    }
    // Without a scheme.
    let bare = desk.url.trim_start_matches("http://");
    run_at(&desk.folder, bare, &["flags", "list"], &[]).await.text();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_may_be_in_a_file() {
    let desk = Desk::open("refused-file").await;
    desk.folder.write("token", &format!("{TOKEN}\n"));
    desk.folder.write("empty", "\n");
    desk.folder.write("other", "guessed");
    desk.run_with(&["keys", "create", "shop"], &[("ADMIN_TOKEN_FILE", "token")]).await.text();
    // The variable itself wins.
    desk.run_with(&["keys", "list"], &[("ADMIN_TOKEN", TOKEN), ("ADMIN_TOKEN_FILE", "gone")]).await.text();
    for (file, wanted) in [
        ("gone", "ADMIN_TOKEN_FILE: cannot read \"gone\""),
        ("/dev/zero", "ADMIN_TOKEN_FILE: cannot read \"/dev/zero\": it has more than 65536 bytes, the limit"),
        ("empty", "ADMIN_TOKEN_FILE: \"empty\" is empty"),
        ("other", "ADMIN_TOKEN_FILE as it is set here is not the gateway's"),
    ] {
        let problem = desk.run_with(&["keys", "list"], &[("ADMIN_TOKEN_FILE", file)]).await.problem();
        assert!(problem.contains(wanted) && !problem.contains("guessed"), "{file}: {problem}");
    }
}

/// Neither is sent, and none is printed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_a_token_is_said_by_the_name_of_its_variable() {
    use std::os::unix::ffi::OsStrExt as _;

    let folder = Folder::new("refused-token");
    folder.write("two", "canary\nanother");
    for (name, value) in [("ADMIN_TOKEN", "canary\nanother"), ("ADMIN_TOKEN", "canarü"), ("ADMIN_TOKEN_FILE", "two")] {
        let problem = run_at(&folder, "http://127.0.0.1:9", &["flags", "list"], &[(name, value)]).await.problem();
        assert!(problem.contains(&format!("{name} holds what cannot be an admin token")), "{problem}");
        assert!(problem.contains("one line") && !problem.contains("canar"), "{problem}");
    }
    let mut command = tokio::process::Command::new(BINARY);
    command.args(["flags", "list"]).env_clear().env("ADMIN_TOKEN", std::ffi::OsStr::from_bytes(b"canary\xff"));
    let output = command.output().await.unwrap();
    let problem = String::from_utf8(output.stderr).unwrap();
    assert!(problem.contains("ADMIN_TOKEN holds what cannot be an admin token"), "{problem}");
    assert!(output.status.code() == Some(1) && !problem.contains("canary"), "{problem}");
}

/// Whoever answers nothing may have done it all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_without_an_answer_is_said_to_be_unsure_and_no_password_is_printed() {
    let folder = Folder::new("refused-silent");
    let silent = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://me:canary@{}", silent.local_addr().unwrap());
    #[expect(clippy::disallowed_methods, reason = "no gateway runs in this process")]
    let hang_up = tokio::spawn(async move {
        use tokio::io::AsyncReadExt as _;
        loop {
            let (mut stream, _) = silent.accept().await.unwrap();
            let _ = stream.read(&mut [0; 64]).await;
        }
    });
    let problem = run_at(&folder, &url, &["keys", "create", "shop"], &[("ADMIN_TOKEN", TOKEN)]).await.problem();
    assert!(problem.contains("the change may still have been applied"), "{problem}");
    assert!(!problem.contains("canary") && !problem.contains(TOKEN), "{problem}");
    let problem = run_at(&folder, &url, &["keys", "list"], &[("ADMIN_TOKEN", TOKEN)]).await.problem();
    assert!(!problem.contains("may still have been") && !problem.contains("canary"), "{problem}");
    hang_up.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flags_and_usage_are_there_over_tls_too() {
    let authority = Authority::new("commands-tls");
    authority.write("gateway");
    let folder = Folder::new("commands-tls-gateway");
    folder.write(
        "gateway.toml",
        &format!(
            "[server]\nhost = \"127.0.0.1\"\nport = 0\nadmin = \"off\"\n[server.tls]\ncert_file = {:?}\nkey_file = {:?}\n",
            authority.path_of("gateway.pem"),
            authority.path_of("gateway.key"),
        ),
    );
    let program = Program::start(&folder, &["serve", "--config", "gateway.toml"], &[("ADMIN_TOKEN", TOKEN)]).await;
    let url = format!("https://{}", program.address);
    let trusted = authority.file();
    let variables = [("ADMIN_TOKEN", TOKEN), ("SSL_CERT_FILE", &*trusted)];
    let off = run_at(&folder, &url, &["flags", "off", "policy_cache"], &variables).await.text();
    assert!(off.starts_with("policy_cache: on -> off"), "{off}");
    run_at(&folder, &url, &["usage"], &variables).await.text();
    let problem = run_at(&folder, &url, &["flags", "list"], &[("ADMIN_TOKEN", TOKEN)]).await.problem();
    assert!(problem.contains("certificate"), "{problem}");
}
