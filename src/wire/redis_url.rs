//! Redis URL: one server, a Sentinel group or a Cluster, parsed from one URL.
//!
//! It opens no connection. The URL may contain a password, so error texts never repeat any part of it.

use std::fmt;

use redis::{IntoConnectionInfo, RedisConnectionInfo, TlsMode};

/// The forms of a URL, for messages.
pub const FORMS: &str = "redis://HOST:PORT, rediss://HOST:PORT (TLS), redis+unix:///PATH, \
                         redis+sentinel://HOST:PORT,HOST:PORT/NAME or redis+cluster://HOST:PORT,HOST:PORT";

/// Where Redis is, and how to log in there.
#[derive(Clone)]
pub struct Address(pub(crate) Kind);

#[derive(Clone)]
pub(crate) enum Kind {
    /// One server.
    Server(redis::ConnectionInfo),
    /// Whoever the sentinels call the master of `name`.
    Sentinel { sentinels: Vec<redis::ConnectionInfo>, name: String, node: redis::sentinel::SentinelNodeConnectionInfo },
    /// The nodes of a Cluster that are asked for the others.
    Cluster(Vec<redis::ConnectionInfo>),
}

impl fmt::Debug for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self.0 {
            Kind::Server(_) => "server",
            Kind::Sentinel { .. } => "sentinel",
            Kind::Cluster(_) => "cluster",
        })
    }
}

impl Address {
    /// Reads a URL; `None` when it is none of [`FORMS`].
    pub fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let (front, tail) = scheme.split_once('+').unwrap_or((scheme, ""));
        let is_tls = match front {
            "redis" | "valkey" | "unix" => false,
            "rediss" | "valkeys" => true,
            _ => return None,
        };
        match (front, tail) {
            ("redis" | "valkey", "unix") | ("unix", "") => connection(url).map(|info| Self(Kind::Server(info))),
            (_, "") => {
                let (host, ..) = split(rest)?;
                (!host.starts_with(['/', ':', '?']) && !host.is_empty()).then_some(())?;
                let scheme = if is_tls { "rediss" } else { "redis" };
                connection(&format!("{scheme}://{rest}")).map(|info| Self(Kind::Server(info)))
            }
            (_, "cluster") => {
                let (hosts, login, _) = split(rest)?;
                hosts_of(hosts, login, is_tls).map(|nodes| Self(Kind::Cluster(nodes)))
            }
            (_, "sentinel") => sentinel(rest, is_tls),
            _ => None,
        }
    }
}

/// `user:password@hosts/path` as hosts, login and path.
fn split(rest: &str) -> Option<(&str, &str, &str)> {
    let (login, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
    let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
    Some((hosts, login, path))
}

fn connection(url: &str) -> Option<redis::ConnectionInfo> {
    url.into_connection_info().ok()
}

fn hosts_of(hosts: &str, login: &str, is_tls: bool) -> Option<Vec<redis::ConnectionInfo>> {
    let scheme = if is_tls { "rediss" } else { "redis" };
    let at = if login.is_empty() { "" } else { "@" };
    let one = |host: &str| match host.trim() {
        "" => None,
        host => connection(&format!("{scheme}://{login}{at}{host}/")),
    };
    hosts.split(',').map(one).collect()
}

fn sentinel(rest: &str, is_tls: bool) -> Option<Address> {
    let (hosts, login, path) = split(rest)?;
    let (name, database) = path.split_once('/').unwrap_or((path, "0"));
    let name = (!name.is_empty()).then(|| name.to_owned())?;
    let database: i64 = database.parse().ok()?;
    // The sentinels themselves are asked without a login: what they know is an address.
    let sentinels = hosts_of(hosts, "", is_tls)?;
    let with_login = hosts_of("localhost", login, false)?;
    let settings: RedisConnectionInfo = with_login.first()?.redis_settings().clone().set_db(database);
    let mut node = redis::sentinel::SentinelNodeConnectionInfo::default().set_redis_connection_info(settings);
    if is_tls {
        node = node.set_tls_mode(TlsMode::Secure);
    }
    Some(Address(Kind::Sentinel { sentinels, name, node }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_understood_and_shows_nothing() {
        for (url, kind) in [
            ("redis://localhost", "server"),
            ("redis://:canary@[::1]:6380/2", "server"),
            ("rediss://user:canary@cache.example:6380", "server"),
            ("valkey://localhost:1", "server"),
            ("redis+unix:///run/redis.sock", "server"),
            ("unix:///run/redis.sock", "server"),
            ("redis+cluster://:canary@a:1,b:2", "cluster"),
            ("rediss+cluster://a:1", "cluster"),
            ("redis+sentinel://user:canary@a:1,b:2/mymaster/3", "sentinel"),
        ] {
            let address = Address::parse(url).unwrap_or_else(|| panic!("{url} is not understood"));
            assert_eq!(format!("{address:?}"), kind, "{url}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for url in [
            "",
            "localhost:6379",
            "http://h/",
            "redis://",
            "redis:///1",
            "redis+cluster://",
            "redis+cluster://a,,b",
            "redis+sentinel://a:1",
            "redis+sentinel://a:1/",
            "redis+sentinel://a:1/name/x",
            "redis+what://a",
            "redis://a:99999",
        ] {
            assert!(Address::parse(url).is_none(), "{url}");
        }
    }
}
