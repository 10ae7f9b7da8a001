"""Does each rule notice when a manifest breaks it?

Each row is the name of a golden file, a change of its objects, and a part of the sentence that the change must bring.
"""

import copy

import rules

PLAIN, STORE, EVERYTHING = "plain.yaml", "with-store.yaml", "chart-everything.yaml"
COMPONENT = "app.kubernetes.io/component"


def find(documents, kind, name=None):
    return next(
        document for document in documents if document["kind"] == kind and name in (None, document["metadata"]["name"])
    )


def workload(documents):
    return next(document for document in documents if document["kind"] in rules.WORKLOADS)


def pod(documents):
    return workload(documents)["spec"]["template"]["spec"]


def gate(documents):
    return pod(documents)["containers"][0]


def configure(documents, old, new):
    data = next(document["data"] for document in documents if "keygate.yaml" in document.get("data", {}))
    assert old in data["keygate.yaml"], old
    data["keygate.yaml"] = data["keygate.yaml"].replace(old, new)


def policy(documents):
    return find(documents, "NetworkPolicy")["spec"]


BREAKAGES = [
    (PLAIN, lambda d: d.append(copy.deepcopy(d[-1])), "is there twice"),
    (PLAIN, lambda d: pod(d).pop("automountServiceAccountToken"), "mounts a token"),
    (PLAIN, lambda d: find(d, "ServiceAccount").pop("automountServiceAccountToken"), "gives pods a token"),
    (PLAIN, lambda d: pod(d)["securityContext"].pop("seccompProfile"), "no seccompProfile"),
    (PLAIN, lambda d: pod(d).update(hostNetwork=True), "hostNetwork"),
    (PLAIN, lambda d: gate(d)["securityContext"].update(runAsNonRoot=False), "runAsNonRoot is False"),
    (PLAIN, lambda d: gate(d)["securityContext"].pop("allowPrivilegeEscalation"), "allowPrivilegeEscalation is None"),
    (PLAIN, lambda d: gate(d)["securityContext"].update(readOnlyRootFilesystem=False), "readOnlyRootFilesystem is False"),
    (PLAIN, lambda d: gate(d)["securityContext"]["capabilities"].update(add=["NET_ADMIN"]), "capabilities is"),
    (PLAIN, lambda d: gate(d)["securityContext"].pop("capabilities"), "capabilities is None"),
    (PLAIN, lambda d: pod(d)["securityContext"].update(runAsUser=0), "runAsUser is 0"),
    (PLAIN, lambda d: pod(d)["securityContext"].pop("fsGroup"), "fsGroup is None"),
    (PLAIN, lambda d: gate(d)["resources"].pop("limits"), "no limits of memory"),
    (PLAIN, lambda d: gate(d).update(envFrom=[{"secretRef": {"name": "keygate-secrets"}}]), "secrets are files"),
    (PLAIN, lambda d: gate(d)["volumeMounts"][0].update(subPath="keygate.yaml"), "by subPath"),
    (PLAIN, lambda d: gate(d)["volumeMounts"][1].pop("readOnly"), "secrets: not readOnly"),
    (PLAIN, lambda d: pod(d)["volumes"][1]["secret"].update(defaultMode=0o444), "is not 0440"),
    (PLAIN, lambda d: gate(d)["volumeMounts"].pop(1), "names files in secrets/"),
    (STORE, lambda d: gate(d)["volumeMounts"].pop(2), "names files in tls/"),
    (PLAIN, lambda d: pod(d)["volumes"].pop(1), "there is no volume secrets"),
    (PLAIN, lambda d: pod(d).update(terminationGracePeriodSeconds=40), "is 40, and Keygate may take 40 s"),
    (PLAIN, lambda d: pod(d).pop("terminationGracePeriodSeconds"), "is 30, and"),
    (PLAIN, lambda d: configure(d, "drain: 30s", "drain: 5m"), "may take 310 s"),
    (PLAIN, lambda d: configure(d, "delay: 10s", "delay: 0s"), "shutdown.delay is 0s"),
    (PLAIN, lambda d: gate(d).update(lifecycle={"preStop": {"sleep": {"seconds": 5}}}), "preStop"),
    (PLAIN, lambda d: configure(d, "0.0.0.0:9090", "127.0.0.1:9090"), "reached from the pod alone"),
    (PLAIN, lambda d: configure(d, "0.0.0.0:9090", "0.0.0.0:9191"), "the listener has 9191"),
    (PLAIN, lambda d: configure(d, "0.0.0.0:8080", "0.0.0.0:8000"), "those of the listeners {8000}"),
    (EVERYTHING, lambda d: gate(d)["ports"][1].update(name="http-8080"), "two ports have one name"),
    (PLAIN, lambda d: gate(d).pop("livenessProbe"), "livenessProbe does not ask"),
    (PLAIN, lambda d: gate(d)["readinessProbe"]["httpGet"].update(path="/livez"), "readinessProbe does not ask"),
    (PLAIN, lambda d: find(d, "Service", "keygate")["spec"]["selector"].update(tier="web"), "keygate does not select"),
    (PLAIN, lambda d: find(d, "Service", "keygate")["spec"]["ports"][0].update(targetPort="https"), "is called https"),
    (PLAIN, lambda d: find(d, "Service", "keygate")["spec"]["ports"][0].update(targetPort="admin"), "leads to the admin"),
    (PLAIN, lambda d: find(d, "Service", "keygate-admin")["spec"].update(type="LoadBalancer"), "not headless"),
    (PLAIN, lambda d: find(d, "Service", "keygate-admin")["metadata"]["labels"].pop(COMPONENT), "the Services are for"),
    (STORE, lambda d: workload(d)["spec"].update(serviceName="keygate"), "is governed by keygate"),
    (PLAIN, lambda d: workload(d)["spec"].update(replicas=1), "1 replicas"),
    (PLAIN, lambda d: workload(d)["spec"]["strategy"].update(rollingUpdate={"maxUnavailable": 1}), "before new ones"),
    (PLAIN, lambda d: pod(d).pop("topologySpreadConstraints"), "on one node"),
    (PLAIN, lambda d: configure(d, "state_dir: /var", "state_dir: /opt"), "state_dir is not"),
    (PLAIN, lambda d: configure(d, "issuers:", "store: { path: /var/lib/keygate/keygate.db }\nissuers:"), "has one process"),
    (EVERYTHING, lambda d: workload(d)["spec"].update(replicas=4), "would undo"),
    (STORE, lambda d: workload(d)["spec"].update(replicas=2), "StatefulSet with 2 replicas"),
    (STORE, lambda d: workload(d)["spec"].update(podManagementPolicy="OrderedReady"), "keep its correction out"),
    (STORE, lambda d: workload(d)["spec"].pop("volumeClaimTemplates"), "on no volume"),
    (STORE, lambda d: configure(d, "/var/lib/keygate/keygate.db", "/etc/keygate/keygate.db"), "is not on the volume"),
    (STORE, lambda d: pod(d)["securityContext"].pop("fsGroupChangePolicy"), "not OnRootMismatch"),
    (PLAIN, lambda d: find(d, "PodDisruptionBudget")["spec"].pop("maxUnavailable"), "from being drained"),
    (PLAIN, lambda d: find(d, "PodDisruptionBudget")["spec"]["selector"].update(matchLabels={"a": "b"}), "Budget does not"),
    (PLAIN, lambda d: policy(d)["podSelector"].update(matchLabels={"a": "b"}), "NetworkPolicy does not"),
    (PLAIN, lambda d: policy(d)["policyTypes"].remove("Egress"), "leaves a direction open"),
    (PLAIN, lambda d: policy(d)["ingress"][0].pop("ports"), "opens every port"),
    (PLAIN, lambda d: policy(d)["ingress"][1].pop("from"), "may connect to the admin"),
    (PLAIN, lambda d: policy(d)["ingress"][1]["from"].append({}), "may connect to the admin"),
    (PLAIN, lambda d: policy(d)["ingress"].pop(0), "nobody may connect to {8080}"),
    (PLAIN, lambda d: policy(d)["ingress"][0]["ports"][0].update(port=8000), "the NetworkPolicy opens"),
    (PLAIN, lambda d: policy(d)["egress"].append({"ports": [{"port": 80}]}), "lets everything out"),
    (EVERYTHING, lambda d: find(d, "ServiceMonitor")["spec"]["selector"]["matchLabels"].pop(COMPONENT), "selects 2 Services"),
    (EVERYTHING, lambda d: find(d, "ServiceMonitor")["spec"]["endpoints"][0].update(port="metrics"), "no port metrics"),
    (EVERYTHING, lambda d: find(d, "ServiceMonitor")["spec"].pop("jobLabel"), "the job is not called keygate"),
    (PLAIN, lambda d: gate(d).update(image="registry.example.com/keygate:1"), "the host of a registry"),
    (PLAIN, lambda d: gate(d).update(image="keygate:latest"), "no tag that stays"),
    (PLAIN, lambda d: gate(d).update(command=["sh", "-c", "keygate run"]), "does not run keygate"),
    (PLAIN, lambda d: gate(d).pop("workingDir"), "relative to another folder"),
    (PLAIN, lambda d: d.remove(workload(d)), "not to be understood"),
]


def unnoticed(documents_of):
    """Returns a sentence for each breakage that no rule notices. `documents_of` are the objects of each golden file."""
    found = []
    for name, change, expected in BREAKAGES:
        documents = copy.deepcopy(documents_of[name])
        change(documents)
        sentences = rules.problems(documents)
        if not any(expected in sentence for sentence in sentences):
            found.append(f"a breakage of {name} should bring `{expected}`, and brings {sentences}")
    return found
