//! `tidegate explain`.

use crate::desk::Desk;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_explained_to_people_and_to_scripts() {
    let desk = Desk::open("explain").await;
    assert_eq!(desk.run(&["explain"]).await.text(), "no calls\n");
    let body = r#"{"model":"priced","messages":[{"role":"user","content":"hi"}]}"#;
    let response = desk.call("/v1/chat/completions", "", body).await;
    let id = response.header("x-tidegate-request-id").expect("an id").to_owned();
    let is_over = |list: &serde_json::Value| list["running"] == 0 && list["calls"][0]["id"] == *id;
    desk.until(&["explain", "--json"], is_over).await;
    let json = desk.run(&["explain", &id, "--json"]).await.json();
    assert_eq!(json, desk.get(&format!("/admin/explain/{id}")).await.json());
    assert_eq!((&json["tokens"]["input"], &json["costUsd"]), (&1234.into(), &0.003_645.into()));
    let text = desk.run(&["explain", &id]).await.text();
    assert!(text.starts_with(&id) && text.contains("0.003645 USD"), "{text}");
    assert!(desk.run(&["explain"]).await.text().contains(&id));
    let listed = |json: serde_json::Value| json["calls"].as_array().map(Vec::len);
    let ok = [
        "--route",
        "openai-chat",
        "--outcome",
        "ok",
        "--provider",
        "together",
        "--slow",
        "0ms",
        "--limit",
        "1",
        "--json",
    ];
    assert_eq!(listed(desk.run(&[&["explain"][..], &ok].concat()).await.json()), Some(1));
    for none in [["--outcome", "failed"], ["--slow", "1h"], ["--tenant", "a&limit=1"], ["--limit-rule", "ai"]] {
        assert_eq!(listed(desk.run(&[&["explain", "--json"][..], &none].concat()).await.json()), Some(0), "{none:?}");
    }
    assert_eq!(desk.run(&["explain", "--outcome", "failed"]).await.text(), "no calls match\n");
    for wrong in [&[&id, "--route", "x"][..], &["--limit", "0"], &["--slow", "5"]] {
        assert_eq!(desk.run(&[&["explain"][..], wrong].concat()).await.code, 2, "{wrong:?}");
    }
    let problem = desk.run(&["explain", "unknown"]).await.problem();
    assert!(problem.contains("404") && problem.contains("no call with this id"), "{problem}");
    // Nothing that stands for another path.
    for wrong in ["../keys", "..", "."] {
        let problem = desk.run(&["explain", wrong]).await.problem();
        assert!(problem.contains("is not the id of a call"), "{problem}");
    }
}

/// What a caller names is printed where an operator reads it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_caller_names_does_nothing_to_the_terminal() {
    let desk = Desk::open("explain-terminal").await;
    let model = "x\\u001b[2J\\nend 200 ok\\u009b=HYP\\u202e";
    let body = format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"hi"}}]}}"#);
    let response = desk.call("/v1/chat/completions", "", &body).await;
    let id = response.header("x-tidegate-request-id").expect("an id").to_owned();
    desk.until(&["explain", "--json"], |list| list["running"] == 0).await;
    // What the gateway sends to whoever asks it by other means, too.
    let sent = desk.get(&format!("/admin/explain/{id}?format=text")).await.text().to_owned();
    for text in [desk.run(&["explain", &id]).await.text(), desk.run(&["explain"]).await.text(), sent] {
        let is_harmless = |letter: char| letter == '\n' || (!letter.is_control() && letter != '\u{202e}');
        assert!(text.chars().all(is_harmless), "{text:?}");
    }
    let text = desk.run(&["explain", &id]).await.text();
    let asked = text.lines().find(|line| line.starts_with("asked for model: ")).expect("a line");
    assert_eq!(asked, "asked for model: x?[2J?end 200 ok?=HYP?");
    // Scripts get what was asked for.
    let json = desk.run(&["explain", &id, "--json"]).await.json().to_string();
    assert!(json.contains("x\\u001b[2J\\nend 200 ok"), "{json}");
}
