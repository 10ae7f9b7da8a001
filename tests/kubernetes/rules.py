"""What must hold for every rendering, and what breaks it?

`problems` looks at the objects of one rendering as the API server would get them. It says in sentences what is wrong.
"""

import pathlib
import re

import yaml

GRACE_MARGIN_SECS = 5
WORKLOADS = ["Deployment", "StatefulSet"]
UNIT_SECS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
CONFIG_FOLDER, DATA_FOLDER = "/etc/keygate", "/var/lib/keygate"


def seconds(duration):
    number, unit = re.fullmatch(r"([0-9]+)(ms|s|m|h|d)", duration).groups()
    return int(number) * UNIT_SECS[unit]


def port_of(address):
    return int(address.rpartition(":")[2])


def is_loopback(address):
    return re.match(r"127\.|\[::1\]:", address) is not None


def selects(selector, labels):
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())


class Rendering:
    """The objects of one rendering, by what they are for. `config` stands in where the ConfigMap is not part of it."""

    def __init__(self, documents, config=None):
        self.documents = documents
        workloads = [document for document in documents if document["kind"] in WORKLOADS]
        if len(workloads) != 1:
            raise ValueError(f"{len(workloads)} workloads in place of one")
        (self.workload,) = workloads
        self.spec = self.workload["spec"]
        self.pod = self.spec["template"]["spec"]
        self.labels = self.spec["template"]["metadata"]["labels"]
        self.containers = self.pod.get("initContainers", []) + self.pod["containers"]
        (self.gate,) = [container for container in self.pod["containers"] if container["name"] == "keygate"]
        self.volumes = {volume["name"]: volume for volume in self.pod["volumes"]}
        self.mounts = {mount["mountPath"]: mount for mount in self.gate["volumeMounts"]}
        self.ports = {port["name"]: port["containerPort"] for port in self.gate["ports"]}
        self.config_map = self._config_map()
        self.config = yaml.safe_load(self.config_map["keygate.yaml"]) if self.config_map else config

    def of(self, kind):
        return [document for document in self.documents if document["kind"] == kind]

    def _config_map(self):
        name = self.volumes["config"]["configMap"]["name"]
        return next((document["data"] for document in self.of("ConfigMap") if document["metadata"]["name"] == name), None)

    def volume_at(self, path):
        mount = self.mounts.get(path)
        return self.volumes.get(mount["name"], {}) if mount else None


def identities(rendering):
    seen = set()
    for document in rendering.documents:
        identity = (document["kind"], document["metadata"]["name"])
        if identity in seen:
            yield f"{identity} is there twice"
        seen.add(identity)


def rights(rendering):
    if rendering.pod.get("automountServiceAccountToken") is not False:
        yield "the pod mounts a token of its service account"
    for account in rendering.of("ServiceAccount"):
        if account.get("automountServiceAccountToken") is not False:
            yield "the service account gives pods a token"
    of_pod = rendering.pod.get("securityContext", {})
    if of_pod.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "the pod has no seccompProfile RuntimeDefault"
    for key in ["hostNetwork", "hostPID", "hostIPC"]:
        if rendering.pod.get(key):
            yield f"the pod has {key}"
    for container in rendering.containers:
        context = of_pod | container.get("securityContext", {})
        expected = {
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "privileged": False,
            "capabilities": {"drop": ["ALL"]},
        }
        for key, value in expected.items():
            if context.get(key) != value:
                yield f"{container['name']}: {key} is {context.get(key)}, not {value}"


def user(rendering):
    context = rendering.pod.get("securityContext", {})
    for key in ["runAsUser", "runAsGroup", "fsGroup"]:
        if context.get(key) != 65532:
            yield f"{key} is {context.get(key)}, not 65532"


def resources(rendering):
    for container in rendering.containers:
        resources = container.get("resources", {})
        for kind, name in [("requests", "cpu"), ("requests", "memory"), ("limits", "memory")]:
            if not resources.get(kind, {}).get(name):
                yield f"{container['name']}: no {kind} of {name}"


def secrets(rendering):
    for container in rendering.containers:
        if container.get("env") or container.get("envFrom"):
            yield f"{container['name']}: variables of the environment; secrets are files"
    for name, volume in rendering.volumes.items():
        if "secret" in volume and volume["secret"].get("defaultMode") != 0o440:
            yield f"volume {name}: mode of the secret is not 0440"
    for path, mount in rendering.mounts.items():
        if "subPath" in mount or "subPathExpr" in mount:
            yield f"{path}: the kubelet does not update files that are mounted by subPath"
        if path.startswith(CONFIG_FOLDER) and mount.get("readOnly") is not True:
            yield f"{path}: not readOnly"
        if mount["name"] not in rendering.volumes and mount["name"] != "data":
            yield f"{path}: there is no volume {mount['name']}"
    if rendering.config:
        text = yaml.safe_dump(rendering.config)
        for folder in set(re.findall(r"(?:^|[\s:'\"])(secrets|tls|cluster)/[a-z]", text)):
            if rendering.volume_at(f"{CONFIG_FOLDER}/{folder}") is None:
                yield f"the configuration names files in {folder}/, and nothing is mounted there"


def shutdown(rendering):
    if rendering.pod["containers"][0].get("lifecycle"):
        yield "a preStop hook delays SIGTERM, and shutdown.delay does that already"
    configured = rendering.config.get("shutdown", {})
    longest = seconds(configured.get("delay", "0s")) + seconds(configured.get("drain", "30s"))
    grace = rendering.pod.get("terminationGracePeriodSeconds", 30)
    if grace < longest + GRACE_MARGIN_SECS:
        yield f"terminationGracePeriodSeconds is {grace}, and Keygate may take {longest:g} s to end"
    if seconds(configured.get("delay", "0s")) == 0:
        yield "shutdown.delay is 0s: connections that arrive while Services change are refused"


def ports(rendering):
    admin = rendering.config["admin"]["address"]
    listeners = [listener["address"] for listener in rendering.config["listeners"]]
    if is_loopback(admin):
        yield "the admin listener is reached from the pod alone"
    if rendering.ports.get("admin") != port_of(admin):
        yield f"the port admin is {rendering.ports.get('admin')}, and the listener has {port_of(admin)}"
    exposed = {port_of(address) for address in listeners if not is_loopback(address)}
    named = {port for name, port in rendering.ports.items() if name != "admin"}
    if exposed != named:
        yield f"the ports of the container are {named}, and those of the listeners {exposed}"
    if len(rendering.ports) != len(rendering.gate["ports"]):
        yield "two ports have one name"


def probes(rendering):
    for probe, path in [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")]:
        action = rendering.gate.get(probe, {}).get("httpGet", {})
        if (action.get("path"), action.get("port")) != (path, "admin"):
            yield f"{probe} does not ask {path} of the admin listener"


def services(rendering):
    components = {}
    for service in rendering.of("Service"):
        spec, name = service["spec"], service["metadata"]["name"]
        components[service["metadata"]["labels"].get("app.kubernetes.io/component")] = service
        if not selects(spec["selector"], rendering.labels):
            yield f"the Service {name} does not select the pods"
        for port in spec["ports"]:
            if port["targetPort"] not in rendering.ports:
                yield f"the Service {name}: no port of the container is called {port['targetPort']}"
    if set(components) != {"gate", "admin"}:
        yield f"the Services are for {set(components)}"
        return
    gate, admin = components["gate"]["spec"], components["admin"]["spec"]
    if "admin" in [port["targetPort"] for port in gate["ports"]]:
        yield "the Service for clients leads to the admin listener"
    if admin["type"] != "ClusterIP" or admin.get("clusterIP") != "None":
        yield "the admin Service is not headless and inside the cluster"
    if [port["targetPort"] for port in admin["ports"]] != ["admin"]:
        yield "the admin Service leads to another listener"
    if len({port["port"] for port in gate["ports"]}) != len(gate["ports"]):
        yield "two ports of the Service have one number"
    if rendering.workload["kind"] == "StatefulSet":
        governing = rendering.spec["serviceName"]
        if governing != components["admin"]["metadata"]["name"]:
            yield f"the StatefulSet is governed by {governing}, which is not the headless Service"
    for ingress in rendering.of("Ingress"):
        if components["admin"]["metadata"]["name"] in yaml.safe_dump(ingress):
            yield "an Ingress leads to the admin listener"


def replicas(rendering):
    store = rendering.config.get("store")
    kind, number = rendering.workload["kind"], rendering.spec.get("replicas")
    data = rendering.volume_at(DATA_FOLDER)
    if not rendering.config.get("state_dir", "").startswith(DATA_FOLDER):
        yield "state_dir is not on the volume that can be written"
    if not store:
        scaled = rendering.of("HorizontalPodAutoscaler")
        if kind != "Deployment":
            yield f"without a store it is a {kind}"
        if scaled and number is not None:
            yield "replicas would undo what the HorizontalPodAutoscaler decides"
        if not scaled and (number is None or number < 2):
            yield f"{number} replicas: an update of the node is an interruption"
        if "emptyDir" not in (data or {}):
            yield "no emptyDir for state_dir"
        if rendering.spec["strategy"].get("rollingUpdate", {}).get("maxUnavailable") != 0:
            yield "an update takes pods away before new ones are ready"
        if not rendering.pod.get("topologySpreadConstraints"):
            yield "all replicas may be on one node"
        return
    if kind != "StatefulSet" or number != 1:
        yield f"a store has one process: {kind} with {number} replicas"
        return
    if rendering.spec.get("podManagementPolicy") != "Parallel":
        yield "a pod that never becomes ready would keep its correction out"
    claims = {claim["metadata"]["name"]: claim for claim in rendering.spec.get("volumeClaimTemplates", [])}
    claimed = "data" in claims or "persistentVolumeClaim" in rendering.volumes.get("data", {})
    if DATA_FOLDER not in rendering.mounts or not claimed:
        yield "the store is on no volume that outlives the pod"
    if pathlib.PurePosixPath(store["path"]).parent != pathlib.PurePosixPath(DATA_FOLDER):
        yield f"the store {store['path']} is not on the volume"
    # Seen in a pod: the kubelet's rights for the group on signing keys keep Keygate from starting again.
    if rendering.pod["securityContext"].get("fsGroupChangePolicy") != "OnRootMismatch":
        yield "fsGroupChangePolicy is not OnRootMismatch"


def disruption(rendering):
    for budget in rendering.of("PodDisruptionBudget"):
        if not selects(budget["spec"]["selector"]["matchLabels"], rendering.labels):
            yield "the PodDisruptionBudget does not select the pods"
        if budget["spec"].get("maxUnavailable") in (None, 0, "0%"):
            yield "the PodDisruptionBudget keeps nodes from being drained"


def network(rendering):
    for policy in rendering.of("NetworkPolicy"):
        spec = policy["spec"]
        if not selects(spec["podSelector"].get("matchLabels"), rendering.labels):
            yield "the NetworkPolicy does not select the pods"
        if sorted(spec.get("policyTypes", [])) != ["Egress", "Ingress"]:
            yield "the NetworkPolicy leaves a direction open"
        opened = set()
        for rule in spec.get("ingress", []):
            numbers = {port["port"] for port in rule.get("ports", [])}
            if not numbers:
                yield "an ingress rule opens every port"
            opened |= numbers
            if rendering.ports["admin"] in numbers and not (rule.get("from") and all(rule["from"])):
                yield "everybody may connect to the admin listener"
        if unreachable := {port for name, port in rendering.ports.items() if name != "admin"} - opened:
            yield f"nobody may connect to {unreachable}"
        if opened - set(rendering.ports.values()):
            yield f"the NetworkPolicy opens {opened}, of which the container has {set(rendering.ports.values())}"
        for rule in spec.get("egress") or []:
            if not rule.get("to"):
                yield "an egress rule lets everything out"


def monitoring(rendering):
    for monitor in rendering.of("ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"]
        found = [service for service in rendering.of("Service") if selects(wanted, service["metadata"]["labels"])]
        if len(found) != 1:
            yield f"the ServiceMonitor selects {len(found)} Services"
            continue
        for endpoint in monitor["spec"]["endpoints"]:
            if endpoint["port"] not in [port["name"] for port in found[0]["spec"]["ports"]]:
                yield f"the Service has no port {endpoint['port']}, which the ServiceMonitor names"
        # The alerts of deploy/prometheus look for this job.
        if found[0]["metadata"]["labels"].get(monitor["spec"].get("jobLabel")) != "keygate":
            yield "the job is not called keygate"


def image(rendering):
    for container in rendering.containers:
        name, _, tag = container["image"].partition("@" if "@" in container["image"] else ":")
        if re.match(r"[^/]*[.:][^/]*/", name):
            yield f"{container['image']}: the host of a registry is not ours to choose"
        if tag in ["", "latest"]:
            yield f"{container['image']}: no tag that stays the same"
        if container.get("command", [])[:1] != ["keygate"]:
            yield "the container does not run keygate"
        if container.get("workingDir") != CONFIG_FOLDER:
            yield "what `keygate check -` names is relative to another folder"


RULES = [
    identities,
    rights,
    user,
    resources,
    secrets,
    shutdown,
    ports,
    probes,
    services,
    replicas,
    disruption,
    network,
    monitoring,
    image,
]


def problems(documents, config=None, without=()):
    """Returns a sentence for each rule that is broken."""
    try:
        rendering = Rendering(documents, config)
    except (KeyError, ValueError) as error:
        return [f"not to be understood: {error!r}"]
    return [problem for rule in RULES if rule.__name__ not in without for problem in rule(rendering)]
