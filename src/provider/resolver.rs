//! Resolver: from a provider's name to its addresses, asked anew for each connection, without those that are not public where
//! the config wants that.
//!
//! It keeps nothing: how long an answer is good is the system's resolver's business. What is checked is what is connected to,
//! so that a name cannot mean one place when it is checked and another when it is used.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::networks::is_public;

/// Where addresses come from: the system, or a test's own list.
pub trait Lookup: Send + Sync {
    /// The addresses of a name.
    fn addresses(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The system's resolver.
pub struct System;

impl Lookup for System {
    fn addresses(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let name = name.to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// What a connection pool asks.
pub(super) struct Resolver {
    pub(super) lookup: Arc<dyn Lookup>,
    pub(super) denies_private: bool,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (looking, denies_private) = (self.lookup.addresses(name.as_str()), self.denies_private);
        Box::pin(async move {
            let mut found = looking.await?;
            if denies_private {
                found.retain(|address| is_public(*address));
                if found.is_empty() {
                    return Err("the name has no public address, and deny_private is set".into());
                }
            }
            // The port is that of the URL.
            Ok(Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}
