"""Does Keygate accept the configuration of each rendering, in the place where the pod has it?"""

import pathlib
import re
import subprocess
import tempfile

import renderings
import rules
import volumes

# Secrets that no example beside the manifests describes: what the configuration of the rendering names.
SECRETS = {
    "keygate-secrets": ["pepper", "keys.yaml", "admin-token", "wrapping-key"],
    "keygate-tls": ["tls.crt", "tls.key"],
    "all-secrets": ["identity.pem"],
    "all-tls": ["tls.crt", "tls.key"],
}


def secret_names(name):
    """Returns the names of the files in each Secret of a rendering. The plain manifests have exactly those of their example."""
    if name in renderings.FOLDERS:
        return {secret: list(files) for secret, files in volumes.examples(renderings.FOLDERS[name]).items()}
    return SECRETS


def content(volume, rendering, names):
    """Returns the files of a volume, or None for a volume that the pod writes to."""
    if "configMap" in volume:
        return rendering.config_map if volume["name"] == "config" else {"extra": "text"}
    if "secret" in volume:
        return volumes.secret_files(names[volume["secret"]["secretName"]])
    if "projected" in volume:
        return volumes.secret_files(["ca.crt", "token"])
    return None


def check(keygate, folder):
    """Runs `keygate check` on the configuration in the folder."""
    outcome = subprocess.run([keygate, "check", folder / "keygate.yaml"], capture_output=True, text=True, timeout=60)
    return outcome.returncode, outcome.stdout + outcome.stderr


def with_data_folder(text, folder):
    """Returns the configuration with a folder for the store that is there, as in the pod."""
    (folder / "..data_folder").mkdir(exist_ok=True)
    return text.replace(rules.DATA_FOLDER, str(folder / "..data_folder"))


def lay_out(rendering, names, folder):
    """Writes the volumes that are mounted at or below /etc/keygate into the folder."""
    for path, mount in sorted(rendering.mounts.items()):
        files = content(rendering.volumes.get(mount["name"], {}), rendering, names)
        if files is not None:
            if "keygate.yaml" in files:
                files = files | {"keygate.yaml": with_data_folder(files["keygate.yaml"], folder)}
            volumes.write(folder / pathlib.PurePosixPath(path).relative_to(rules.CONFIG_FOLDER), files, 0o440)


def problems(keygate, documents_of):
    found = []
    for name, documents in documents_of.items():
        rendering = rules.Rendering(documents)
        if rendering.config_map is None:
            continue
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary)
            lay_out(rendering, secret_names(name), folder)
            code, text = check(keygate, folder)
            if code or ": good, " not in text or "warning" in text:
                found.append(f"{name}: keygate check ends with {code}: {text}")
            if name in renderings.FOLDERS:
                found += placeholders(keygate, name, rendering, folder)
    return found


def placeholders(keygate, name, rendering, folder):
    """Returns a sentence if Keygate accepts a Secret with one of the empty texts of the example."""
    found = []
    for secret, files in volumes.examples(renderings.FOLDERS[name]).items():
        volume = next(each for each in rendering.volumes.values() if each.get("secret", {}).get("secretName") == secret)
        mount = next(path for path, mount in rendering.mounts.items() if mount["name"] == volume["name"])
        mounted = folder / pathlib.PurePosixPath(mount).relative_to(rules.CONFIG_FOLDER)
        good = volumes.secret_files(files)
        for file, placeholder in files.items():
            if not placeholder:
                volumes.write(mounted, good | {file: placeholder}, 0o440)
                code, text = check(keygate, folder)
                if code == 0:
                    found.append(f"{name}: Keygate accepts an empty {secret}/{file}: {text}")
        volumes.write(mounted, good, 0o440)
    return found


def whole_reference(keygate, rendered):
    """Returns where conf/keygate.yaml, rendered by the chart, says something else to `keygate check` than as it is."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        for path in volumes.CONF.iterdir():
            if path.is_file():
                (folder / path.name).write_bytes(path.read_bytes())
        texts = []
        for text in [(volumes.CONF / "keygate.yaml").read_text(), rendered]:
            (folder / "keygate.yaml").write_text(with_data_folder(text, folder))
            code, said = check(keygate, folder)
            # Places in the file differ, and nothing else may.
            texts.append((code, sorted(re.sub(r":\d+:\d+", "", said).splitlines())))
    return [] if texts[0] == texts[1] and texts[0][0] == 0 else [f"conf/keygate.yaml through Helm: {texts[1]}, not {texts[0]}"]
