"""Does Keygate run as the pods run it?

`run_all` starts this file anew for each scenario, as root in namespaces of its own: for mounts, processes and a network in which
nothing can be reached. There it does what the kubelet and the container runtime do with a rendered pod: volumes with their
modes and groups, a root folder without a shell's /tmp or /etc, the user, no capabilities, SIGTERM.

pod.py SCENARIO KEYGATE FOLDER prints what is wrong, and mounts what it needs in the folder.
"""

import base64
import fcntl
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time

import configs
import renderings
import rules
import volumes

NAMESPACES = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]
START_SECS = 60
# The kubelet's probe names the pod's address.
POD_ADDRESS = "10.244.1.7"


def cannot_run():
    """Returns why this machine cannot run pods, or None."""
    if os.geteuid() != 0:
        return "only root can make the mounts and the user of a pod"
    tried = subprocess.run([*NAMESPACES, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, text=True)
    return tried.stderr.strip() or None if tried.returncode else None


def run_all(keygate):
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        runs = {}
        for name in SCENARIOS:
            folder = pathlib.Path(temporary, name)
            folder.mkdir()
            command = [*NAMESPACES, sys.executable, "-B", __file__, name, keygate, folder]
            runs[name] = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for name, process in runs.items():
            output, _ = process.communicate(timeout=180)
            if process.returncode or output:
                found.append(f"{name} ends with {process.returncode}: {output.strip()}")
    return found


class Wrong(Exception):
    """What is not as it should be."""


def expect(found, expected, what):
    if found != expected:
        raise Wrong(f"{what}: {found}, not {expected}")


def wait_for(condition, what, secs=START_SECS):
    """Waits until the condition is true, and returns what it returned."""
    deadline = time.monotonic() + secs
    while True:
        try:
            found = condition()
        except OSError:
            found = None
        if found:
            return found
        if time.monotonic() > deadline:
            raise Wrong(f"after {secs} s still not: {what}")
        time.sleep(0.1)


def mount(*arguments):
    subprocess.run(["mount", *map(str, arguments)], check=True)


class Pod:
    """The one container of a rendered pod, on volumes that stay when it ends."""

    def __init__(self, name, keygate, base):
        documents = renderings.objects((renderings.GOLDEN / f"{name}.yaml").read_text())
        self.rendering = rules.Rendering(documents)
        self.user = self.rendering.pod["securityContext"]
        self.root, self.storage = base / "root", base / "volumes"
        for folder in [self.root, self.storage]:
            folder.mkdir()
            mount("-t", "tmpfs", "-o", "mode=0755", "none", folder)
        self.names = configs.secret_names(name)
        self.files = {}
        self._image(keygate)
        for path, mounted in sorted(self.rendering.mounts.items()):
            self._volume(path, mounted)
        if self.rendering.gate["securityContext"]["readOnlyRootFilesystem"]:
            mount("-o", "remount,ro", self.root)

    def _image(self, keygate):
        """Makes a root folder with the program, its libraries and the system's certificates."""
        for name in ["usr", "lib", "lib64", "bin", "etc/ssl"]:
            source, target = pathlib.Path("/", name), self.root / name
            if source.is_symlink():
                target.symlink_to(os.readlink(source))
            elif source.is_dir():
                self._bind(source, target, read_only=True)
        program = self.root / "opt/keygate"
        program.parent.mkdir()
        program.touch()
        mount("--bind", keygate, program)
        for name in ["null", "zero", "random", "urandom"]:
            device = self.root / "dev" / name
            device.parent.mkdir(exist_ok=True)
            device.touch()
            mount("--bind", f"/dev/{name}", device)
        (self.root / "proc").mkdir()
        mount("-t", "proc", "proc", self.root / "proc")

    def _bind(self, source, target, read_only):
        target.mkdir(parents=True, exist_ok=True)
        mount("--bind", source, target)
        if read_only:
            mount("-o", "remount,bind,ro", target)

    def _volume(self, path, mounted):
        name = mounted["name"]
        folder = self.storage / name
        folder.mkdir()
        volume = self.rendering.volumes.get(name, {})
        self.files[name] = configs.content(volume, self.rendering, self.names)
        if self.files[name] is None:
            # An emptyDir, or a volume that has just been made.
            folder.chmod(0o777 if "emptyDir" in volume else 0o755)
            self._give_group(folder)
        else:
            self.update(name, self.files[name])
        # The kubelet makes the folders that other volumes are mounted at.
        for other in self.rendering.mounts:
            if other.startswith(f"{path}/") and self.files[name] is not None:
                (folder / pathlib.PurePosixPath(other).relative_to(path)).mkdir()
        target = self.root / path.lstrip("/")
        self._bind(folder, target, mounted.get("readOnly", False))

    def _give_group(self, folder):
        if group := self.user.get("fsGroup"):
            volumes.give_group(folder, group, self.user.get("fsGroupChangePolicy", "Always"))

    def update(self, name, files):
        """Changes the files of a ConfigMap or Secret as the kubelet does."""
        volume = self.rendering.volumes[name]
        source = volume.get("configMap") or volume["secret"]
        folder = self.storage / name
        mode = source["defaultMode"]
        # The kubelet gives the group the right to read what the owner may read.
        volumes.write(folder, files, mode | 0o440 if self.user.get("fsGroup") else mode)
        for parent, _, paths in os.walk(folder):
            for path in [parent, *(os.path.join(parent, each) for each in paths)]:
                os.chown(path, 0, self.user.get("fsGroup", 0), follow_symlinks=False)
        self.files[name] = files

    def command(self, *arguments):
        user, group = str(self.user["runAsUser"]), str(self.user["runAsGroup"])
        groups = str(self.user.get("fsGroup", group))
        rights = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
        entry = ["chroot", self.root, "setpriv", f"--reuid={user}", f"--regid={group}", f"--groups={groups}", *rights]
        # `chroot` ends in the root folder, and so would the program begin there.
        folder = ["env", f"--chdir={self.rendering.gate.get('workingDir', '/')}"]
        return [*entry, "--", *folder, *arguments]

    # Nothing else of this process's environment, as in a pod.
    environment = {"PATH": "/opt:/usr/bin:/bin:/usr/sbin:/sbin"}

    def exec(self, *arguments, text=None):
        """Runs a command in the container, as `kubectl exec -i` does, and returns what it prints."""
        command = self.command(*arguments)
        outcome = subprocess.run(command, env=self.environment, input=text, capture_output=True, text=True)
        if outcome.returncode:
            raise Wrong(f"{arguments} ends with {outcome.returncode}: {outcome.stderr}")
        return outcome.stdout

    def start(self):
        for name, files in self.files.items():
            if files is None:
                self._give_group(self.storage / name)
        self.log = tempfile.TemporaryFile("w+")
        command = self.command(*self.rendering.gate["command"])
        self.process = subprocess.Popen(command, env=self.environment, stdout=self.log, stderr=self.log)
        wait_for(self.lives, "/livez answers")

    def lives(self):
        if self.process.poll() is not None:
            raise Wrong(f"the process ended with {self.process.returncode}")
        return self.admin("/livez")[0] == 200

    def printed(self):
        self.log.seek(0)
        return self.log.read()

    def admin(self, path, host=f"{POD_ADDRESS}:9090"):
        return request(http.client.HTTPConnection("127.0.0.1", self.rendering.ports["admin"], timeout=5), path, {"Host": host})

    def condition(self, name):
        report = json.loads(self.admin("/readyz")[1])
        return next((each["status"] for each in report["conditions"] if each["name"] == name), None)

    def accepts(self):
        port = next(port for name, port in self.rendering.ports.items() if name != "admin")
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            return True

    def terminate(self):
        """Ends the pod, and returns after how many seconds it has ended."""
        begin = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        wait_for(lambda: self.condition("draining") == "failing", "/readyz fails after SIGTERM", 5)
        expect(self.admin("/readyz")[0], 503, "/readyz after SIGTERM")
        expect(self.admin("/livez")[0], 200, "/livez after SIGTERM")
        expect(self.accepts(), True, "connections after SIGTERM")
        grace = self.rendering.pod["terminationGracePeriodSeconds"]
        try:
            expect(self.process.wait(grace), 0, "exit code after SIGTERM")
        except subprocess.TimeoutExpired:
            raise Wrong(f"not ended within the grace period of {grace} s") from None
        return time.monotonic() - begin

    def stop(self):
        """Ends the pod without its delay."""
        for _ in range(2):
            self.process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
        expect(self.process.wait(60), 0, "exit code after two SIGTERM")


def request(connection, path, headers, body=None):
    connection.request("POST" if body else "GET", path, body, headers)
    answer = connection.getresponse()
    found = answer.status, answer.read().decode()
    connection.close()
    return found


def admin_listener(pod):
    expect(pod.admin("/metrics")[0], 200, "/metrics by the pod's address")
    expect(pod.admin("/livez", "keygate-admin.keygate.svc:9090")[0], 200, "/livez by the name of the Service")
    expect(pod.admin("/livez", "keygate.example.com")[0], 421, "/livez by another name")


def new_key(keygate, pepper):
    """Returns a key and the keys file that has it, as somebody makes them beside the manifests."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        shutil.copy(renderings.DEPLOY / "plain/config/keygate.yaml", folder)
        (folder / "secrets").mkdir()
        (folder / "secrets/pepper").write_text(pepper)
        create = ["keys", "create", "--name", "ci", "--scope", "orders:read", "--expires", "90d", "--config", "keygate.yaml"]
        outcome = subprocess.run([keygate, *create], cwd=folder, capture_output=True, text=True)
        expect(outcome.returncode, 0, f"keygate keys create: {outcome.stderr}")
        return outcome.stdout.strip(), (folder / "secrets/keys.yaml").read_text()


def plain(pod, keygate):
    """Secrets and configurations are taken up while the gate runs, and one with a mistake changes nothing."""
    pod.start()
    admin_listener(pod)
    # The network has no issuer.
    expect(pod.condition("issuer:main"), "failing", "the issuer's condition without a network")
    wait_for(pod.accepts, "connections are accepted")
    key, keys_file = new_key(keygate, pod.files["secrets"]["pepper"])

    def call():
        connection = http.client.HTTPConnection("127.0.0.1", pod.rendering.ports["http"], timeout=10)
        return request(connection, "/v1/orders/7", {"Host": "api.example.com", "X-Api-Key": key})[0]

    expect(call(), 401, "a key that the Secret does not have yet")
    pod.update("secrets", pod.files["secrets"] | {"keys.yaml": keys_file})
    # 503: the upstream's name does not resolve here.
    wait_for(lambda: call() == 503, "a key of the changed Secret is let through", 10)

    good = pod.files["config"]["keygate.yaml"]
    if ": good, 2 routes" not in (said := pod.exec("keygate", "check", "-", text=good)):
        raise Wrong(f"keygate check in the pod: {said}")
    pod.update("config", {"keygate.yaml": good.replace("upstream: orders", "upstream: ordres", 1)})
    wait_for(lambda: pod.condition("config") == "degraded", "a mistake in the ConfigMap is told", 10)
    expect(call(), 503, "the configuration before the mistake")
    pod.update("config", {"keygate.yaml": good.replace("/v1/orders/", "/v2/orders/")})
    wait_for(lambda: pod.condition("config") == "ok", "a good ConfigMap is taken up", 10)
    expect(call(), 404, "a path that the changed ConfigMap does not have")
    expect([name for name in os.listdir(pod.storage / "data")], ["issuers"], "what state_dir has")
    pod.stop()


def with_store(pod, keygate):
    """What is issued outlives the pod, and the pod ends within its grace period."""
    pod.start()
    admin_listener(pod)
    wait_for(lambda: pod.admin("/readyz")[0] == 200, "/readyz is 200")
    create = ["clients", "create", "--config", "keygate.yaml", "--name", "demo", "--scope", "orders:read"]
    made = pod.exec("keygate", *create)
    client = dict(re.findall(r"^(client_id|client_secret)=['\"]?([^'\"\s]+)", made, re.MULTILINE))

    def token():
        unverified = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection("localhost", pod.rendering.ports["https"], timeout=10, context=unverified)
        basic = base64.b64encode(f"{client['client_id']}:{client['client_secret']}".encode()).decode()
        headers = {"Authorization": f"Basic {basic}", "Content-Type": "application/x-www-form-urlencoded"}
        status, body = request(connection, "/oauth/token", headers, "grant_type=client_credentials")
        return status, json.loads(body).get("scope")

    expect(token(), (200, "orders:read"), "a token")
    authorized = {"Host": f"{POD_ADDRESS}:9090", "Authorization": "Bearer " + pod.files["secrets"]["admin-token"].strip()}
    connection = http.client.HTTPConnection("127.0.0.1", pod.rendering.ports["admin"], timeout=5)
    expect(request(connection, "/admin/v1/clients", authorized)[0], 200, "the admin API with the token of the Secret")

    good = pod.files["config"]["keygate.yaml"]
    if ": good, 2 routes" not in (said := pod.exec("keygate", "check", "-", text=good)):
        raise Wrong(f"keygate check in the pod: {said}")

    lasted = pod.terminate()
    delay = rules.seconds(pod.rendering.config["shutdown"]["delay"])
    if lasted < delay:
        raise Wrong(f"ended after {lasted:.1f} s, and shutdown.delay is {delay} s")
    # The next pod on the same volume.
    pod.start()
    wait_for(lambda: pod.admin("/readyz")[0] == 200, "/readyz is 200 again")
    expect(token(), (200, "orders:read"), "a token of a client that an earlier pod made")
    pod.stop()


SCENARIOS = {"plain": plain, "with-store": with_store}


def bring_up_loopback():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        # SIOCSIFFLAGS, IFF_UP.
        fcntl.ioctl(control, 0x8914, struct.pack("16sh14x", b"lo", 1))


def main(name, keygate, folder):
    bring_up_loopback()
    pod = Pod(name, keygate, folder)
    try:
        SCENARIOS[name](pod, keygate)
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
        if hasattr(pod, "log"):
            print("The last lines of the pod:", *pod.printed().splitlines()[-15:], sep="\n")
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1], *map(pathlib.Path, sys.argv[2:]))
