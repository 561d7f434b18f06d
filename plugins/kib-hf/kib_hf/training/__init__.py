"""The implementation of the trainers `full` and `lora`, from text to saved weights.

A training run uses the modules in this order: `preflight_checks` rejects invalid options, `examples` tokenizes text,
`packing` plans the rows of every step, `micro_batches` splits the steps to fit the hardware, and `training_loop` trains
and saves the weights with the help of `monitor`. To train in parallel, `processes` starts one `worker` per process.
"""
