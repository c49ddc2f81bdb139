//! Tests of questions, with scripts in the place of the program.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tokio::time::timeout;

use super::*;
use crate::config::{self, Variables};
use crate::gateway::state::GatewayState;
use crate::gateway::world::World;

/// What must happen soon, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(30);

/// A script, removed in the end.
struct Script(PathBuf);

impl Script {
    fn of(test: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tidegate-what-if-{test}-{}", std::process::id()));
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        Self(path)
    }

    fn simulator(&self, within: Duration) -> Simulator {
        Simulator { within, ..Simulator::new(self.0.clone(), Some(Path::new("gateway.toml"))) }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn gateway() -> Gateway {
    let plan = config::load(Some(("test", "defaults = false\n")), &Variables::default()).unwrap();
    let world = World::simulated(Arc::default(), "2026-01-01T00:00:00Z".parse().unwrap(), 1);
    let state = Arc::new(GatewayState::new(&plan, &world));
    Gateway::new(plan, state, Arc::new(world)).unwrap()
}

fn question(rate: &str) -> Question {
    Question { limit: "ai".into(), rate: rate.into(), is_shadow: false, folder: std::env::temp_dir() }
}

/// Asks, and waits for the end.
async fn answer(simulator: Simulator) -> Arc<Answer> {
    let (what_if, gateway) = (WhatIf::default(), gateway());
    what_if.offer(simulator);
    what_if.begin(question("1/min"), &gateway).unwrap();
    gateway.state.tasks().close();
    timeout(SOON, gateway.state.tasks().wait()).await.unwrap();
    what_if.state().last.unwrap()
}

fn problem(answer: &Answer) -> &str {
    answer.result.as_ref().unwrap_err()
}

#[tokio::test]
async fn what_the_simulation_complains_about_is_told() {
    let script = Script::of("complains", "echo 'tidegate simulate: the trace is empty' >&2; exit 2");
    assert_eq!(problem(&*answer(script.simulator(SOON)).await), "the trace is empty");
    let silent = Script::of("silent", "exit 3");
    assert!(problem(&*answer(silent.simulator(SOON)).await).contains("exit status: 3"));
    let gone = Simulator::new("/nowhere/tidegate".into(), None);
    assert!(problem(&*answer(gone).await).starts_with("the simulation cannot be run: "));
}

#[tokio::test]
async fn a_report_that_is_none_is_told() {
    let script = Script::of("none", "echo '{\"about\":'");
    assert!(problem(&*answer(script.simulator(SOON)).await).starts_with("the report of the simulation is unreadable"));
    let endless = Script::of("endless", "head -c 9000000 /dev/zero");
    assert_eq!(problem(&*answer(endless.simulator(SOON)).await), "the report is larger than 8388608 bytes");
}

#[tokio::test]
async fn one_is_played_at_a_time_and_none_outlives_the_gateway() {
    let script = Script::of("once", "exec sleep 600");
    let (what_if, gateway) = (WhatIf::default(), gateway());
    assert!(what_if.begin(question("1/min"), &gateway).unwrap_err().is_none(), "nobody offers it");
    what_if.offer(script.simulator(SOON * 20));
    what_if.begin(question("1/min"), &gateway).unwrap();
    let running = what_if.begin(question("2/min"), &gateway).unwrap_err().unwrap();
    assert_eq!(&*running.0.rate, "1/min");
    gateway.state.drain();
    gateway.state.tasks().close();
    timeout(SOON, gateway.state.tasks().wait()).await.unwrap();
    let state = what_if.state();
    assert!(state.running.is_none());
    assert!(problem(&state.last.unwrap()).contains("the gateway is shutting down"));
}

#[tokio::test]
async fn it_is_stopped_when_its_time_is_over() {
    let script = Script::of("stopped", "echo $$ >\"$0.id\"; exec sleep 600");
    let answer = answer(script.simulator(Duration::from_secs(3))).await;
    assert_eq!(problem(&answer), "the simulation did not end within 3 s and was stopped");
    let id_file = format!("{}.id", script.0.display());
    let id: u32 = std::fs::read_to_string(&id_file).unwrap().trim().parse().unwrap();
    let _ = std::fs::remove_file(id_file);
    let test = std::process::Command::new("kill").args(["-0", &id.to_string()]).output().unwrap();
    assert!(!test.status.success(), "it still runs");
}

#[test]
fn a_question_is_put_as_a_command() {
    let simulator = Simulator::new("tidegate".into(), Some(Path::new("gateway.toml")));
    let words = |question: &Question| {
        let words: Vec<_> = simulator.arguments(question).iter().map(|word| word.display().to_string()).collect();
        words.join(" ")
    };
    let asked = Question { folder: "FOLDER".into(), ..question("20/min") };
    let usual = "simulate --background --json --learned --last 1h --trace FOLDER --config gateway.toml --set limit.ai.rate=20/min";
    assert_eq!(words(&asked), usual);
    assert_eq!(words(&Question { is_shadow: true, ..asked }), format!("{usual} --set limit.ai.mode=enforce"));
}
