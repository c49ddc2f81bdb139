//! nginx, where it is installed: a proxy that does what any proxy does, and one that caches as well.
//!
//! One process, so that its CPU time is that of one process. It keeps its connections to the upstream, and writes an access
//! line for each request, as it does by default, to `/dev/null`. Nothing else is asked of it: no limit and no check.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::Fault;
use crate::contender::folder;
use crate::process::{Cores, Running, free_address};

/// Where it is, if it is installed. Its folder is often not among those of other users' programs.
pub(crate) fn installed() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join("nginx")).find(|program| program.is_file())
}

/// Starts it in front of `upstream`.
pub(crate) async fn start(
    program: PathBuf,
    is_caching: bool,
    cores: &Cores,
    upstream: SocketAddr,
) -> Result<Running, Fault> {
    let folder = folder(if is_caching { "nginx-cache" } else { "nginx" })?;
    let listen = free_address().await?;
    let file = folder.join("nginx.conf");
    std::fs::write(&file, config(&folder, listen, upstream, is_caching))?;
    let mut command = cores.proxy(program);
    command.arg("-p").arg(&folder).arg("-c").arg(&file).arg("-e").arg(folder.join("error.log"));
    Running::start_at(command, listen).await
}

fn config(folder: &Path, listen: SocketAddr, upstream: SocketAddr, is_caching: bool) -> String {
    let folder = folder.display();
    let (store, cache) = match is_caching {
        false => (String::new(), ""),
        true => (
            format!("proxy_cache_path {folder}/cache keys_zone=hits:1m inactive=1h use_temp_path=off;"),
            "proxy_cache hits;
             proxy_cache_methods POST;
             proxy_cache_key $request_uri$request_body;
             proxy_cache_valid 200 1h;
             add_header Cache-Status $upstream_cache_status;
             open_file_cache max=1000 inactive=1h;",
        ),
    };
    format!(
        "daemon off;
         master_process off;
         pid {folder}/nginx.pid;
         worker_rlimit_nofile 8192;
         events {{ worker_connections 8192; }}
         http {{
             access_log /dev/null combined;
             client_body_temp_path {folder}/body;
             proxy_temp_path {folder}/proxy;
             fastcgi_temp_path {folder}/fastcgi;
             uwsgi_temp_path {folder}/uwsgi;
             scgi_temp_path {folder}/scgi;
             sendfile on;
             tcp_nopush on;
             keepalive_requests 1000000000;
             keepalive_time 1h;
             {store}
             upstream provider {{
                 server {upstream};
                 keepalive 1024;
                 keepalive_requests 1000000000;
                 keepalive_time 1h;
             }}
             server {{
                 listen {listen} backlog=1024;
                 location / {{
                     proxy_pass http://provider;
                     proxy_http_version 1.1;
                     proxy_set_header Connection \"\";
                     {cache}
                 }}
             }}
         }}\n"
    )
}
