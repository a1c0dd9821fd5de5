"""Studies that any number of workers share: locks, assignments, heartbeats, storage, launchers.

Import from the modules: `monitor` and `study_folder` need no torch, `worker` and `study` do.
"""
