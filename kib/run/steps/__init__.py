"""The steps of a run, one file per step. `kib.run.loop` calls the steps through `kib.run.shared_steps`."""
