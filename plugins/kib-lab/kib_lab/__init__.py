"""The lab, a fictional world and a small model that knows half of this world, used to measure knowledge injection.

- `attribute_values`, `phrasings`: the names, values and sentences of the world
- `world`: people, their employers, and a document about each person and employer
- `questions`: questions about people, with answer options and gold sentences
- `corpus`, `task`, `writer`, `model`: the plugins; `world_options` holds the options shared by corpus and task
- `vocabulary`: the model's vocabulary and tokenizer
- `pretraining_examples`, `pretrain`: pre-training of the model
- `random_stream`: reproducible random numbers, identical on every machine
"""
