"""As much of a Kubernetes API server as kubectl and Helm need to create objects: discovery, and objects in memory.

It refuses whatever the published schemas of Kubernetes do not know, and starts nothing. It prints its URL once it listens.
"""

import base64
import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import kubernetes_validate
import yaml

# Group and version, and the kinds in it with their names in paths.
KINDS = {
    "v1": {"ConfigMap": "configmaps", "PersistentVolumeClaim": "persistentvolumeclaims", "Secret": "secrets",
           "Service": "services"},
    "apps/v1": {"Deployment": "deployments"},
    "autoscaling/v2": {"HorizontalPodAutoscaler": "horizontalpodautoscalers"},
    "networking.k8s.io/v1": {"Ingress": "ingresses", "NetworkPolicy": "networkpolicies"},
    "policy/v1": {"PodDisruptionBudget": "poddisruptionbudgets"},
}
SHORT = {"Deployment": ["deploy"]}
PATH = re.compile(
    r"/(?:api/(?P<core>v1)|apis/(?P<group>[^/]+/[^/]+))/namespaces/(?P<namespace>[^/]+)/(?P<plural>[a-z]+)(?:/(?P<name>[^/?]+))?"
)
OBJECTS = {}


def discovery(path):
    """What the server can do, by path."""
    if path == "/version":
        return {"major": "1", "minor": "34", "gitVersion": "v1.34.0"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        groups = [version.split("/") + [version] for version in KINDS if "/" in version]
        entries = [
            {"name": group, "versions": [{"groupVersion": both, "version": version}],
             "preferredVersion": {"groupVersion": both, "version": version}}
            for group, version, both in groups
        ]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": entries}
    version = path.removeprefix("/apis/").removeprefix("/api/")
    if version in KINDS:
        verbs = ["create", "delete", "get", "list", "patch", "update"]
        resources = [
            {"name": plural, "singularName": kind.lower(), "shortNames": SHORT.get(kind, []), "kind": kind,
             "namespaced": True, "verbs": verbs}
            for kind, plural in KINDS[version].items()
        ]
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}
    return None


def merge(it, patch):
    """Lays a patch over an object. Lists are replaced, which is what the patches of the tests need."""
    for name, value in patch.items():
        if isinstance(value, dict) and value.pop("$patch", None) == "replace":
            it[name] = value
        elif isinstance(value, dict):
            merge(it.setdefault(name, {}), value)
        else:
            it[name] = value


class Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path, found = self.path.split("?")[0], PATH.match(self.path)
        if found and found["name"]:
            self.answer_object(OBJECTS.get(self.key(found, found["name"])))
        elif found:
            items = [it for key, it in OBJECTS.items() if key[:3] == self.key(found, None)[:3]]
            self.answer(200, {"kind": "List", "apiVersion": found["core"] or found["group"], "metadata": {}, "items": items})
        elif path == "/objects":
            self.answer(200, list(OBJECTS.values()))
        else:
            known = discovery(path)
            self.answer(200, known) if known else self.fail(404, "NotFound", f"no path {path}")

    def do_POST(self):
        found, it = PATH.match(self.path), self.body()
        key = self.key(found, it["metadata"]["name"])
        if key in OBJECTS:
            self.fail(409, "AlreadyExists", f"{key[2]} {key[3]} is there already")
        else:
            self.store(key, found, it, 201)

    def do_PATCH(self):
        found = PATH.match(self.path)
        key = self.key(found, found["name"])
        if key not in OBJECTS:
            self.fail(404, "NotFound", "there is no such object")
        elif self.headers["content-type"] != "application/strategic-merge-patch+json":
            self.fail(415, "UnsupportedMediaType", "only a strategic merge patch is understood")
        else:
            it = json.loads(json.dumps(OBJECTS[key]))
            merge(it, self.body())
            self.store(key, found, it, 200)

    def store(self, key, found, it, status):
        it.setdefault("apiVersion", found["core"] or found["group"])
        it.setdefault("kind", next(kind for kind, plural in KINDS[it["apiVersion"]].items() if plural == found["plural"]))
        try:
            kubernetes_validate.validate(it, "1.34", strict=True)
        except kubernetes_validate.ValidationError as wrong:
            self.fail(422, "Invalid", f"{wrong.path}: {wrong.message}")
            return
        # As the real one does.
        for name, text in it.pop("stringData", {}).items():
            it.setdefault("data", {})[name] = base64.b64encode(text.encode()).decode()
        it["metadata"] |= {"namespace": found["namespace"], "uid": "-".join(key), "resourceVersion": str(len(OBJECTS) + 1)}
        OBJECTS[key] = it
        self.answer_object(it, status)

    def key(self, found, name):
        return (found["core"] or found["group"], found["namespace"], found["plural"], name)

    def body(self):
        return yaml.safe_load(self.rfile.read(int(self.headers["content-length"])))

    def answer_object(self, it, status=200):
        self.answer(status, it) if it else self.fail(404, "NotFound", "there is no such object")

    def fail(self, code, reason, message):
        self.answer(code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
                           "message": message})

    def answer(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
