"""Everything behind the trainers `full` and `lora`, from text to saved weights.

In the order of a training run: `preflight_checks` rejects options that cannot work; `examples` turns text into tokens;
`packing` plans the rows of every step; `micro_batches` splits the steps for the hardware; `training_loop` trains and
saves the weights, watched by `monitor`. With several processes, `processes` starts one `worker` per process.
"""
