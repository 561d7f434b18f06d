"""The steps of a run, one file per step. `kib.run.loop` calls them through `kib.run.shared_steps`."""
