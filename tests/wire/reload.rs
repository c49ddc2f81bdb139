//! The program while its configuration changes: edited, broken, half-written, swapped like a ConfigMap, by SIGHUP and by
//! `.env`. No call and no connection is lost, and who wants to know is told.
//!
//! Each test waits until `/health/status` says what it waits for.

use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::time::Duration;

use serde_json::Value;

use crate::program::{Folder, Program, run};
use crate::provider::{Following, Provider};
use crate::socket::{Socket, soon};
use crate::words::{DONE, FINISH, LAST_CHUNK, STREAM, chat, chat_stream, chunk, completion, event, plain};

const STATUS: &str = "GET /health/status HTTP/1.1\r\nhost: gateway\r\n\r\n";

/// A config file that sends chats to the provider at this address.
fn config(address: SocketAddr) -> String {
    format!(
        "defaults = false\n[server]\nport = 0\nadmin = \"off\"\nshow_insides = true\n[provider.p]\nkind = \"openai\"\n\
         url = \"http://{address}/v1\"\nkey_env = \"P_KEY\"\n[route.chat]\npaths = [\"/v1/chat/completions\"]\n\
         caller = \"openai\"\ncall = \"chat\"\ntargets = [\"p\"]\n"
    )
}

/// A provider that answers every chat with its name, and keeps its connections.
async fn says(name: &'static str) -> Following {
    Provider::start().await.say(plain(&completion(name)))
}

async fn serve(folder: &Folder) -> Program {
    Program::start(folder, &["serve", "--config", "gateway.toml"], &[("P_KEY", "sk-canary")]).await
}

/// Asks for the status until its `config` is as wanted, and returns that.
async fn until(operator: &mut Socket, what: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
    let asking = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            let config = operator.ask(STATUS).await.json()["config"].clone();
            if is_wanted(&config) {
                return config;
            }
        }
    };
    soon(what, asking).await
}

async fn until_generation(operator: &mut Socket, number: u64) -> Value {
    until(operator, &format!("generation {number}"), |config| config["generation"] == number).await
}

async fn until_refused(operator: &mut Socket, times: u64) -> Value {
    until(operator, &format!("refusal {times}"), |config| config["reloads"]["failed"] == times).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_is_replaced_loses_all_connections_when_the_last_call_to_it_has_ended() {
    let (first, second) = (Provider::start().await, says("second").await);
    let folder = Folder::new("reload-connections");
    folder.write("gateway.toml", &config(first.address));
    let program = serve(&folder).await;
    let (mut caller, mut stays) = (program.connect().await, program.connect().await);
    stays.send(chat_stream()).await;
    let (mut running, _) = first.request().await;
    running.send(STREAM).await;
    running.send(chunk(event("first"))).await;
    stays.head().await;
    stays.receive(event("first")).await;
    caller.send(chat()).await;
    let (mut idle, _) = first.request().await;
    idle.send(plain(&completion("first"))).await;
    assert_eq!(caller.message().await.text(), completion("first"));

    folder.write("gateway.toml", &config(second.address));
    until_generation(&mut caller, 2).await;
    running.send([chunk(FINISH), chunk(DONE), LAST_CHUNK.into()].concat()).await;
    assert_eq!(stays.body().await, format!("{FINISH}{DONE}"));
    assert_eq!(running.closed().await, "");
    assert_eq!(idle.closed().await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edited_file_applies_on_the_connections_that_are_open_and_a_bad_one_changes_nothing() {
    let (first, second) = (says("first").await, says("second").await);
    let folder = Folder::new("reload-edit");
    folder.write("gateway.toml", &config(first.address));
    let program = serve(&folder).await;
    let mut caller = program.connect().await;
    let before = caller.ask(STATUS).await.json()["config"].clone();
    assert_eq!((&before["generation"], &before["lastReload"]), (&1.into(), &Value::Null));
    assert_eq!(caller.ask(chat()).await.text(), completion("first"));

    folder.write("gateway.toml", &config(second.address));
    let config_now = until_generation(&mut caller, 2).await;
    assert_eq!(config_now["lastReload"]["result"], "success");
    assert_eq!(caller.ask(chat()).await.text(), completion("second"));

    folder.write("gateway.toml", &(config(first.address) + "[retry]\nmax_atempts = 3\nbudget = 7\n"));
    let refused = until_refused(&mut caller, 1).await;
    assert_eq!((&refused["generation"], &refused["problems"]), (&2.into(), &2.into()));
    let error = refused["error"].as_str().expect("an error");
    assert_eq!(
        error,
        "gateway.toml:16:1: retry.max_atempts: unknown key, did you mean `max_attempts`? (known here: max_attempts, \
         max_wait, backoff, budget, budget_floor)"
    );
    assert_eq!(caller.ask(chat()).await.text(), completion("second"), "the old one stays");

    // A key that waits for a restart is named, and the rest applies.
    folder.write("gateway.toml", &config(first.address).replace("port = 0", "port = 1\nmax_connections = 2"));
    let waiting = until_generation(&mut caller, 3).await;
    assert_eq!(waiting["needsRestart"], serde_json::json!(["server.port"]));
    assert_eq!((waiting.get("error"), waiting.get("problems")), (None, None));
    assert_eq!(caller.ask(chat()).await.text(), completion("first"));
    let second_place = program.connect().await;
    assert_eq!(program.connect().await.closed().await, "", "two connections are allowed now");
    drop(second_place);

    program.terminate().await;
    let (status, written) = program.ended().await;
    assert_eq!(status.code(), Some(0), "{written}");
    let lines: Vec<Value> = written.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let errors: Vec<&str> =
        lines.iter().filter(|line| line["level"] == "error").filter_map(|line| line["problem"].as_str()).collect();
    assert_eq!(errors.len(), 2, "{written}");
    assert!(errors[0] == error && errors[1].starts_with("gateway.toml:17:10: retry.budget: "), "{errors:?}");
    assert!(written.contains("needs a restart: server.port"), "{written}");
    assert!(lines.iter().any(|line| line["keys"] == "provider.p.url" && line["generation"] == 2), "{written}");
    assert!(!written.contains("canary"), "{written}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_written_or_emptied_file_waits_until_it_is_whole() {
    let (first, second) = (says("first").await, says("second").await);
    let folder = Folder::new("reload-half");
    folder.write("gateway.toml", &config(first.address));
    let program = serve(&folder).await;
    let mut caller = program.connect().await;
    let whole = config(second.address);
    folder.write("gateway.toml", &whole[..whole.len() - 12]);
    let refused = until_refused(&mut caller, 1).await;
    assert!(
        refused["error"].as_str().expect("an error").starts_with("gateway.toml:10:8: route.chat.targets"),
        "{refused}"
    );
    folder.write("gateway.toml", "");
    let refused = until_refused(&mut caller, 2).await;
    assert!(refused["error"].as_str().expect("an error").contains("it is empty"), "{refused}");
    assert_eq!(caller.ask(chat()).await.text(), completion("first"));
    folder.write("gateway.toml", &whole);
    until_generation(&mut caller, 2).await;
    assert_eq!(caller.ask(chat()).await.text(), completion("second"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configmap_that_is_swapped_applies() {
    let (first, second) = (says("first").await, says("second").await);
    let folder = Folder::new("reload-configmap");
    let version = |name: &str, text: &str| {
        std::fs::create_dir(folder.path_of(name)).expect("a folder can be made");
        folder.write(&format!("{name}/gateway.toml"), text);
    };
    version("..1", &config(first.address));
    symlink("..1", folder.path_of("..data")).expect("a link");
    symlink("..data/gateway.toml", folder.path_of("gateway.toml")).expect("a link");
    let program = serve(&folder).await;
    let mut caller = program.connect().await;
    assert_eq!(caller.ask(chat()).await.text(), completion("first"));
    version("..2", &config(second.address));
    symlink("..2", folder.path_of("..data_tmp")).expect("a link");
    std::fs::rename(folder.path_of("..data_tmp"), folder.path_of("..data")).expect("a link can be renamed");
    std::fs::remove_dir_all(folder.path_of("..1")).expect("the old version can go");
    until_generation(&mut caller, 2).await;
    assert_eq!(caller.ask(chat()).await.text(), completion("second"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sighup_and_dotenv_apply_and_a_provider_under_a_new_key_gets_new_connections() {
    let provider = says("first").await;
    let folder = Folder::new("reload-hangup");
    folder.write("gateway.toml", &config(provider.address));
    folder.write(".env", "P_KEY=sk-old\nLOG_LEVEL=info\n");
    let program = Program::start(&folder, &["serve", "--config", "gateway.toml"], &[]).await;
    let mut caller = program.connect().await;
    caller.ask(chat()).await;
    program.hang_up().await;
    let config = until_generation(&mut caller, 2).await;
    assert_eq!(config["lastReload"]["result"], "success");
    caller.ask(chat()).await;
    assert_eq!(provider.connections(), 1, "nothing has changed, the connection pool included");
    folder.write(".env", "P_KEY=sk-new\nLOG_LEVEL=error\n");
    until_generation(&mut caller, 3).await;
    caller.ask(chat()).await;
    let keys: Vec<_> =
        provider.requests().iter().map(|request| request.header("authorization").map(str::to_owned)).collect();
    assert_eq!(keys, ["Bearer sk-old", "Bearer sk-old", "Bearer sk-new"].map(|key| Some(key.to_owned())));
    assert_eq!(provider.connections(), 2);
    program.terminate().await;
    let (status, written) = program.ended().await;
    assert_eq!(status.code(), Some(0), "{written}");
    assert!(!written.contains("stopped; all calls completed"), "only errors are logged now: {written}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_runs_over_a_reload_is_not_cut_and_the_pool_of_a_provider_that_stays_is_kept() {
    let stays = Provider::start().await;
    let folder = Folder::new("reload-stream");
    folder.write("gateway.toml", &config(stays.address));
    let program = serve(&folder).await;
    let (mut caller, mut operator) = (program.connect().await, program.connect().await);
    // A first call makes a connection that is kept.
    operator.send(chat()).await;
    let (mut kept, _) = stays.request().await;
    kept.send(plain(&completion("one"))).await;
    assert_eq!(operator.message().await.text(), completion("one"));
    caller.send(chat_stream()).await;
    let _ = kept.message().await;
    kept.send(STREAM).await;
    kept.send(chunk(event("first"))).await;
    caller.head().await;
    caller.receive(event("first")).await;

    // The provider that the stream comes from is gone from the configuration.
    let other = config(stays.address).replace("[provider.p]", "[provider.q]").replace("[\"p\"]", "[\"q\"]");
    folder.write("gateway.toml", &other);
    until_generation(&mut operator, 2).await;
    kept.send(chunk(event("second"))).await;
    caller.receive(event("second")).await;
    for piece in [FINISH, DONE] {
        kept.send(chunk(piece)).await;
    }
    kept.send(LAST_CHUNK).await;
    assert_eq!(caller.body().await, FINISH.to_owned() + DONE);

    // Calls of the new generation have a provider of another name, with connections of its own.
    caller.send(chat()).await;
    let (mut there, _) = stays.request().await;
    there.send(plain(&completion("two"))).await;
    assert_eq!(caller.message().await.text(), completion("two"));
    // From here on only a route changes: the connection is used again.
    folder.write("gateway.toml", &(other + "max_body = \"1MiB\"\n"));
    until_generation(&mut operator, 3).await;
    caller.send(chat()).await;
    let _ = there.message().await;
    there.send(plain(&completion("three"))).await;
    assert_eq!(caller.message().await.text(), completion("three"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_against_a_running_gateway_or_a_file_tells_what_would_change() {
    let provider = says("first").await;
    let folder = Folder::new("reload-against");
    let running = config(provider.address).replace("admin = \"off\"", "admin = \"127.0.0.1:0\"")
        + "[store]\nredis_url = \"redis://me:canary@127.0.0.1:1/\"\n";
    folder.write("gateway.toml", &running);
    let program = serve(&folder).await;
    let url = program.operators();
    let mut operator =
        Socket::connect(url.strip_prefix("http://").and_then(|it| it.parse().ok()).expect("an address")).await;
    let page = operator.ask("GET /config HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert_eq!((page.status(), &page.json()["config"]["route.chat.targets"]), (200, &"p".into()));
    assert_eq!(page.json()["config"]["provider.p.key"]["secret"].as_str().map(str::len), Some(4));
    assert!(!page.text().contains("canary"), "{}", page.text());
    let check = async |file: &str, key: &str, against: &str| {
        let arguments = ["check", "--config", file, "--against", against];
        let output = run(&folder, &arguments, &[("P_KEY", key)]).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(!text.contains("canary"), "{text}");
        (output.status.code(), text)
    };
    let nothing = (Some(0), "no changes\n".to_owned());
    assert_eq!(check("gateway.toml", "sk-canary", &url).await, nothing);
    assert_eq!(check("gateway.toml", "sk-canary", "gateway.toml").await, nothing);
    assert_eq!(
        check("gateway.toml", "sk-canary-2", &url).await,
        (Some(2), "provider.p.key: a different secret\n".to_owned())
    );

    let other = running.replace("port = 0", "port = 3001").replace("[store]", "max_body = \"1MiB\"\n[store]");
    folder.write("other.toml", &other);
    let changes = "route.chat.max_body: (not set) -> 1MiB\nserver.port: 0 -> 3001  (needs a restart)\n";
    assert_eq!(check("other.toml", "sk-canary", &url).await, (Some(2), changes.to_owned()));
    assert_eq!(check("other.toml", "sk-canary", "gateway.toml").await, (Some(2), changes.to_owned()));

    let callers = format!("http://{}", program.address);
    let (code, text) = check("gateway.toml", "sk-canary", &callers).await;
    assert!(code == Some(1) && text.contains("admin address"), "callers do not see it: {text}");
    assert_eq!(check("gateway.toml", "sk-canary", "missing.toml").await.0, Some(1));
    folder.write("bad.toml", "[server]\nport = -1\n");
    let (code, text) = check("bad.toml", "sk-canary", &url).await;
    assert!(code == Some(1) && text.starts_with("bad.toml:2:8: server.port"), "{text}");

    // What is not applied for want of a restart is not in force.
    folder.write("gateway.toml", &running.replace("port = 0", "port = 3001"));
    until_generation(&mut program.connect().await, 2).await;
    let (code, text) = check("gateway.toml", "sk-canary", &url).await;
    assert_eq!((code, &*text), (Some(2), "server.port: 0 -> 3001  (needs a restart)\n"));
}
