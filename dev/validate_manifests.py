#!/usr/bin/env python
"""Checks manifests of Kubernetes against the schemas of their kinds, before a cluster does.

%(prog)s deploy/kubernetes/*.yaml --crd ray.io_rayjobs.yaml

Kubernetes' own kinds are checked by kubernetes-validate (pip install kubernetes-validate), others
by the file of their CustomResourceDefinition: for RayJob ray.io_rayjobs.yaml in the folder
helm-chart/kuberay-operator/crds of https://github.com/ray-project/kuberay. Without it only the
templates of pods in them are checked. Fields that a schema does not know are errors.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence

import jsonschema
import kubernetes_validate
import yaml

from tood_d2.cli.messages import short_errors

VERSION = "1.33"
"""Of Kubernetes, the first with a stable backoffLimitPerIndex."""


def find_faults(document: dict, definitions: Sequence[dict] = ()) -> Iterator[str]:
    """What is wrong in a manifest.

    Args:
        document: the manifest.
        definitions: CustomResourceDefinitions of other kinds than Kubernetes' own.

    Returns:
        A text for each fault, which begins with the path of the field.
    """
    if schema := _schema_of(document, definitions):
        for error in jsonschema.Draft7Validator(schema).iter_errors(document):
            yield _describe(error)
        return
    try:
        kubernetes_validate.validate(document, VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield _describe(error)
    except kubernetes_validate.SchemaNotFoundError:
        for path, template in _pod_templates(document):
            pods = {"apiVersion": "v1", "kind": "PodTemplate", "template": template}
            for fault in find_faults(pods):
                yield path + fault.removeprefix("template")


def _schema_of(document: dict, definitions: Sequence[dict]) -> dict | None:
    group, _, version = document["apiVersion"].rpartition("/")
    for definition in definitions:
        spec = definition["spec"]
        if (group, document["kind"]) == (spec["group"], spec["names"]["kind"]):
            for x in spec["versions"]:
                if x["name"] == version:
                    schema = x["schema"]["openAPIV3Schema"]
                    # The API server knows what is in the metadata of any kind.
                    schema["properties"]["metadata"] = {"type": "object"}
                    return _without_unknown_fields(schema)
    return None


def _without_unknown_fields(schema):
    """The schema with the rule that objects have no other fields, which servers would drop."""
    if isinstance(schema, list):
        return [*map(_without_unknown_fields, schema)]
    if not isinstance(schema, dict):
        return schema
    strict = {key: _without_unknown_fields(value) for key, value in schema.items()}
    is_open = schema.get("x-kubernetes-preserve-unknown-fields")
    if (
        isinstance(schema.get("properties"), dict)
        and schema.get("type") == "object"
        and not is_open
    ):
        strict.setdefault("additionalProperties", False)
    return strict


def _pod_templates(value, path: str = "") -> Iterator[tuple[str, dict]]:
    """The templates of pods in a manifest, each with its path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            place = f"{path}.{key}".lstrip(".")
            if key == "template" and "containers" in inner.get("spec", {}):
                yield place, inner
            else:
                yield from _pod_templates(inner, place)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _pod_templates(inner, f"{path}.{i}")


def _describe(error: jsonschema.ValidationError) -> str:
    return f"{'.'.join(map(str, error.absolute_path))}: {error.message}"


def run(args: argparse.Namespace) -> int:
    """Prints the faults of all files.

    Returns:
        1 if there are any.

    Raises:
        ValueError: if a file is not in YAML.
    """
    definitions = [x for path in args.crd for x in _read(path)]
    num_faults = 0
    for path in args.files:
        for document in _read(path):
            name = f"{path}: {document['kind']} {document['metadata']['name']}"
            faults = [*find_faults(document, definitions)]
            num_faults += len(faults)
            print("\n".join(f"{name}: {x}" for x in faults or ["no fault"]))
    return 1 if num_faults else 0


def _read(path: str) -> list[dict]:
    with open(path, encoding="utf-8") as file:
        try:
            return [*yaml.load_all(file, getattr(yaml, "CSafeLoader", yaml.SafeLoader))]
        except yaml.YAMLError as error:
            raise ValueError(f"{path}: {error}") from error


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="manifests")
    parser.add_argument("--crd", nargs="+", default=[], metavar="FILE", help="of other kinds")
    with short_errors(parser.prog):
        return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
