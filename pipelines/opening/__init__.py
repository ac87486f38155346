"""From what a user names to a pipeline: folders, hub ids, devices, sizes and options."""
