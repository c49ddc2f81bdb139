//! Pub/sub: what one gateway publishes, all subscribers receive while their connection lasts.
//!
//! Delivery is not guaranteed: whoever acts on messages must also be correct without them.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::time::timeout;

use super::{CONNECT, LONGEST_PAUSE, PAUSE, Reach, Redis, StoreFault};
use crate::wire::redis_url::Kind;

impl Redis {
    /// Publishes to a channel. Returns how many listened (in a Cluster: at the node that was asked).
    pub async fn publish(&self, channel: &str, bytes: &[u8]) -> Result<u64, StoreFault> {
        self.ask(redis::cmd("PUBLISH").arg(self.key("channel", channel)).arg(bytes)).await
    }

    /// Listens to a channel on a connection of its own, which is made again when it breaks; `connected` is told each time,
    /// because messages may have been missed. Runs until dropped.
    pub async fn listen(&self, channel: &str, connected: impl Fn() + Send, each: impl Fn(Bytes) + Send) {
        let channel = self.key("channel", channel);
        let mut pause = PAUSE;
        loop {
            if let Ok(Ok(mut messages)) = timeout(CONNECT, self.subscribed(&channel)).await {
                pause = PAUSE;
                connected();
                while let Some(message) = messages.next().await {
                    each(message);
                }
            }
            tokio::time::sleep(self.jittered(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE.max(Duration::from_secs(1)));
        }
    }

    async fn subscribed(&self, channel: &str) -> redis::RedisResult<BoxStream<'static, Bytes>> {
        let address = match &self.settings.reach {
            Reach::Network(address) => address,
            Reach::Simulated(door) => return door.subscribe(channel).await,
        };
        let client = match &address.0 {
            Kind::Server(info) => redis::Client::open(info.clone())?,
            Kind::Sentinel { sentinels, name, node } => {
                let kind = redis::sentinel::SentinelServerType::Master;
                let node = Some(node.clone());
                redis::sentinel::SentinelClient::build(sentinels.clone(), name.as_str(), node, kind)?
                    .async_get_client()
                    .await?
            }
            // Every node of a Cluster passes on what any node is told. Another one each time: this one may be gone.
            Kind::Cluster(nodes) => {
                let place = (self.chance.fraction() * nodes.len() as f64) as usize;
                redis::Client::open(nodes[place.min(nodes.len() - 1)].clone())?
            }
        };
        let mut connection = client.get_async_pubsub().await?;
        connection.subscribe(channel).await?;
        let bytes = |message: redis::Msg| Bytes::copy_from_slice(message.get_payload_bytes());
        Ok(connection.into_on_message().map(bytes).boxed())
    }
}
