"""Are the manifests and the Helm chart in deploy/kubernetes good?

- kubectl and Helm render the golden files in tests/data/kubernetes, and Helm 3 and Helm 4 the same objects.
- The chart gives the same as the plain manifests, and refuses values that contradict each other.
- Every version of Kubernetes since 1.27 knows every field, rules.py holds, and checkov and yamllint find nothing.
- Keygate accepts each configuration, and runs as the pods run it: their user, rights, volumes, updates and end.

What this does not show: that a cluster accepts and schedules the objects, and how its network plugin reads the NetworkPolicy.
"""

import concurrent.futures
import functools
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import breakages
import chart
import configs
import pod
import renderings
import rules
import schemas
import yaml

ROOT = renderings.ROOT
# Rules that a golden file is there to leave out.
WITHOUT = {"chart-openshift.yaml": ["user"]}
# checkov's rules that do not fit, and why.
NOT_CHECKED = {
    "CKV_K8S_11": "a limit of CPU stops the process in the middle of requests",
    "CKV_K8S_43": "the digest of the image is the operator's to choose",
    "CKV_K8S_15": "an image whose tag never moves need not be asked for at each start",
}
# Findings of checkov in one golden file, and why they stand.
EXPECTED = {
    ("CKV_K8S_40", "chart-openshift.yaml"): "OpenShift assigns the user",
    ("CKV_K8S_21", "chart-everything.yaml"): "Helm gives `extraObjects` the namespace of the release",
}
YAMLLINT = """
extends: default
rules:
  line-length: { max: 130 }
  document-start: disable
  comments: { min-spaces-from-content: 1 }
  comments-indentation: disable
  braces: { max-spaces-inside: 1 }
  truthy: { check-keys: false }
"""


class NotRun(Exception):
    """Why a step cannot run on this machine."""


def update():
    """Writes the golden files anew."""
    rendered = renderings.render()
    renderings.GOLDEN.mkdir(exist_ok=True)
    for path in renderings.GOLDEN.iterdir():
        path.unlink()
    for name, text in rendered.items():
        (renderings.GOLDEN / name).write_text(text)


def golden_files():
    if not renderings.can_run_programs():
        raise NotRun("Helm and kubectl come for Linux on x86-64; the golden files were read and not rendered anew")
    rendered = renderings.render()
    golden = renderings.golden()
    found = [f"{name}: there is no such file" for name in rendered.keys() - golden.keys()]
    found += [f"{name}: nothing renders this file" for name in golden.keys() - rendered.keys()]
    for name in rendered.keys() & golden.keys():
        if rendered[name] != golden[name]:
            found.append(f"{name} is another than what is rendered now:\n{renderings.diff(golden[name], rendered[name])}")
    return found and [*found, "If the new renderings are right: tests/kubernetes/check --update"]


def helm():
    if not renderings.can_run_programs():
        raise NotRun("Helm and kubectl come for Linux on x86-64")
    files = renderings.render()
    return chart.lint() + chart.with_old_programs(files) + chart.like_plain() + chart.refusals() + chart.whole_reference()


@functools.cache
def documents_of():
    """Returns the objects of each golden file. Nobody changes them."""
    return {name: renderings.objects(text) for name, text in renderings.golden().items() if name.endswith(".yaml")}


def existing_config():
    """Returns what stands in for a ConfigMap that only the cluster has: the values beside the chart's own."""
    over = yaml.safe_load(renderings.VALUES["chart-existing"].read_text())
    return chart.merged(yaml.safe_load((renderings.CHART / "values.yaml").read_text()), over)["config"]


def all_rules():
    found = []
    for name, documents in documents_of().items():
        without = WITHOUT.get(name, [])
        found += [f"{name}: {problem}" for problem in rules.problems(documents, existing_config(), without)]
    return found + breakages.unnoticed(documents_of())


def versions():
    """The chart, the program and the image are released together."""
    metadata = yaml.safe_load((renderings.CHART / "Chart.yaml").read_text())
    program = re.search(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]
    found = []
    if metadata["appVersion"] != program:
        found.append(f"appVersion in Chart.yaml is {metadata['appVersion']}, and Cargo.toml has {program}")
    for name in renderings.FOLDERS:
        image = rules.Rendering(documents_of()[f"{name}.yaml"]).gate["image"]
        if image != f"keygate:{program}":
            found.append(f"{name} runs {image}, and Cargo.toml has {program}")
    oldest = re.match(r">=1\.(\d+)\.0-0$", metadata["kubeVersion"])[1]
    if int(oldest) != schemas.OLDEST:
        found.append(f"kubeVersion in Chart.yaml is {metadata['kubeVersion']}, and schemas.py begins with 1.{schemas.OLDEST}")
    return found


def all_schemas():
    monitor = {"servicemonitor.yaml": renderings.objects(renderings.MONITORING.read_text())}
    found = []
    for name, documents in (documents_of() | monitor).items():
        found += schemas.problems(name, documents)
    broken = yaml.safe_load("{apiVersion: apps/v1, kind: Deployment, metadata: {name: broken}, spec: {replica: 2}}")
    if len(schemas.problems("broken", [broken])) != len(schemas.versions()):
        found.append("an unknown field of a Deployment goes unnoticed")
    broken = yaml.safe_load(renderings.MONITORING.read_text())
    broken["spec"]["endpoints"][0]["pathh"] = "/metrics"
    if not schemas.problems("broken", [broken]):
        found.append("an unknown field of a ServiceMonitor goes unnoticed")
    return found


def values():
    """The schema knows every value that values.yaml has, and no other."""
    schema = json.loads((renderings.CHART / "values.schema.json").read_text())
    described = set(schema["properties"]) - {"global"}
    there = set(yaml.safe_load((renderings.CHART / "values.yaml").read_text()))
    found = [f"values.schema.json and values.yaml differ in {described ^ there}"] if described != there else []
    lines = (renderings.CHART / "values.yaml").read_text().splitlines()
    for before, line in zip(lines, lines[1:]):
        # One comment may be for several values, without a line between them.
        if re.match(r"[a-z]\w*:", line) and not before.strip():
            found.append(f"values.yaml: no comment says what `{line}` is for")
    return found


def linters():
    found = []
    files = [path for path in renderings.DEPLOY.rglob("*.yaml") if "templates" not in path.parts]
    files += [*renderings.DEPLOY.rglob("*.yaml.example"), *renderings.DEPLOY.rglob("Kustomization")]
    files += (ROOT / "tests/kubernetes/values").glob("*.yaml")
    yamllint = [sys.executable, "-m", "yamllint", "--strict", "--format", "parsable", "--config-data", YAMLLINT, *files]
    outcome = subprocess.run(yamllint, capture_output=True, text=True)
    if outcome.returncode:
        found.append(f"yamllint: {outcome.stdout}{outcome.stderr}")
    # PyYAML takes the last of two equal keys, and the API server refuses both.
    duplicates = [*yamllint[:-len(files) - 1], "rules: { key-duplicates: enable }", *renderings.GOLDEN.glob("*.yaml")]
    outcome = subprocess.run(duplicates, capture_output=True, text=True)
    if outcome.returncode:
        found.append(f"yamllint: {outcome.stdout}{outcome.stderr}")
    return found + checkov()


def checkov():
    manifests = [argument for path in sorted(renderings.GOLDEN.glob("*.yaml")) for argument in ["--file", path]]
    command = [renderings.PROGRAMS / "checkov", "--framework", "kubernetes", "--skip-download", "--compact", "--quiet"]
    command += ["--output", "json", "--skip-check", ",".join(NOT_CHECKED), *manifests]
    with tempfile.TemporaryDirectory() as home:
        environment = {"PATH": os.environ["PATH"], "HOME": home, "LOG_LEVEL": "ERROR"}
        outcome = subprocess.run(command, env=environment, capture_output=True, text=True)
    try:
        report = json.loads(outcome.stdout)
        failed, passed = report["results"]["failed_checks"], report["summary"]["passed"]
    except (ValueError, KeyError, TypeError):
        return [f"checkov ends with {outcome.returncode}: {outcome.stdout[-2000:]}{outcome.stderr[-2000:]}"]
    found = []
    for each in failed:
        file = pathlib.PurePath(each["file_path"]).name
        if (each["check_id"], file) not in EXPECTED:
            found.append(f"checkov: {each['check_id']} {each['check_name']}: {each['resource']} in {file}")
    # Dozens of rules for each pod: a run that read nothing has no findings either.
    return found if passed > 300 else [*found, f"checkov looked at {passed} things only"]


def keygate():
    """Returns the program that reads the configurations."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    program = pathlib.Path(os.environ.get("KEYGATE_BIN", target / "debug/keygate"))
    if not os.access(program, os.X_OK):
        raise NotRun(f"{program} is not there: build Keygate, or name a program in KEYGATE_BIN")
    return program.resolve()


def configurations():
    program = keygate()
    rendered = {name.removesuffix(".yaml"): documents for name, documents in documents_of().items()}
    found = configs.problems(program, rendered)
    if renderings.can_run_programs():
        found += configs.whole_reference(program, chart.reference(renderings.NEW))
    return found


def pods():
    program = keygate()
    if reason := pod.cannot_run():
        raise NotRun(reason)
    return pod.run_all(program)


# The slowest first: they run beside one another.
STEPS = [pods, helm, linters, golden_files, all_schemas, all_rules, configurations, versions, values]


def outcome(step):
    """Returns what the step found, or why it cannot run."""
    try:
        return step(), None
    except NotRun as reason:
        return [], reason
    except renderings.Refused as refused:
        return [f"nothing is rendered: {refused}"], None


def main():
    if sys.argv[1:] == ["--update"]:
        update()
    failed = not_run = 0
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        for step, (found, reason) in zip(STEPS, pool.map(outcome, STEPS)):
            failed += bool(found)
            not_run += bool(reason)
            said = f"not run: {reason}" if reason else "failed" if found else "passed"
            print(f"{step.__name__}: {said}", flush=True)
            for problem in found:
                print(f"  {problem}".replace("\n", "\n    "))
    print(f"tests/kubernetes/check: {failed} of {len(STEPS)} steps failed, {not_run} not run")
    sys.exit(1 if failed else 77 if not_run else 0)


if __name__ == "__main__":
    main()
