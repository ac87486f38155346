"""Skipstone's nodes for ComfyUI: copy this folder into ``custom_nodes`` (docs/comfyui.md)."""

from skipstone.comfyui import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
