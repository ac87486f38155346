"""The folder for custom_nodes: ComfyUI imports it by its path, and its workflow fits its nodes."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

import skipstone
from skipstone.comfyui import NODE_CLASS_MAPPINGS

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

FOLDER = Path(__file__).parents[2] / "examples" / "comfyui"
WORKFLOW = json.loads((FOLDER / "example_workflows" / "plan_for_a_speed.json").read_text())
NODES = {node["id"]: node for node in WORKFLOW["nodes"]}


def test_the_folder_is_imported_by_its_path() -> None:
    spec = importlib.util.spec_from_file_location("custom_nodes_skipstone", FOLDER / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.NODE_CLASS_MAPPINGS is NODE_CLASS_MAPPINGS
    assert module.NODE_DISPLAY_NAME_MAPPINGS.keys() == NODE_CLASS_MAPPINGS.keys()


def test_the_registrys_entry_names_this_version() -> None:
    entry = tomllib.loads((FOLDER / "pyproject.toml").read_text())
    assert entry["project"]["version"] == skipstone.__version__
    assert entry["tool"]["comfy"].keys() >= {"PublisherId", "DisplayName"}


def test_links_of_the_workflow_join_what_they_say() -> None:
    for number, giver, out, taker, into, kind in WORKFLOW["links"]:
        given, taken = NODES[giver]["outputs"][out], NODES[taker]["inputs"][into]
        assert number in given["links"]
        assert taken["link"] == number
        assert given["type"] == kind
        assert taken["type"] in (kind, "*")
    assert WORKFLOW["last_link_id"] == len(WORKFLOW["links"])
    assert WORKFLOW["last_node_id"] == max(NODES)


@pytest.mark.parametrize("node", [one for one in NODES.values() if one["type"] in NODE_CLASS_MAPPINGS])
def test_our_nodes_in_the_workflow_are_as_they_are(node: dict[str, Any]) -> None:
    kind = NODE_CLASS_MAPPINGS[node["type"]]
    inputs = kind.INPUT_TYPES()
    every = inputs["required"] | inputs.get("optional", {})
    joined = [(name, spec[0]) for name, spec in every.items() if spec[0] in ("MODEL", "LATENT")]
    assert [(slot["name"], slot["type"]) for slot in node["inputs"]] == joined
    assert [slot["type"] for slot in node["outputs"]] == list(kind.RETURN_TYPES)
    assert len(node["widgets_values"]) == len(every) - len(joined)
