//! A pod of a Deployment as a process of this machine: its variables, its volumes as folders that are swapped as the kubelet
//! swaps them, its arguments and its probes.
//!
//! What a container adds is left out: the image, the user, the limits, and the network between pods.

use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cluster::Cluster;
use crate::operators::status;
use crate::program::{Folder, Program};
use crate::provider::Following;
use crate::server::Server;

/// A volume of an object's keys, one file each.
struct Volume {
    kind: &'static str,
    object: String,
    /// Where the container has it, and where it is here.
    mount: String,
    folder: PathBuf,
}

/// A running pod.
pub(crate) struct Pod {
    folder: Folder,
    container: Value,
    volumes: Vec<Volume>,
    program: Program,
    swaps: usize,
}

impl Pod {
    /// Starts a pod of the Deployment of this name. The provider is in the place of OpenAI, and `redis` in that of the host
    /// `redis`.
    pub(crate) async fn start(cluster: &Cluster, name: &str, provider: &Following, redis: Option<&Server>) -> Self {
        let deployment = cluster.object("Deployment", name).await.unwrap_or_else(|| panic!("no Deployment {name}"));
        let spec = &deployment["spec"]["template"]["spec"];
        let container = spec["containers"][0].clone();
        let folder = Folder::new(&format!("pod-{}-{name}", Path::new(&cluster.folder).file_name().unwrap().display()));
        let mut volumes = Vec::new();
        let mut mounts = Vec::new();
        for mount in container["volumeMounts"].as_array().unwrap() {
            let volume = spec["volumes"].as_array().unwrap().iter().find(|it| it["name"] == mount["name"]).unwrap();
            let path = PathBuf::from(folder.path_of(mount["name"].as_str().unwrap()));
            std::fs::create_dir_all(&path).unwrap();
            let mount = mount["mountPath"].as_str().unwrap().to_owned();
            mounts.push((mount.clone(), path.display().to_string()));
            let (kind, object) = match (&volume["secret"]["secretName"], &volume["configMap"]["name"]) {
                (Value::String(name), _) => ("Secret", name.clone()),
                (_, Value::String(name)) => ("ConfigMap", name.clone()),
                // A place of its own.
                _ => continue,
            };
            volumes.push(Volume { kind, object, mount, folder: path });
        }
        for volume in &volumes {
            write(cluster, volume, &mounts, 0).await;
        }
        let here = |text: &str| moved(text, &mounts);
        let mut variables = Vec::new();
        for it in container["env"].as_array().into_iter().flatten() {
            let name = it["name"].as_str().unwrap().to_owned();
            let reference = &it["valueFrom"]["secretKeyRef"];
            let value = match (it["value"].as_str(), reference["key"].as_str()) {
                (Some(value), _) => Some(here(value)),
                (None, Some(key)) => cluster.secret(reference["name"].as_str().unwrap(), key).await,
                (None, None) => panic!("{name} comes from nowhere"),
            };
            let Some(value) = value else {
                assert_eq!(reference["optional"], true, "the pod would wait for {reference}");
                continue;
            };
            let value = redis.map_or(value.clone(), |redis| value.replace("redis://redis:6379", &redis.url()));
            variables.push((name, value));
        }
        // A pod has its ports for itself; here they are free ones.
        variables.extend([
            ("PORT".to_owned(), "0".to_owned()),
            ("ADMIN_ADDR".to_owned(), "0.0.0.0:0".to_owned()),
            ("OPENAI_BASE_URL".to_owned(), format!("http://{}/v1", provider.address)),
        ]);
        let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (&**name, &**value)).collect();
        let arguments: Vec<String> =
            container["args"].as_array().unwrap().iter().map(|it| here(it.as_str().unwrap())).collect();
        let arguments: Vec<&str> = arguments.iter().map(|it| &**it).collect();
        let program = match arguments[0] {
            "worker" => Program::start_for_operators(&folder, &arguments, &variables).await,
            _ => Program::start(&folder, &arguments, &variables).await,
        };
        Self { folder, container, volumes, program, swaps: 0 }
    }

    /// Where callers connect.
    pub(crate) fn callers(&self) -> SocketAddr {
        self.program.address
    }

    /// Where operators connect.
    pub(crate) fn operators(&self) -> SocketAddr {
        here(&self.program.operators())
    }

    /// Brings what has changed in the cluster into the volumes, each at once, as the kubelet does.
    pub(crate) async fn sync(&mut self, cluster: &Cluster) {
        self.swaps += 1;
        let mounts: Vec<_> =
            self.volumes.iter().map(|it| (it.mount.clone(), it.folder.display().to_string())).collect();
        for volume in &self.volumes {
            write(cluster, volume, &mounts, self.swaps).await;
        }
    }

    /// Asks what the kubelet would ask, of the ports of these names.
    pub(crate) async fn answers_its_probes(&self) {
        for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
            let probe = &self.container[probe]["httpGet"];
            let address = if probe["port"] == "operators" { self.operators() } else { self.callers() };
            let path = probe["path"].as_str().unwrap();
            assert_eq!(status(address, "GET", path, None, "").await, 200, "{probe} in {}", self.folder.path_of(""));
        }
    }
}

/// The loopback address with the port of an address that a gateway says it listens on.
pub(crate) fn here(url: &str) -> SocketAddr {
    let port = url.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port");
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A text with the paths of the container as they are here.
fn moved(text: &str, mounts: &[(String, String)]) -> String {
    mounts.iter().fold(text.to_owned(), |text, (there, here)| text.replace(there, here))
}

/// A new version of a volume: a folder of its own, to which the link `..data` is moved in one step.
async fn write(cluster: &Cluster, volume: &Volume, mounts: &[(String, String)], version: usize) {
    let version = format!("..{version}");
    let folder = volume.folder.join(&version);
    std::fs::create_dir(&folder).unwrap();
    for (key, bytes) in cluster.data(volume.kind, &volume.object).await {
        let bytes = match volume.kind {
            "ConfigMap" => moved(std::str::from_utf8(&bytes).unwrap(), mounts).into_bytes(),
            _ => bytes,
        };
        std::fs::write(folder.join(&key), bytes).unwrap();
        let link = volume.folder.join(&key);
        if link.symlink_metadata().is_err() {
            symlink(Path::new("..data").join(&key), link).unwrap();
        }
    }
    symlink(&version, volume.folder.join("..next")).unwrap();
    std::fs::rename(volume.folder.join("..next"), volume.folder.join("..data")).unwrap();
}
