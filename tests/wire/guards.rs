//! Guards over real sockets: what is decided is not held back, events that end their lines otherwise are searched too, and
//! what is found is written nowhere.

use crate::gateway::Setup;
use crate::program::{Folder, Program};
use crate::provider::Provider;
use crate::words::{DONE, FINISH, LAST_CHUNK, STREAM, answer, chat_of, chat_stream, chunk, completion, event};

const GUARD: &str = "[guard.pii]\npatterns = [\"email\", \"card\", \"secret\"]\nrequest = \"mask\"\nanswer = \"mask\"\ndefault = true\n\
                     [guard.watch]\nown = { bird = 'canary-[0-9]+' }\nrequest = \"report\"\nanswer = \"report\"\ndefault = true\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_word_that_is_being_said_waits_for_the_next_event() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).tables(GUARD).start().await;
    let (mut caller, mut handed) = (gateway.connect().await, provider.hand_over());
    caller.send(chat_stream()).await;
    let (mut there, _) = handed.call().await;
    there.send(STREAM).await;
    there.send(chunk(event("Write to ann"))).await;
    assert_eq!(caller.head().await.status(), 200);
    // Each comes before the provider says more.
    caller.receive(event("Write to ")).await;
    there.send(chunk(event("@x.exam").replace('\n', "\r\n"))).await;
    // What is said anew keeps the ends of its lines.
    caller.receive(event("").replace('\n', "\r\n")).await;
    there.send(chunk(event("ple, "))).await;
    caller.receive(event("[email], ")).await;
    there.send(chunk(event("now"))).await;
    caller.receive(event("")).await;
    there.send(chunk(FINISH)).await;
    // The word and what shows that it has been said are in hand at once.
    let word = "data: {\"choices\":[{\"index\":0,\"finish_reason\":null,\"delta\":{\"content\":\"now\"}}]}\n\n";
    caller.receive([word, FINISH].concat()).await;
    there.send(chunk(DONE)).await;
    there.send(LAST_CHUNK).await;
    caller.receive(DONE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_found_is_in_no_line_of_the_log() {
    let folder = Folder::new("guards");
    let provider = Provider::start().await;
    let config = format!(
        "defaults = false\n[provider.first]\nkind = \"openai\"\nurl = \"http://{}/v1\"\n[route.chat]\npaths = [\"/v1/chat/completions\"]\n\
         caller = \"openai\"\ncall = \"chat\"\ntargets = [\"first\"]\n{GUARD}[guard.no]\nown = {{ no = 'refuse-canary' }}\n\
         request = \"reject\"\nanswer = \"reject\"\ndefault = true\n",
        provider.address
    );
    folder.write("gateway.toml", &config);
    let path = folder.path_of("gateway.toml");
    let variables = [("PORT", "0"), ("ADMIN_ADDR", "off"), ("LOG_LEVEL", "trace")];
    let program = Program::start(&folder, &["serve", "--config", &path], &variables).await;
    let (mut caller, mut handed) = (program.connect().await, provider.hand_over());
    let ask = |text: &str, more: &str| {
        chat_of(&format!(r#"{{"model":"m",{more}"messages":[{{"role":"user","content":"{text}"}}]}}"#))
    };
    let refused = caller.ask(ask("a refuse-canary", "")).await;
    assert_eq!((refused.status(), refused.text().contains("canary")), (400, false), "{}", refused.text());
    caller.send(ask("ann-canary@x.example canary-1", "")).await;
    let (mut there, request) = handed.call().await;
    assert!(request.text().contains("[email] canary-1"), "{}", request.text());
    there.send(answer("200 OK", "connection: close\r\n", &completion("AKIACANARYCANARY0001 canary-2"))).await;
    assert!(caller.message().await.text().contains("[secret] canary-2"));
    caller.send(ask("x", "")).await;
    let (mut there, _) = handed.call().await;
    there.send(answer("200 OK", "connection: close\r\n", &completion("refuse-canary"))).await;
    assert_eq!(caller.message().await.status(), 502);
    caller.send(ask("x", "\"stream\":true,")).await;
    let (mut there, _) = handed.call().await;
    there.send(STREAM).await;
    there.send(chunk(event("so refuse-") + &event("canary") + FINISH + DONE)).await;
    there.send(LAST_CHUNK).await;
    let message = caller.message().await;
    assert!(message.text().contains("so ") && !message.text().contains("refuse"), "{}", message.text());
    program.terminate().await;
    let (_, written) = program.ended().await;
    let leaks: Vec<_> = written.lines().filter(|line| line.to_lowercase().contains("canary")).collect();
    assert!(leaks.is_empty(), "{}", leaks.join("\n"));
    assert!(written.contains("\"level\":\"trace\"") && written.contains("pii:request:email:1"), "{written}");
}
