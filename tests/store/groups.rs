//! Servers that belong together: a Cluster, and a master with its replica and its Sentinel.
//!
//! It does not know what is kept in them.

use crate::server::{Server, until};

/// A Cluster of three masters, each with a third of the slots.
pub(crate) async fn cluster() -> Vec<Server> {
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(Server::with(&["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"]).await);
    }
    let addresses: Vec<String> = servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
    let mut words = vec!["--cluster", "create"];
    words.extend(addresses.iter().map(String::as_str));
    words.push("--cluster-yes");
    let said = servers[0].cli(&words).await;
    assert!(said.contains("All 16384 slots covered"), "{said}");
    for server in &servers {
        until("the cluster is ready", async || server.cli(&["CLUSTER", "INFO"]).await.contains("cluster_state:ok"))
            .await;
    }
    servers
}

/// The URL of a Cluster.
pub(crate) fn url(servers: &[Server]) -> String {
    let hosts: Vec<String> = servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
    format!("redis+cluster://{}", hosts.join(","))
}

/// A master, a replica that follows it, a Sentinel that replaces the one by the other, and their URL.
pub(crate) async fn watched() -> (Server, Server, Server, String) {
    let master = Server::start().await;
    let replica = Server::with(&["--replicaof", "127.0.0.1", &master.port.to_string()]).await;
    let monitor = format!("mymaster 127.0.0.1 {} 1", master.port);
    let sentinel = Server::sentinel(&monitor).await;
    until("the replica follows", async || {
        replica.cli(&["INFO", "replication"]).await.contains("master_link_status:up")
    })
    .await;
    until("the sentinel knows the replica", async || {
        sentinel.cli(&["SENTINEL", "REPLICAS", "mymaster"]).await.contains(&replica.port.to_string())
    })
    .await;
    let url = format!("redis+sentinel://127.0.0.1:{}/mymaster", sentinel.port);
    (master, replica, sentinel, url)
}
