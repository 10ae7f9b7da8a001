"""Does the chart give the same as the plain manifests, with every Helm, and refuse values that contradict each other?"""

import concurrent.futures
import copy

import renderings
import yaml

# What only the chart writes.
CHART_LABELS = ["app.kubernetes.io/version", "app.kubernetes.io/managed-by", "helm.sh/chart"]

# The least that renders.
BASE = {
    "config": {
        "upstreams": {"echo": {"builtin": "echo"}},
        "routes": [{"name": "echo", "match": {"path": "/"}, "public": True, "upstream": "echo"}],
    }
}
STORE = {"config": {"store": {"path": "/var/lib/keygate/keygate.db"}}, "persistence": {"enabled": True}}

# Values over BASE, and a part of what Helm then says.
REFUSED = [
    ("config: { routes: [] }", "config.routes: required"),
    ("config: { listeners: [{ address: 8080 }] }", 'config.listeners[0].address: "8080" is not an address'),
    ("config: { listeners: [{ protocol: h2c }] }", "config.listeners[0].address"),
    ("config: { listeners: [{ address: 127.0.0.1:8080 }] }", "config.listeners: other pods can reach none"),
    ("config: { listeners: [{ address: '[::1]:8080' }] }", "config.listeners: other pods can reach none"),
    ("config: { admin: null }", "config.admin.address: required"),
    ("config: { admin: { address: 127.0.0.1:9090 } }", "config.admin.address: only the pod itself can reach \"127.0.0.1:9090\""),
    ("config: { shutdown: { drain: 30 } }", 'config.shutdown.drain: "30" is not a duration'),
    ("config: { shutdown: { delay: 1h30m } }", 'config.shutdown.delay: "1h30m" is not a duration'),
    ("terminationGracePeriodSeconds: 40", "terminationGracePeriodSeconds: 40 s is too short"),
    ("terminationGracePeriodSeconds: 10", "longer than config.shutdown.delay + config.shutdown.drain (10s + 30s)"),
    ("{ config: { shutdown: { delay: 30s, drain: 1m } }, terminationGracePeriodSeconds: 90 }", "90 s is too short"),
    ("{ config: { shutdown: { delay: null, drain: null } }, terminationGracePeriodSeconds: 30 }", "(0s + 30s)"),
    ("config: { store: { path: /var/lib/keygate/keygate.db } }", "config.store: set persistence.enabled"),
    ("persistence: { enabled: true }", "persistence.enabled: set config.store.path"),
    (STORE | {"config": {"store": {"path": "keygate.db"}}}, 'config.store.path: "keygate.db" is not in /var/lib/keygate'),
    (STORE | {"config": {"store": {"path": "/var/lib/keygate/"}}}, "is not in /var/lib/keygate"),
    (STORE | {"replicas": 2}, "replicas: with persistence there is one replica, not 2"),
    (STORE | {"autoscaling": {"enabled": True}}, "autoscaling.enabled: with persistence"),
    ("config: { identity_token: { issuer: https://gate.example.com } }", "config.identity_token: set signing_key_file"),
    ("config: { admin: { token: 'file:secrets/admin' } }", "secretFiles.secretName: required"),
    ("config: { api_keys: { file: secrets/keys.yaml } }", "secretFiles.secretName: required"),
    ("config: { api_keys: { pepper: 'file:/etc/keygate/secrets/pepper' } }", "secretFiles.secretName: required"),
    (
        "config: { listeners: [{ address: 0.0.0.0:8443, tls: { certificate: tls/tls.crt, private_key: tls/tls.key } }] }",
        "tls.secretName: required",
    ),
    # All at once.
    ("{ config: { routes: [], admin: null }, terminationGracePeriodSeconds: 1 }", "config.routes"),
    ("{ config: { routes: [], admin: null }, terminationGracePeriodSeconds: 1 }", "config.admin.address"),
    ("{ config: { routes: [], admin: null }, terminationGracePeriodSeconds: 1 }", "terminationGracePeriodSeconds: 1 s is"),
    # The schema of the values.
    ("replica: 2", "replica"),
    ("service: { port: 80 }", "port"),
    ("service: { type: ExternalName }", "type"),
    ("persistence: { accessModes: [ReadWriteMany] }", "accessModes"),
    ("secretFiles: keygate-secrets", "secretFiles"),
    ("configFiles: { keygate.yaml: again }", "keygate.yaml"),
    ("configFiles: { a/b.yaml: text }", "a/b.yaml"),
    ("image: { digest: 'sha256:1' }", "digest"),
    ("terminationGracePeriodSeconds: 1m", "terminationGracePeriodSeconds"),
]

# Values over BASE that render, most of them beside one that does not, and a line that an object of this kind then has.
ACCEPTED = [
    ("terminationGracePeriodSeconds: 41", "Deployment", "terminationGracePeriodSeconds: 41"),
    ("config: { shutdown: { delay: 0s, drain: 1ms } }", "Deployment", "terminationGracePeriodSeconds: 16"),
    ("config: { shutdown: { delay: 1500ms, drain: 2m } }", "Deployment", "terminationGracePeriodSeconds: 137"),
    ("config: { shutdown: { delay: null, drain: null } }", "Deployment", "terminationGracePeriodSeconds: 45"),
    ("config: { shutdown: { delay: 1h, drain: 1d } }", "Deployment", "terminationGracePeriodSeconds: 90015"),
    ("serviceAccount: { create: false }", "Deployment", "serviceAccountName: default"),
    ("image: { tag: 2.0.0 }", "Deployment", "image: keygate:2.0.0"),
    ("replicas: 0", "Deployment", "replicas: 0"),
    (STORE, "StatefulSet", "replicas: 1"),
    ("config: { admin: { address: '[::]:9999' } }", "Service", "port: 9999"),
    ("config: { listeners: [{ address: '[::]:9443', tls: { certificate: a.pem } }] }", "Service", "name: https"),
    # Each part of the egress alone, and none.
    ("networkPolicy: { httpsTo: [], egress: [] }", "NetworkPolicy", "- port: 53"),
    ("networkPolicy: { dnsTo: [], egress: [] }", "NetworkPolicy", "- port: 443"),
    ("networkPolicy: { dnsTo: [], httpsTo: [], egress: [{ ports: [{ port: 1 }] }] }", "NetworkPolicy", "- port: 1"),
    ("networkPolicy: { dnsTo: [], httpsTo: [], egress: [] }", "NetworkPolicy", "egress: []"),
]


def merged(base, over):
    """Returns `over` merged into `base` as Helm merges values."""
    if isinstance(base, dict) and isinstance(over, dict):
        return base | {key: merged(base.get(key), value) for key, value in over.items()}
    return over


def values_text(over):
    over = yaml.safe_load(over) if isinstance(over, str) else over
    return yaml.safe_dump(merged(BASE, over))


def refusals():
    """Returns a sentence for each row of REFUSED and ACCEPTED that does not hold."""
    versions = [renderings.OLD, renderings.NEW]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        refused = [pool.submit(refusal, version, *row) for version in versions for row in REFUSED]
        accepted = [pool.submit(acceptance, version, *row) for version in versions for row in ACCEPTED]
    return [problem for each in refused + accepted if (problem := each.result())]


def refusal(version, over, expected):
    try:
        renderings.helm("-", text=values_text(over), version=version)
    except renderings.Refused as refused:
        brings = str(refused)
    else:
        brings = "manifests"
    return None if expected in brings else f"helm-{version}: {over} should bring `{expected}`, and brings {brings}"


def acceptance(version, over, kind, line):
    try:
        documents = renderings.objects(renderings.helm("-", text=values_text(over), version=version))
    except renderings.Refused as refused:
        return f"helm-{version}: {over} brings {refused}"
    of_kind = [yaml.safe_dump(document) for document in documents if document["kind"] == kind]
    lines = {found.strip() for text in of_kind for found in text.splitlines()}
    return None if line in lines else f"helm-{version}: {over} gives no `{line}` in {of_kind}"


def comparable(documents):
    """Returns the objects by kind and name, without what only the chart writes, and with configurations as maps."""
    compared = copy.deepcopy(renderings.by_identity(documents))
    compared.pop(("Namespace", "keygate"), None)
    for document in compared.values():
        for label in CHART_LABELS:
            document["metadata"]["labels"].pop(label, None)
        if document["kind"] == "ConfigMap":
            document["data"] = {name: yaml.safe_load(content) for name, content in document["data"].items()}
    return compared


def differences(name, left, right):
    found = []
    for identity in sorted(left.keys() | right.keys()):
        pair = [yaml.safe_dump(side.get(identity)) for side in (left, right)]
        if pair[0] != pair[1]:
            found.append(f"{name}: {' '.join(identity)} differs\n{renderings.diff(*pair)}")
    return found


def like_plain():
    """Returns where the chart with the example values differs from the plain manifests and the ServiceMonitor."""
    found = []
    monitor = renderings.objects(renderings.MONITORING.read_text())
    for plain, values in [("plain", "chart-issuers-and-keys"), ("with-store", "chart-with-store")]:
        by_hand = renderings.objects(renderings.kustomize(renderings.FOLDERS[plain])) + monitor
        by_chart = renderings.objects(renderings.helm(renderings.VALUES[values], "--set", "serviceMonitor.enabled=true"))
        found += differences(f"{plain} and {values}", comparable(by_hand), comparable(by_chart))
    return found


def with_old_programs(files):
    """Returns where the oldest programs render other objects than the newest, whose renderings are `files`."""
    found = []
    for name, folder in renderings.FOLDERS.items():
        old = renderings.objects(renderings.kustomize(folder, version=renderings.OLD))
        new = renderings.objects(files[f"{name}.yaml"])
        found += differences(f"{name} by kubectl-{renderings.OLD}", *map(renderings.by_identity, (new, old)))
    for name, values in renderings.VALUES.items():
        old = renderings.objects(renderings.helm(values, version=renderings.OLD))
        new = renderings.objects(files[f"{name}.yaml"])
        found += differences(f"{name} by helm-{renderings.OLD}", *map(renderings.by_identity, (new, old)))
    return found


def lint():
    found = []
    for version in [renderings.OLD, renderings.NEW]:
        for values in renderings.VALUES.values():
            try:
                renderings.run(f"helm-{version}", "lint", "--strict", renderings.CHART, "--values", values)
            except renderings.Refused as refused:
                found.append(f"helm-{version} lint with {values.name}: {refused}")
    return found


# conf/keygate.yaml has every key there is. These are what the chart itself asks for.
REFERENCE = [
    "--set=config.admin.address=0.0.0.0:9090",
    "--set=config.listeners[0].address=0.0.0.0:8080",
    "--set=config.store.path=/var/lib/keygate/keygate.db",
    "--set=persistence.enabled=true",
]


def reference(version):
    """Returns conf/keygate.yaml as the chart renders it."""
    original = (renderings.ROOT / "conf/keygate.yaml").read_text()
    values = "config:\n" + "".join(f"  {line}\n" if line else "\n" for line in original.splitlines())
    documents = renderings.objects(renderings.helm("-", *REFERENCE, text=values, version=version))
    return renderings.by_identity(documents)["ConfigMap", "keygate"]["data"]["keygate.yaml"]


def whole_reference():
    """Returns the problems of conf/keygate.yaml on its way through Helm: each number and text must stay what it is."""
    expected = yaml.safe_load((renderings.ROOT / "conf/keygate.yaml").read_text())
    expected["admin"]["address"], expected["store"]["path"] = "0.0.0.0:9090", "/var/lib/keygate/keygate.db"
    expected["listeners"] = [{"address": "0.0.0.0:8080"}, *expected["listeners"][1:]]
    expected["state_dir"] = "/var/lib/keygate"
    found = []
    for version in [renderings.OLD, renderings.NEW]:
        pair = [yaml.safe_dump(side) for side in (expected, yaml.safe_load(reference(version)))]
        if pair[0] != pair[1]:
            found.append(f"conf/keygate.yaml by helm-{version} is another configuration\n{renderings.diff(*pair)}")
    return found
