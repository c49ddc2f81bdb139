//! `tidegate flags`.

use crate::desk::Desk;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flag_is_switched_shown_and_taken_back() {
    let desk = Desk::open("flags").await;
    let listed = desk.run(&["flags", "list"]).await.text();
    let line = listed.lines().find(|line| line.starts_with("use_together")).expect("a line");
    assert!(line.contains("provider together") && line.contains(" on ") && line.ends_with("config"), "{line}");
    assert!(listed.contains("a restart forgets them"), "{listed}");
    let json = desk.run(&["flags", "list", "--json"]).await.json();
    assert_eq!(json, desk.get("/api/flags").await.json());

    let off = desk.run(&["flags", "off", "use_together", "--note", "answers in Latin"]).await.text();
    assert!(off.starts_with("use_together: on -> off (version 1)\n"), "{off}");
    assert!(off.contains("`tidegate flags undo use_together` takes it back."), "{off}");
    let on = ["flags", "on", "use_together", "--percent", "10", "--tenants", "a,b", "--tiers", "pro", "--json"];
    let on = desk.run(&on).await.json();
    assert_eq!((&on["rolloutPercentage"], &on["version"]), (&10.into(), &2.into()));
    assert_eq!((&on["tenants"], &on["tiers"]), (&serde_json::json!(["a", "b"]), &serde_json::json!(["pro"])));

    let shown = desk.run(&["flags", "show", "use_together"]).await.text();
    assert!(shown.contains("on for 10 % of tenants a, b in tier pro"), "{shown}");
    let change = shown.lines().find(|line| line.contains("answers in Latin")).expect("the change");
    let words: Vec<&str> = change.split_whitespace().collect();
    assert!(words[0] == "1" && words[2..6] == ["set", "off", "admin", "127.0.0.1"], "{shown}");
    let json = desk.run(&["flags", "show", "use_together", "--json"]).await.json();
    assert_eq!(json["history"], desk.get("/api/flags/use_together/history").await.json()["history"]);
    assert_eq!(json["version"], 2);

    let undone = desk.run(&["flags", "undo", "use_together"]).await.text();
    assert!(undone.contains("on for 10 % of tenants a, b in tier pro -> off (version 3)"), "{undone}");
    let back = desk.run(&["flags", "undo", "use_together", "--to", "0", "--note", "well again"]).await.text();
    assert!(back.contains("off -> on (version 4)"), "{back}");
    assert_eq!(desk.get("/api/flags/use_together").await.json()["source"], "config");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobodys_change_is_lost() {
    let desk = Desk::open("flags-conflict").await;
    desk.run(&["flags", "off", "use_openai", "--note", "theirs"]).await.text();
    // An operator who has seen the flag before that.
    for change in [&["flags", "on", "use_openai"][..], &["flags", "undo", "use_openai"]] {
        let problem = desk.run(&[change, &["--if-version", "0"]].concat()).await.problem();
        assert!(problem.contains("409") && problem.contains("version 1, not 0"), "{problem}");
        assert!(problem.contains("Nothing was changed. `tidegate flags show use_openai`"), "{problem}");
    }
    let flag = desk.get("/api/flags/use_openai").await.json();
    assert_eq!((&flag["enabled"], &flag["note"]), (&false.into(), &"theirs".into()));
    desk.run(&["flags", "on", "use_openai", "--if-version", "1"]).await.text();
    let problem = desk.run(&["flags", "undo", "use_together"]).await.problem();
    assert!(problem.contains("nothing to undo: this flag was never changed"), "{problem}");
    // Where nobody else has changed it, nobody is looked for.
    let older = desk.run(&["flags", "undo", "use_openai", "--to", "99"]).await.problem();
    for problem in [problem, older, desk.run(&["flags", "on", "use_buildpanel"]).await.problem()] {
        assert!(problem.contains("409") && problem.contains("Nothing was changed."), "{problem}");
        assert!(!problem.contains("flags show"), "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_switched_is_said_with_what_can() {
    let desk = Desk::open("flags-wrong").await;
    let problem = desk.run(&["flags", "off", "use_opnai"]).await.problem();
    assert!(
        problem.contains("404") && problem.contains("no flag has this key, did you mean `use_openai`? (the keys are: "),
        "{problem}"
    );
    let problem = desk.run(&["flags", "show", "../keys"]).await.problem();
    assert!(problem.contains("is not the key of a flag"), "{problem}");
    let problem = desk.run(&["flags", "on", "use_buildpanel"]).await.problem();
    assert!(problem.contains("cannot be switched on"), "{problem}");
    let listed = desk.run(&["flags", "list"]).await.text();
    assert!(
        listed.lines().any(|line| line.starts_with("use_buildpanel") && line.contains("off (cannot be switched on)")),
        "{listed}"
    );
    let usage = desk.run(&["flags", "on", "use_openai", "--percent", "110"]).await;
    assert_eq!(usage.code, 2, "{}", usage.err);
    assert!(usage.err.contains("from 0 to 100"), "{}", usage.err);
}
