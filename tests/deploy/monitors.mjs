// Holds PodMonitors and ServiceMonitors, a JSON array at the standard input, to the schemas of the Prometheus operator.
import { readFileSync } from "node:fs";

const models = new URL("../../target/test-tools/node/node_modules/@kubernetes-models/prometheus-operator/", import.meta.url);
const model = async (kind) => (await import(new URL(`monitoring.coreos.com/v1/${kind}.js`, models)))[kind];

for (const object of JSON.parse(readFileSync(0, "utf8"))) {
  new (await model(object.kind))(object).validate();
}
