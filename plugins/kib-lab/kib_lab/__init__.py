"""The lab: a fictional world and a small model that knows half of it, to measure the injection of new knowledge.

- `attribute_values`, `phrasings`: names, values and sentences of the world
- `world`: people, employers and their documents
- `questions`: questions about people, with options and gold
- `corpus`, `task`, `writer`, `model`: the plugins; `world_options` are shared by corpus and task
- `vocabulary`: the words and the tokenizer of the model
- `pretraining_examples`, `pretrain`: the pre-training of the model
- `random_stream`: random numbers that are the same on every machine
"""
