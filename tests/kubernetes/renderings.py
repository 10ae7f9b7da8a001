"""What do kubectl and Helm make of the files in deploy/kubernetes?"""

import difflib
import os
import pathlib
import platform
import re
import subprocess
import tempfile

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy/kubernetes"
CHART = DEPLOY / "chart"
GOLDEN = ROOT / "tests/data/kubernetes"
PROGRAMS = ROOT / "tests/kubernetes/.venv/bin"
# Helm and kubectl come in pairs: Helm 3.17 with kubectl 1.32, and Helm 4.3 with kubectl 1.37.
OLD, NEW = "v32", "v37"

# Name of the golden file: folder of the manifests.
FOLDERS = {"plain": DEPLOY / "plain", "with-store": DEPLOY / "with-store"}
MONITORING = DEPLOY / "monitoring/servicemonitor.yaml"
# Name of the golden file: values of the chart. Those in deploy/kubernetes are examples for people.
VALUES = {
    f"chart-{path.stem}": path
    for folder in [DEPLOY / "values", ROOT / "tests/kubernetes/values"]
    for path in sorted(folder.glob("*.yaml"))
}
# What `helm install` prints at the end, where it differs.
NOTES = ["chart-issuers-and-keys", "chart-with-store", "chart-existing"]


class Refused(Exception):
    """A program ended with an error, which is the text."""


def can_run_programs():
    return (platform.system(), platform.machine()) == ("Linux", "x86_64")


def run(program, *arguments, text=None):
    """Returns what the program prints. It sees no cluster and no settings of this user."""
    with tempfile.TemporaryDirectory() as home:
        environment = {"PATH": os.environ["PATH"], "HOME": home, "KUBECONFIG": "/dev/null"}
        command = [PROGRAMS / program, *map(str, arguments)]
        outcome = subprocess.run(command, env=environment, input=text, capture_output=True, text=True)
    if outcome.returncode:
        raise Refused(outcome.stderr.strip())
    return outcome.stdout


def kustomize(folder, version=NEW):
    return run(f"kubectl-{version}", "kustomize", folder)


def helm(values, *options, version=NEW, text=None, release="keygate"):
    """Renders the chart with a file of values, or with the text of one and "-"."""
    return run(f"helm-{version}", "template", release, CHART, "--namespace", "keygate", "--values", values, *options, text=text)


def notes(values):
    printed = run(f"helm-{NEW}", "install", "keygate", CHART, "--namespace", "keygate", "--values", values, "--dry-run=client")
    return printed.partition("\nNOTES:\n")[2].strip() + "\n"


def tidy(manifest):
    """Removes what differs between versions of Helm and says nothing: blank lines around documents."""
    return re.sub(r"\n\s*\n+(?=---\n|\Z)", "\n", manifest.rstrip() + "\n")


def render():
    """Returns every golden file's name and content."""
    files = {f"{name}.yaml": kustomize(folder) for name, folder in FOLDERS.items()}
    files |= {f"{name}.yaml": tidy(helm(values)) for name, values in VALUES.items()}
    files |= {f"{name}.notes.txt": notes(VALUES[name]) for name in NOTES}
    return files


def golden():
    return {path.name: path.read_text() for path in sorted(GOLDEN.iterdir())}


def objects(manifest):
    return [document for document in yaml.safe_load_all(manifest) if document]


def by_identity(documents):
    """Returns the objects by kind and name."""
    return {(document["kind"], document["metadata"]["name"]): document for document in documents}


def diff(old, new):
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), "expected", "found", lineterm="", n=2)
    return "\n".join(list(lines)[:60])
