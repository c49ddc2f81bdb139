//! Several commands at once: whole or not at all, on one server and in a Cluster, and which errors are no outage.

use redis::{Pipeline, cmd, pipe};
use tidegate::state::store::StoreFault;

use crate::fleet::{CacheDirectives, Member, fleet};
use crate::groups::{cluster, url};
use crate::server::{Server, until};

/// What a reader of the stream asks.
fn read(member: &Member) -> redis::Cmd {
    let mut command = cmd("XREADGROUP");
    command.arg("GROUP").arg("workers").arg("one").arg("COUNT").arg(1).arg("STREAMS");
    command.arg(member.redis.key("jobs", "stream")).arg(">");
    command
}

/// Writes to two keys of one group, and reads one of them.
fn writes(member: &Member) -> Pipeline {
    let mut commands = pipe();
    commands.atomic();
    commands.cmd("HSET").arg(member.redis.key("jobs", "record")).arg("state").arg("queued").ignore();
    commands.cmd("XADD").arg(member.redis.key("jobs", "stream")).arg("*").arg("id").arg("1").ignore();
    commands.cmd("HGET").arg(member.redis.key("jobs", "record")).arg("state");
    commands
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_and_a_missing_group_are_told_alike_by_a_server_and_by_a_cluster() {
    let (servers, single) = (cluster().await, Server::start().await);
    for url in [url(&servers), single.url()] {
        let members = fleet(&url, 1, &CacheDirectives::default()).await;
        let (redis, stream) = (&members[0].redis, members[0].redis.key("jobs", "stream"));
        assert_eq!(redis.run_all::<(String,)>(&writes(&members[0])).await, Ok(("queued".to_owned(),)));
        assert_eq!(redis.ask::<redis::Value>(&read(&members[0])).await, Err(StoreFault::NoGroup));
        // The same within a pipeline, whose errors come in another form.
        let mut both = pipe();
        both.add_command(read(&members[0])).cmd("XLEN").arg(&stream);
        assert_eq!(redis.run_all::<(redis::Value, u64)>(&both).await, Err(StoreFault::NoGroup));
        assert!(!redis.is_out(), "a missing group is no outage");
        let mut made = cmd("XGROUP");
        made.arg("CREATE").arg(&stream).arg("workers").arg("0");
        assert_eq!(redis.ask::<String>(&made).await, Ok("OK".to_owned()));
        assert_ne!(
            redis.ask::<redis::Value>(&read(&members[0])).await,
            Ok(redis::Value::Nil),
            "it reads from the start"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_a_full_server_refuses_is_told_by_its_cause() {
    let server = Server::start().await;
    let members = fleet(&server.url(), 1, &CacheDirectives::default()).await;
    assert_eq!(server.cli(&["CONFIG", "SET", "maxmemory", "1"]).await, "OK");
    until("it is refused", async || {
        let refused = members[0].redis.run_all::<(String,)>(&writes(&members[0])).await;
        refused == Err(StoreFault::Broken("OOM".to_owned()))
            // Or the heartbeat was refused first.
            || format!("{:?}", members[0].redis.standing()).contains("OOM")
    })
    .await;
    assert_eq!(server.cli(&["EXISTS", &members[0].redis.key("jobs", "record")]).await, "0");
}
