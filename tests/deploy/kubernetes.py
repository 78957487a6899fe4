"""The manifests of deploy/scale/kubernetes as they stand."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from ruamel.yaml import YAML

from tests.deploy.scale import FILES


@cache
def manifests() -> Sequence[dict[str, Any]]:
    """Of all files that `kustomization.yaml` names."""
    kustomization = YAML(typ="safe").load(FILES / "kustomization.yaml")
    return [each for name in kustomization["resources"] for each in YAML(typ="safe").load_all(FILES / name)]


def manifest(kind: str, name: str) -> dict[str, Any]:
    (found,) = [each for each in manifests() if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found
