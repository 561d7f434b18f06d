"""The steps of a run, a file each: what a step reads, makes and writes. The loop over them is `kib.run.loop`."""
