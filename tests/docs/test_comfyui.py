"""The page of ComfyUI's nodes: its picture is that of the workflow, its table and text those of the rows."""

import json

import comfyui_table
import comfyui_workflow


def test_the_picture_is_fresh() -> None:
    drawn = comfyui_workflow.figure(json.loads(comfyui_workflow.WORKFLOW.read_text()))
    assert comfyui_workflow.FIGURE.read_text() == drawn, "run: python docs/make/comfyui_workflow.py"


def test_the_table_is_fresh() -> None:
    page = comfyui_table.PAGE.read_text()
    assert comfyui_table.with_rows(page, comfyui_table.known()) == page, (
        "run: python docs/make/comfyui_table.py"
    )


def test_a_row_becomes_a_line() -> None:
    psnr = {"pipeline": [40.0, 42.0], "plan file": [39.0, 41.0], "own record": [30.0, 40.0]}
    rows = [
        {"model": "m", "steps": 28, "what": "uncached", "apart": 2e-6},
        {"model": "m", "steps": 28, "what": "planned", "computed": 14, "psnr": psnr},
    ]
    line = "| `m`, 28 | 2e-06 | 14 | 41.0, 40.0 | 40.0, 39.0 | 35.0, 30.0 |"
    assert list(comfyui_table.table(rows))[2:] == [line]
