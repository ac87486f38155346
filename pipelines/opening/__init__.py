"""Open the pipeline that a user names: folders, hub ids, devices, sizes and options."""
