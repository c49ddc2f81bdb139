//! A panic, in a process of its own, because a process has one way to tell of panics.

use tidegate::model::log_context::LogContext;
use tidegate::model::rng::SeededRng;
use tidegate::telemetry::panics;
use tidegate::telemetry::reports::Reports;

#[tokio::test]
async fn a_panic_is_reported_with_its_place_and_its_call_and_without_its_words() {
    let reports = Reports::new(SeededRng::new(1));
    panics::tell(Some(reports.clone()));
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(LogContext::new("the-call".into()).during(async {
        let text = String::from("prompt-canary");
        assert!(text.is_empty(), "{text}");
    }));
    assert!(tasks.join_next().await.unwrap().is_err());
    let report = reports.outbox.waiting().unwrap();
    assert_eq!((report.code, report.request.as_deref()), ("panic", Some("the-call")));
    assert!(report.place.as_deref().is_some_and(|place| place.starts_with("tests/panics.rs:")), "{report:?}");
    assert!(!format!("{report:?}").contains("canary"));
}
