"""Nodes for ComfyUI: a folder in ``custom_nodes`` imports the mappings."""

from skipstone.comfyui.nodes import PlanForSpeed, UsePlanFile, WhatHappened

NODE_CLASS_MAPPINGS = {
    "SkipstonePlanForSpeed": PlanForSpeed,
    "SkipstoneUsePlanFile": UsePlanFile,
    "SkipstoneWhatHappened": WhatHappened,
}

NODE_DISPLAY_NAME_MAPPINGS = {
    "SkipstonePlanForSpeed": "Skipstone: plan for a speed",
    "SkipstoneUsePlanFile": "Skipstone: use a plan file",
    "SkipstoneWhatHappened": "Skipstone: what happened",
}
