//! Listening sockets: from the previous process, from the supervisor (systemd's socket activation), or bound to an
//! address of the config.
//!
//! It does not know who connects, nor when they are passed on.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use rustix::net::sockopt::socket_acceptconn;
use tokio::net::TcpListener as Listener;

/// Where callers connect: the name of their socket.
pub(super) const CALLERS: &str = "callers";

/// Where operators connect.
pub(super) const OPERATORS: &str = "operators";

/// Who decided where a socket listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The config, which says this address; its port may be 0.
    Config(SocketAddr),
    /// Whoever started the process.
    Supervisor,
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Config(address) => address.fmt(out),
            Origin::Supervisor => out.write_str("supervisor"),
        }
    }
}

/// A listening socket and what is known of it.
pub(super) struct Socket {
    /// [`CALLERS`] or [`OPERATORS`].
    pub(super) name: &'static str,
    pub(super) origin: Origin,
    pub(super) listener: TcpListener,
}

impl Socket {
    /// A socket that somebody else opened. The error says why it is none to listen at.
    pub(super) fn received(name: &str, origin: Origin, socket: OwnedFd) -> Result<Self, String> {
        let name = [CALLERS, OPERATORS].into_iter().find(|known| *known == name);
        let name = name.ok_or_else(|| format!("sockets must be named {CALLERS} or {OPERATORS}"))?;
        let is_listening = socket_acceptconn(&socket).map_err(|fault| fault.to_string())?;
        let listener = TcpListener::from(socket);
        match (is_listening, listener.local_addr()) {
            (true, Ok(_)) => Ok(Self { name, origin, listener }),
            _ => Err("it is not a listening TCP socket".to_owned()),
        }
    }
}

/// The sockets that were passed to this process and not taken yet, and those that it listens at.
#[derive(Default)]
pub(super) struct Sockets {
    passed: Vec<Socket>,
    open: Vec<Socket>,
}

impl Sockets {
    /// Begins with sockets that were passed.
    pub(super) fn of(passed: Vec<Socket>) -> Self {
        Self { passed, open: Vec::new() }
    }

    /// Begins with the sockets of the supervisor, if it passed some (`LISTEN_FDS`, sd_listen_fds(3)). To be called once, and
    /// first of all.
    pub(super) fn of_supervisor() -> Result<Self, String> {
        let passed = sd_listen_fds::get().map_err(|fault| format!("LISTEN_FDS: {fault}"))?;
        let is_only = passed.len() == 1;
        let socket = |(name, socket): (Option<String>, sd_listen_fds::OwnedFd)| {
            // Without a name of its own a socket has that of its unit.
            let given = name.unwrap_or_default();
            let name = if is_only && given != OPERATORS { CALLERS } else { &*given };
            // The copy, unlike the original, is not left open in the programs that this process starts.
            let copy = socket.into_std().try_clone().map_err(|fault| fault.to_string());
            let socket = copy.and_then(|copy| Socket::received(name, Origin::Supervisor, copy));
            socket.map_err(|problem| format!("the socket {given:?} of LISTEN_FDS: {problem}"))
        };
        Ok(Self::of(passed.into_iter().map(socket).collect::<Result<_, _>>()?))
    }

    /// Listens under a name: at the socket that was passed for it, unless the config now says another address than it was
    /// opened for, else at `address`.
    pub(super) async fn listen(&mut self, name: &'static str, address: SocketAddr) -> Result<Listener, String> {
        let wanted = [Origin::Supervisor, Origin::Config(address)];
        let passed = self.passed.iter().position(|socket| socket.name == name && wanted.contains(&socket.origin));
        let (origin, listener) = match passed.map(|index| self.passed.swap_remove(index)) {
            Some(Socket { origin, listener, .. }) => {
                let listener = listener.set_nonblocking(true).and_then(|()| Listener::from_std(listener));
                (origin, listener.map_err(|fault| format!("the socket {name:?} that was passed: {fault}"))?)
            }
            None => (Origin::Config(address), bind(address).await?),
        };
        let copy = copy(&listener).map_err(|fault| format!("the socket at {address}: {fault}"))?;
        self.open.push(Socket { name, origin, listener: copy });
        Ok(listener)
    }

    /// Closes what was passed and nobody listens at: callers must not wait there.
    pub(super) fn close_rest(&mut self) {
        for Socket { name, origin, listener } in self.passed.drain(..) {
            let address = listener.local_addr().map(|address| address.to_string()).unwrap_or_default();
            tracing::info!(socket = name, address, origin = %origin, "closing an inherited socket that the configuration no longer uses");
        }
    }

    /// Those that this process listens at. While they are kept, who connects is not refused.
    pub(super) fn open(&self) -> &[Socket] {
        &self.open
    }
}

fn copy(listener: &Listener) -> io::Result<TcpListener> {
    std::os::fd::AsFd::as_fd(listener).try_clone_to_owned().map(TcpListener::from)
}

async fn bind(address: SocketAddr) -> Result<Listener, String> {
    Listener::bind(address).await.map_err(|fault| match fault.kind() {
        io::ErrorKind::AddrInUse => format!("cannot listen on {address}: the address is already in use"),
        io::ErrorKind::PermissionDenied => {
            format!("cannot listen on {address}: permission denied (ports below 1024 need a privilege)")
        }
        _ => format!("cannot listen on {address}: {fault}"),
    })
}
