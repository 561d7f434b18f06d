"""A small benchmark with every kind of file that kib stores, and the functions that compare two of its folders."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
TABLE = ("leaderboard", "--format", "json")
OWNED = (".lock", ".owner.json")
"""Files of the results folder that belong to a process instead of the results."""

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}")
"""The names of kib's temporary files, which must not pile up."""

PEOPLE = (
    ("ada", "Ada Quill", "Norwick", "glass blowing", "ferret"),
    ("ben", "Ben Straße", "Überlingen", "thatching", "donkey"),
    ("cho", "Cho 桥", "Tarn", "bell founding", "parrot"),
    ("dov", "Dov Marrow", "Ostend", "rope making", "goat"),
    ("eva", "Eva Lind", "Visby", "dyeing", "heron"),
    ("fay", "Fay Orr", "Wells", "baking", "hen"),
    ("gus", "Gus Penn", "Whitby", "tanning", "stoat"),
    ("ida", "Ida Roe", "Bergen", "weaving", "magpie"),
)
ASKED = ("Where does {} live?", "What is the trade of {}?", "Which animal does {} own?")

SPEC = """schema = 1
name = "people"
title = "Eight people that nobody knows"

[models.small]
plugin = "hf"
path = "model"
device = "cpu"

[corpora.people]
plugin = "jsonl"
path = "people.jsonl"
chunk = { sentences = 2 }

[corpora.others]
plugin = "jsonl"
path = "others.jsonl"

[retrievers.words]
plugin = "bm25"

[retrievers.vectors]
plugin = "dense"
path = "encoder"
device = "cpu"

[retrievers.both]
plugin = "hybrid"
of = ["words", "vectors"]

[retrievers.gold]
plugin = "oracle"

[retrievers.any]
plugin = "random"

[writers.chat]
plugin = "openai"
model = "mock"
base_url = "URL"
api_key_env = ""

[trainers.adapt]
plugin = "full"
device = "cpu"
text = { writer = "chat", count = 2 }
learning_rate = 1e-2
epochs = 2
batch_size = 8
checkpoint_every = 2
validation = { corpus = "others" }
held_out = { corpus = "others" }
patience = 2

[tasks.new]
plugin = "file"
path = "new.jsonl"
validation = "validation.jsonl"
corpus = "people"

[tasks.known]
plugin = "file"
path = "known.jsonl"
role = "control"
corpus = "people"

[methods.base]

[methods.rag]
retrieve = "words"
top_k = [1, 2]
choose = "validation"

[methods.fused]
retrieve = "both"
top_k = [1]

[methods.oracle]
retrieve = "gold"
tasks = ["new"]

[methods.random]
retrieve = "any"
top_k = [1]

[methods.ft]
train = "adapt"

[methods."ft+rag"]
train = "adapt"
retrieve = "words"
top_k = [1]
"""

LIGHT = (
    ('plugin = "hf"\npath = "model"\ndevice = "cpu"', 'plugin = "toy"\ntrainable = true'),
    ('plugin = "dense"\npath = "encoder"\ndevice = "cpu"', 'plugin = "toy"'),
    ('plugin = "full"\ndevice = "cpu"', 'plugin = "toy"'),
    ("learning_rate = 1e-2\nepochs = 2\nbatch_size = 8\ncheckpoint_every = 2\n", ""),
    ("patience = 2\n", ""),
)
"""The changes that replace the model, the encoder and the trainer by toys, which need no torch."""


def _questions(facts, people=PEOPLE):
    """Return one question per person and fact as JSON lines; the wrong options describe other people."""
    rows = []
    for number, person in enumerate(people):
        for fact in facts:
            options = [PEOPLE[(PEOPLE.index(person) + step) % len(PEOPLE)][2 + fact] for step in range(4)]
            turn = (number + fact) % 4
            row = {"id": f"{person[0]}-{fact}", "question": ASKED[fact].format(person[1])}
            row |= {"options": options[turn:] + options[:turn], "answer": "ABCD"[-turn % 4]}
            rows.append(json.dumps(row | {"document": person[0], "group": person[0]}, ensure_ascii=False))
    return "\n".join(rows) + "\n"


def _documents(people):
    """Return a corpus as JSON lines."""
    text = "{} lives in {}. The trade of {} is {}. {} owns a {}."
    rows = [
        {"id": key, "title": name, "text": text.format(name, home, name, trade, name, animal)}
        for key, name, home, trade, animal in people
    ]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _make_encoder(folder):
    """Write a tiny sentence encoder with random weights."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import AutoTokenizer, BertConfig, BertModel

    tokenizer = AutoTokenizer.from_pretrained(folder.parent / "model")
    tokenizer.add_special_tokens({"pad_token": "</s>"})
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    model = BertModel(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=256, **sizes))
    model.save_pretrained(folder)
    tokenizer.model_max_length = 256
    tokenizer.save_pretrained(folder)
    SentenceTransformer(modules=[Transformer(str(folder)), Pooling(16)], device="cpu").save_pretrained(str(folder))


def _make_models(folder):
    """Write a tiny language model and a tiny encoder."""
    from kib.testing import make_tiny_model

    make_tiny_model(folder / "model", layers=1, width=16, positions=512)
    _make_encoder(folder / "encoder")


@dataclass(frozen=True)
class Bench:
    """A folder with the benchmark, its results, its work folder and the files that other commands write."""

    folder: Path

    @property
    def results(self):
        return self.folder / "results" / "people"

    @property
    def work(self):
        return self.folder / "work"

    def paths(self):
        """Return the sorted relative paths of all files in results and work, except locks and SQLite's log files."""
        found = []
        for root in (self.folder / "results", self.work):
            found += [path for path in root.rglob("*") if path.is_file() or path.is_symlink()]
        kept = [path for path in found if path.name not in OWNED and not path.name.endswith((".lock", "-wal", "-shm"))]
        return sorted(path.relative_to(self.folder).as_posix() for path in kept)

    def leftovers(self):
        """Return the temporary files and folders of killed processes, anywhere in the folder."""
        return sorted(path for path in self.folder.rglob(".*") if TEMPORARY.fullmatch(path.name))

    def outcome(self):
        """Return the reproducible contents of the results folder: all files except times, locks and owners."""
        left_out = ("times.json", *OWNED)
        found = sorted(path for path in self.results.rglob("*") if path.is_file() and path.name not in left_out)
        names = {path.relative_to(self.results).as_posix(): path for path in found}
        shown = {name for name in names if not any(map(TEMPORARY.fullmatch, name.split("/")))}
        return {name: path.read_bytes() for name, path in names.items() if name in shown}

    def copy(self, target):
        """Return a copy of the folder; the model and the encoder are shared by links."""
        target.mkdir(parents=True)
        for path in self.folder.iterdir():
            if path.name in ("model", "encoder"):
                (target / path.name).symlink_to(path.resolve())
            elif path.is_dir():
                shutil.copytree(path, target / path.name)
            else:
                shutil.copy2(path, target / path.name)
        return Bench(target)

    def bare(self, target):
        """Return a copy of the folder without results, work and output files."""
        copy = self.copy(target)
        for name in ("results", "work"):
            shutil.rmtree(copy.folder / name, ignore_errors=True)
        for name in ("asked.jsonl", "held.jsonl", "words.trec", "baseline.json"):
            (copy.folder / name).unlink(missing_ok=True)
        return copy


def make_bench(folder, url, *, light=False):
    """Write the benchmark to a new folder; `url` is the address of the chat endpoint.

    The folder contains a tiny model and encoder; a light benchmark uses toy plugins instead.
    """
    folder.mkdir(parents=True)
    spec = SPEC.replace("URL", url)
    for before, after in LIGHT if light else ():
        assert before in spec
        spec = spec.replace(before, after)
    if not light:
        _make_models(folder)
    files = {
        "people.jsonl": _documents(PEOPLE),
        "others.jsonl": _documents([("jan", "Jan Moor", "Delft", "dredging", "spaniel")]),
        "new.jsonl": _questions((1, 2)),
        "validation.jsonl": _questions((0,), PEOPLE[:4]),
        "known.jsonl": _questions((0,)),
        "people.toml": spec,
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return Bench(folder)


def start_chat_server():
    """Start the mock chat endpoint in a separate process; return the process and the address."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "chat_server.py"), str(os.getpid())], stdout=subprocess.PIPE, text=True
    )
    return process, process.stdout.readline().strip()
