//! The README, line by line: its demo, its gateway and its examples of configuration.

use crate::operators::{OPERATORS, status};
use crate::pod::here;
use crate::program::{Folder, Program, run};
use crate::shell::{Shell, blocks, repository};

const README: &str = "README.md";

#[tokio::test(flavor = "multi_thread")]
async fn the_minute_of_the_readme_goes_as_it_says() {
    let folder = Folder::new("readme-demo");
    let demo = Program::start(&folder, &["demo", "--listen", "127.0.0.1:0"], &[]).await;
    let shell = Shell::new(&repository()).at_demo(demo.address);
    let [outage, flapping, job] = &blocks(README, "One minute")[..] else { panic!("the README has other steps") };
    let said = shell.run(outage).await;
    assert!(said.contains("together"), "BuildPanel refuses, and Together.ai answers: {said}");
    // A call that is not answered fails the script.
    let said = shell.run(flapping).await;
    assert!(said.matches("\"success\":true").count() >= 20, "{said}");
    let said = shell.run(job).await;
    assert!(said.contains("event: result"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_of_the_readme_starts_and_answers_this_machines_operators() {
    let folder = Folder::new("readme-gateway");
    let [init, command] = &blocks(README, "For real")[..] else { panic!("the README has another gateway") };
    for line in init.lines() {
        let line = line.split('#').next().unwrap().trim();
        let arguments: Vec<&str> = line.strip_prefix("tidegate ").expect("the program").split(' ').collect();
        let output = run(&folder, &arguments, &[]).await;
        assert!(output.status.success(), "{line}: {output:?}");
    }
    let written = run(&folder, &["check", "--config", "gateway.toml"], &[("OPENAI_API_KEY", "k")]).await;
    assert!(written.status.success(), "{written:?}");
    let (variables, command) = command.trim().split_once(" tidegate ").expect("variables, and the program");
    let variables = variables.split(' ').filter_map(|word| word.split_once('='));
    // The ports of the README may be taken here.
    let ports = [("PORT", "0"), ("ADMIN_ADDR", "127.0.0.1:0")];
    let variables: Vec<(&str, &str)> = variables.chain(ports).collect();
    // Without the file that `init` has written.
    let folder = Folder::new("readme-variables");
    let gateway = Program::start(&folder, &command.split(' ').collect::<Vec<_>>(), &variables).await;
    let operators = here(&gateway.operators());
    // Without a token, as none is set: this machine may look, and change nothing.
    for (method, path, body) in OPERATORS {
        let may = method == "GET" && path != "/admin/keys";
        assert_eq!(status(operators, method, path, None, body).await, if may { 200 } else { 403 }, "{method} {path}");
    }
    assert_eq!(status(gateway.address, "GET", "/health/ready", None, "").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configurations_of_the_readme_are_accepted() {
    let folder = Folder::new("readme-configuration");
    let examples = blocks(README, "Configuration");
    assert_eq!(examples.len(), 2, "{examples:?}");
    for example in examples {
        folder.write("gateway.toml", &example);
        let keys = [("TOGETHER_API_KEY", "k"), ("OPENAI_API_KEY", "k")];
        let output = run(&folder, &["check", "--config", "gateway.toml"], &keys).await;
        assert!(output.status.success(), "{example}\n{}", String::from_utf8_lossy(&output.stderr));
    }
}
