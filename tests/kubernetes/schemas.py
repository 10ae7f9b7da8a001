"""Does every version of Kubernetes know every field of the manifests?"""

import functools

from kubernetes_validate import utils

# From the chart's kubeVersion on.
OLDEST = 27
# Each call would read the schemas of a whole version, of 2 MB.
utils.schema_contents = functools.cache(utils.schema_contents)


def versions():
    return [version for version in utils.all_versions() if int(version.split(".")[1]) >= OLDEST]


def problems(name, documents):
    """Returns a sentence for each object that a version does not know, or not in this form."""
    found = []
    for document in documents:
        title = f"{name}: {document['kind']} {document['metadata']['name']}"
        if document["apiVersion"].startswith("monitoring.coreos.com/"):
            found += [f"{title}: {problem}" for problem in of_prometheus_operator(document)]
            continue
        for version in versions():
            try:
                utils.validate(document, version, strict=True)
            except utils.ValidationError as error:
                path = ".".join(map(str, error.path))
                found.append(f"{title}: Kubernetes {version}: {path}: {error.message}")
            except utils.SchemaNotFoundError as error:
                found.append(f"{title}: {error.message}")
    return found


def of_prometheus_operator(document):
    # Slow to import, and not needed for most files.
    from cloudcoil.models.prometheus_operator import v1
    from pydantic import ValidationError

    try:
        model = getattr(v1, document["kind"]).model_validate(document)
    except ValidationError as error:
        return [str(error)]
    # The models drop what they do not know, without a word.
    kept = model.model_dump(by_alias=True, exclude_unset=True, mode="json")
    return [] if kept == document else [f"unknown fields: {document} became {kept}"]
