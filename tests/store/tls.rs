//! A store behind TLS, whose certificate a private authority has signed: the whole program, told by `SSL_CERT_FILE` whom to
//! trust.

use std::process::Stdio;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::server::{Server, free_port, soon, until};

/// The program, with this store and these authorities.
fn program(folder: &std::path::Path, url: &str, authorities: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.arg("serve").current_dir(folder).env_clear().stdin(Stdio::null());
    command.envs([("PORT", "0"), ("HOST", "127.0.0.1"), ("ADMIN_ADDR", "off"), ("LOG_LEVEL", "warn")]);
    command.env("REDIS_URL", url).env("SSL_CERT_FILE", folder.join(authorities));
    command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn().expect("the program starts")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_reached_over_tls_and_only_when_its_certificate_is_trusted() {
    let folder = std::env::temp_dir().join(format!("tidegate-store-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let authority = || {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    };
    let (ours, another, key) = (authority(), authority(), KeyPair::generate().unwrap());
    let certificate = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap().signed_by(&key, &ours).unwrap();
    for (name, text) in [
        ("ours.pem", ours.pem()),
        ("another.pem", another.pem()),
        ("server.pem", certificate.pem()),
        ("server.key", key.serialize_pem()),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let file = |name: &str| folder.join(name).display().to_string();
    let (port, certificate, key, trusted) =
        (free_port().to_string(), file("server.pem"), file("server.key"), file("ours.pem"));
    let server = Server::with(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &trusted,
        "--tls-auth-clients",
        "no",
    ])
    .await;
    let url = format!("rediss://127.0.0.1:{port}");
    let gateways = async || server.cli(&["ZCARD", "{tidegate:limit}:gateways"]).await;
    let mut doubtful = program(&folder, &url, "another.pem");
    let mut lines = BufReader::new(doubtful.stdout.take().unwrap()).lines();
    soon("the doubtful program says that the store is out", async {
        while !lines.next_line().await.unwrap().expect("it runs").contains("the store (Redis) is unavailable") {}
    })
    .await;
    assert_eq!(gateways().await, "0", "who does not trust the certificate says nothing to the store");
    let _trusting = program(&folder, &url, "ours.pem");
    until("the program that trusts the store says that it lives", async || gateways().await == "1").await;
    std::fs::remove_dir_all(&folder).unwrap();
}
