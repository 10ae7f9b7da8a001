"""How does the kubelet lay out the files of a ConfigMap or Secret, and update them?"""

import os
import secrets
import shutil

import renderings
import yaml

CONF = renderings.ROOT / "conf"


def write(folder, files, mode):
    """Writes the files as the kubelet does, or replaces those that are there.

    Each file is a link into ..data, which is a link to a folder that is never changed, so that one rename replaces all files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    version = folder / f"..{secrets.token_hex(8)}"
    version.mkdir()
    for name, content in files.items():
        path = version / name
        path.write_text(content)
        path.chmod(mode)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    before = folder / "..data"
    old = before.resolve() if before.is_symlink() else None
    (folder / "..data_tmp").symlink_to(version.name)
    os.rename(folder / "..data_tmp", before)
    if old:
        shutil.rmtree(old)


def give_group(folder, group, policy):
    """Gives a volume that can be written to the group as the kubelet does with `fsGroup`."""
    root = folder.stat()
    if policy == "OnRootMismatch" and (root.st_gid, root.st_mode & 0o2770) == (group, 0o2770):
        return
    for parent, _, names in os.walk(folder):
        for path in [parent, *(os.path.join(parent, name) for name in names)]:
            os.chown(path, -1, group)
            os.chmod(path, os.stat(path).st_mode | (0o2770 if path == parent else 0o660))


def secret_files(names):
    """Returns good content for the files that the manifests expect in Secrets and projected volumes."""
    known = {
        "keys.yaml": "keys: []\n",
        "identity.pem": (CONF / "dev-client.private.pem").read_text(),
        "tls.crt": (CONF / "dev-tls.pem").read_text(),
        "tls.key": (CONF / "dev-tls.private.pem").read_text(),
        "ca.crt": (CONF / "dev-ca.pem").read_text(),
        "token": "a.b.c",
    }
    # As `openssl rand -hex 32` writes it.
    return {name: known.get(name) or secrets.token_hex(32) + "\n" for name in names}


def examples(folder):
    """Returns the files of each Secret in the example beside the manifests."""
    documents = yaml.safe_load_all((folder / "secret.yaml.example").read_text())
    return {document["metadata"]["name"]: document["stringData"] for document in documents}
