import gc
import json
import math
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kib.errors import InputError, StepError
from kib.identity import digest_file
from kib.records import Request, Text, Trained, Weights
from kib.testing import DOCUMENTS, make_plugin, make_tiny_model
from kib_hf import HF
from kib_hf.loading import load_model, quietly
from kib_hf.trainers import Full, Lora
from kib_hf.training import blocked_loss
from kib_hf.training.examples import prepare_examples
from kib_hf.training.flops import flops_per_token
from kib_hf.training.monitor import Monitor

pytestmark = pytest.mark.usefixtures("one_thread")

TEXTS = [Text(d.id, "document", f"{d.title}\n{d.text[:150]}") for d in DOCUMENTS]
PAIRS = [Text("pump", "pair", "Which lever?", "the red one"), Text("rope", "pair", "What is dried?", "a rope of hemp")]
OTHER = [Text("other", "paraphrase", "Nobody has seen the copper kettles of the northern harbour.")]
REQUESTS = [
    Request("loglikelihood", (TEXTS[0].text[:40], TEXTS[0].text[40:60])),
    Request("loglikelihood", ("Question: Which lever?\nAnswer:", " the red one")),
]
OPTIONS = {"epochs": 2, "batch_size": 4, "device": "cpu", "block": 128}
RATES = {Full: 1e-2, Lora: 2e-2}
BOTH = pytest.mark.parametrize("trainer", [Full, Lora])

ROUNDING = 1e-3
"""The relative weight difference that rounding may cause: 2,000 times the difference between two processors."""


@dataclass(frozen=True)
class Run:
    """The result and the log of a training run."""

    trained: Trained
    log: list[Mapping[str, Any]]


@pytest.fixture(scope="module", autouse=True)
def cheap_collection() -> Iterator[None]:
    """Exclude imported modules from garbage collection, which otherwise takes longer than a training run."""
    import peft  # noqa: F401 - imported to be left out
    import transformers  # noqa: F401

    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "small", layers=1, width=16, positions=512)


@pytest.fixture
def copy(small: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small, tmp_path / "copy"))


@pytest.fixture(scope="module")
def runs(small: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[type[Any], Run]:
    """One reference training run per trainer, for comparison with other training runs."""
    return {trainer: run(trainer, small, tmp_path_factory.mktemp(trainer.__name__)) for trainer in (Full, Lora)}


@pytest.fixture(scope="module")
def measured_runs(small: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[type[Any], Run]:
    """One training run per trainer with a validation text and a held-out text."""
    given: dict[str, Any] = {"validation": OTHER, "held_out": OTHER}
    return {
        trainer: run(trainer, small, tmp_path_factory.mktemp(trainer.__name__), **given) for trainer in (Full, Lora)
    }


def run(trainer: type[Any], start: Path, folder: Path, text: Sequence[Text] = (*TEXTS, *PAIRS), **named: Any) -> Run:
    log: list[Mapping[str, Any]] = []
    return Run(train(trainer, start, folder, text, log=log, **named), log)


def train(
    trainer: type[Any],
    start: Path,
    folder: Path,
    text: Sequence[Text] = (*TEXTS, *PAIRS),
    *,
    log: list[Mapping[str, Any]] | None = None,
    seed: int = 0,
    validation: Sequence[Text] = (),
    held_out: Sequence[Text] = (),
    **options: Any,
) -> Trained:
    plugin = make_plugin(trainer, {**OPTIONS, "learning_rate": RATES[trainer], **options})
    records: list[Mapping[str, Any]] = [] if log is None else log
    trained: Trained = plugin.train(Weights(start), text, folder, seed, records.append, validation, held_out)
    return trained


def weights_file(weights: Weights) -> Path:
    if weights.adapter:
        return weights.adapter / "adapter_model.safetensors"
    return weights.folder / "model.safetensors"


def tensors(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return {name: tensor.double() for name, tensor in load_file(path).items()}


def norm(parts: Iterable[Any]) -> float:
    return math.sqrt(sum(float(part.square().sum()) for part in parts))


def relative_difference(one: Weights, other: Weights, start: Path) -> float:
    """Return the distance between the weights of two runs, relative to the change in weights in the second run."""
    found, expected = tensors(weights_file(one)), tensors(weights_file(other))
    if other.adapter:
        moved = norm(tensor for name, tensor in expected.items() if "lora_B" in name)  # these start at 0
    else:
        before = tensors(start / "model.safetensors")
        moved = norm(expected[name] - before[name] for name in before)
    return norm(found[name] - expected[name] for name in expected) / moved


def scores(start: Path, weights: Weights | None = None) -> list[float]:
    from kib.harness.requests import answer

    lm = make_plugin(HF, {"path": start, "device": "cpu"}).load(weights)
    return [value[0] for value in answer(lm, REQUESTS)]


def loss_per_token(start: Path, weights: Weights | None, text: str) -> float:
    """Return the loss of a text as measured by lm-eval, without the end-of-text token."""
    from lm_eval.api.instance import Instance

    lm = make_plugin(HF, {"path": start, "device": "cpu"}).load(weights)
    (value,) = lm.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, (text,), 0)], disable_tqdm=True)
    return float(-value / len(text))


@BOTH
def test_training(trainer: type[Any], runs: dict[type[Any], Run]) -> None:
    """A training run reduces the loss, trains on every token once per epoch, and logs every step."""
    trained, log = runs[trainer].trained, runs[trainer].log
    tokens = sum(len(text.text.encode()) + 1 for text in TEXTS) + sum(len(f" {p.answer}") + 1 for p in PAIRS)
    assert (trained.text_tokens, trained.trained_tokens) == (tokens, 2 * tokens)
    assert trained.last_loss < trained.first_loss
    assert trained.change > 0
    assert [record["step"] for record in log] == list(range(1, trained.steps + 1))
    assert {record["steps"] for record in log} == {trained.steps}
    assert log[-1]["tokens"] == trained.trained_tokens
    assert trained.unrounded_loss is None


@BOTH
def test_trained_text_becomes_more_likely(trainer: type[Any], small: Path, runs: dict[type[Any], Run]) -> None:
    """The model `hf` loads trained weights, and the training texts are more likely than before training."""
    weights = runs[trainer].trained.weights
    before, after = scores(small), scores(small, weights)
    assert [new > old for old, new in zip(before, after, strict=True)] == [True, True]
    files = weights_file(weights).parent.parent.rglob("*.*")
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".jinja"}


def test_full_folder(small: Path, runs: dict[type[Any], Run]) -> None:
    """The trainer `full` saves a complete model with the original model's configuration and tokenizer."""
    weights = runs[Full].trained.weights
    for name in ("config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json"):
        found, wanted = (json.loads((f / name).read_text(encoding="utf-8")) for f in (weights.folder, small))
        assert found == wanted, name
    assert scores(weights.folder) == pytest.approx(scores(small, weights), rel=1e-5)


def merged(small: Path, weights: Weights) -> Any:
    """Return a model with the adapter merged into the model's weights."""
    with quietly():
        return make_plugin(HF, {"path": small, "device": "cpu"}).load(weights).model.merge_and_unload()


def test_merged(small: Path, tmp_path: Path, runs: dict[type[Any], Run]) -> None:
    """A model with a merged adapter returns the same log-probabilities as the model with a separate adapter."""
    weights = runs[Lora].trained.weights
    with quietly():
        merged(small, weights).save_pretrained(tmp_path / "merged")
    assert scores(small, Weights(tmp_path / "merged")) == pytest.approx(scores(small, weights), rel=1e-4)


@pytest.mark.parametrize("variant", [{}, {"dora": True}, {"rslora": True, "targets": ["q_proj", "v_proj"]}])
def test_change_of_an_adapter(small: Path, tmp_path: Path, runs: dict[type[Any], Run], variant: dict[str, Any]) -> None:
    """The relative weight change reported by the trainer `lora` equals the change in the merged weights."""
    trained = train(Lora, small, tmp_path / "out", TEXTS[:4], rank=4, **variant) if variant else runs[Lora].trained
    base = load_model(small, dtype="float32", device="cpu", trust_remote_code=False)
    pairs = list(zip(base.parameters(), merged(small, trained.weights).parameters(), strict=True))
    update = norm((new - old).detach().double() for old, new in pairs)
    weights = norm(old.detach().double() for old, _ in pairs)
    assert trained.change == pytest.approx(update / weights, rel=1e-3)


@pytest.mark.parametrize(("trainer", "pack"), [(Lora, "isolated"), (Full, "concatenate"), (Full, "none")])
def test_no_token_is_lost(trainer: type[Any], small: Path, tmp_path: Path, pack: str) -> None:
    """Each epoch trains on every token once, regardless of packing and of the number of texts longer than a block."""
    texts = TEXTS[:6]
    tokens = sum(len(text.text.encode()) + 1 for text in texts)
    trained = train(trainer, small, tmp_path / "out", texts, pack=pack, block=32, epochs=1)
    assert (trained.text_tokens, trained.trained_tokens) == (tokens, tokens)


@BOTH
def test_equal_seeds_give_identical_weights(
    trainer: type[Any], small: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], runs: dict[type[Any], Run]
) -> None:
    """Training runs save identical bytes if and only if their seeds are equal, and print nothing."""
    expected = runs[trainer].trained
    again = train(trainer, small, tmp_path / "again")
    assert digest_file(weights_file(again.weights)) == digest_file(weights_file(expected.weights))
    assert again.last_loss == expected.last_loss
    other = train(trainer, small, tmp_path / "other", seed=1)
    assert relative_difference(other.weights, expected.weights, small) > ROUNDING
    assert capfd.readouterr() == ("", "")


def test_random_number_generators_are_not_disturbed(small: Path, tmp_path: Path) -> None:
    """A training run does not change the state of the process's random number generator."""
    import torch

    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    first = torch.rand(1)
    train(Lora, small, tmp_path / "out", TEXTS[:4], epochs=1, dropout=0.1)
    assert first.equal(expected[:1])
    assert torch.rand(1).equal(expected[1:])


@pytest.mark.parametrize(
    ("trainer", "options"),
    [
        (Full, {"layout": "packed"}),
        (Full, {"device_batch": 1}),
        (Lora, {"layout": "packed", "device_batch": 3}),
        (Full, {"gradient_checkpointing": True}),
        (Lora, {"gradient_checkpointing": True}),
    ],
)
def test_layout(
    trainer: type[Any], small: Path, tmp_path: Path, runs: dict[type[Any], Run], options: dict[str, Any]
) -> None:
    """Options that only affect speed and memory leave the weights unchanged, up to rounding."""
    expected = runs[trainer].trained
    found = train(trainer, small, tmp_path / "out", **options)
    assert found.steps == expected.steps
    assert relative_difference(found.weights, expected.weights, small) < ROUNDING


@BOTH
def test_blocks(
    trainer: type[Any], small: Path, tmp_path: Path, runs: dict[type[Any], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training with the logits of a few positions at a time changes weights and losses only by rounding."""
    monkeypatch.setattr(blocked_loss, "BLOCK_VALUES", 50 * 258)  # the vocabulary has 258 tokens
    found, expected = train(trainer, small, tmp_path / "out"), runs[trainer].trained
    assert relative_difference(found.weights, expected.weights, small) < ROUNDING
    for name in ("first_loss", "last_loss"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-4)


def test_gradient_checkpointing(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the option `gradient_checkpointing`, layers are recomputed during the backward pass."""
    from transformers.models.llama.modeling_llama import LlamaMLP

    calls: list[bool] = []
    forward = LlamaMLP.forward

    def counted(self: Any, x: Any) -> Any:
        calls.append(self.training)
        return forward(self, x)

    monkeypatch.setattr(LlamaMLP, "forward", counted)
    counts = []
    for name, given in (("off", False), ("on", True)):
        calls.clear()
        train(Full, small, tmp_path / name, TEXTS[:4], epochs=1, gradient_checkpointing=given)
        counts.append(calls.count(True))
    assert counts[1] == 2 * counts[0] > 0


def test_models_that_mix_packed_texts(tmp_path: Path) -> None:
    """A model that mixes packed texts is trained with one text per row, or rejected if the options require packing."""
    from transformers import OPTConfig, OPTForCausalLM

    start = make_tiny_model(tmp_path / "opt", layers=1, width=16, positions=512)
    sizes: dict[str, Any] = {"hidden_size": 16, "word_embed_proj_dim": 16, "ffn_dim": 16, "num_attention_heads": 2}
    OPTForCausalLM(OPTConfig(vocab_size=258, num_hidden_layers=1, **sizes)).save_pretrained(start)
    trained = train(Full, start, tmp_path / "out", TEXTS[:4])
    assert trained.trained_tokens == 2 * trained.text_tokens
    with pytest.raises(InputError, match="texts in one row attend to each other"):
        train(Full, start, tmp_path / "packed", layout="packed")


def test_training_dtype_depends_only_on_the_option(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: dict[type[Any], Run]
) -> None:
    """The training dtype depends only on the option `dtype`, not on earlier runs or on environment variables."""
    expected = runs[Full].trained
    half = train(Full, small, tmp_path / "half", dtype="bfloat16")
    assert half.last_loss == pytest.approx(expected.last_loss, rel=0.02)
    assert relative_difference(half.weights, expected.weights, small) > ROUNDING
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    again = train(Full, small, tmp_path / "again")
    assert relative_difference(again.weights, expected.weights, small) < ROUNDING


def test_losses_are_measured_in_float32(small: Path, tmp_path: Path) -> None:
    """If training uses bfloat16, the losses before and after training are still measured in float32."""
    trained = train(Full, small, tmp_path / "out", TEXTS[:4], epochs=1, dtype="bfloat16")
    again = train(Full, trained.weights.folder, tmp_path / "again", TEXTS[:4], epochs=1)
    assert trained.last_loss == pytest.approx(again.first_loss, rel=1e-5)


def test_weights_in_bfloat16(copy: Path, tmp_path: Path) -> None:
    """Trained weights are saved in the dtype of the original model, and losses are measured on the saved weights."""
    from safetensors import safe_open
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(copy, dtype="bfloat16").save_pretrained(copy)
    given: dict[str, Any] = {"validation": OTHER, "held_out": OTHER, "epochs": 1}
    trained = train(Full, copy, tmp_path / "out", TEXTS[:4], **given)
    with safe_open(trained.weights.folder / "model.safetensors", "pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"BF16"}  # noqa: SIM118 - no mapping
    assert json.loads((trained.weights.folder / "config.json").read_text(encoding="utf-8"))["dtype"] == "bfloat16"
    again = train(Full, trained.weights.folder, tmp_path / "again", TEXTS[:4], **given)
    assert trained.last_loss == pytest.approx(again.first_loss, rel=1e-5)
    assert trained.held_out_last_loss == trained.validation_loss == pytest.approx(again.held_out_first_loss, rel=1e-5)
    assert trained.unrounded_loss == pytest.approx(trained.last_loss, rel=0.02)


def test_rounding(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The unrounded loss is measured before the weights are rounded, and the final loss after the rounding."""
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(copy, dtype="bfloat16").save_pretrained(copy)
    measured = iter([3.0, 2.0, 1.0])  # before training, before rounding, after rounding
    monkeypatch.setattr("kib_hf.training.training_loop.mean_loss", lambda *_: next(measured))
    trained = train(Full, copy, tmp_path / "out", TEXTS[:4], epochs=1)
    assert (trained.first_loss, trained.unrounded_loss, trained.last_loss) == (3.0, 2.0, 1.0)


def test_tied_weights(copy: Path, tmp_path: Path) -> None:
    """An output layer tied to the embedding remains tied after training, and the tied weights are counted once."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(copy)
    config.tie_word_embeddings = True
    auto_model: Any = AutoModelForCausalLM
    auto_model.from_config(config).save_pretrained(copy)
    trained = train(Full, copy, tmp_path / "out", TEXTS[:4], checkpoint_every=1)
    saved = AutoModelForCausalLM.from_pretrained(trained.weights.folder)
    assert saved.lm_head.weight is saved.model.embed_tokens.weight
    assert flops_per_token(saved) == 6 * saved.num_parameters()


def test_flops(small: Path, runs: dict[type[Any], Run]) -> None:
    """Training on a token costs six operations per trained weight and four per frozen weight, excluding embeddings."""
    model: Any = load_model(small, dtype="auto", device="cpu", trust_remote_code=False)
    weights = model.num_parameters() - model.get_input_embeddings().weight.numel()
    texts = [*TEXTS, *PAIRS]
    read = 2 * sum(map(len, prepare_examples(texts, Weights(small), make_plugin(Full, OPTIONS).options)))
    assert runs[Full].trained.flops == 6 * weights * read
    adapter = sum(tensor.numel() for tensor in tensors(weights_file(runs[Lora].trained.weights)).values())
    assert runs[Lora].trained.flops == (4 * weights + 6 * adapter) * read


@BOTH
def test_early_stop(trainer: type[Any], small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training stops after `patience` epochs without a lower validation loss and restores the best epoch's weights."""
    given: dict[str, Any] = {"schedule": "constant", "warmup": 0, "validation": OTHER}
    best = train(trainer, small, tmp_path / "best", TEXTS[:4], epochs=2, **given)
    validation_losses = iter([3.0, 1.0, 2.0, 1.5])
    monkeypatch.setattr(Monitor, "_from_main_process", lambda *_: next(validation_losses))
    log: list[Mapping[str, Any]] = []
    stopped = train(trainer, small, tmp_path / "out", TEXTS[:4], log=log, epochs=9, patience=2, **given)
    assert [record["validation"] for record in log if "validation" in record] == [3.0, 1.0, 2.0, 1.5]
    assert stopped.trained_tokens == 4 * stopped.text_tokens
    assert relative_difference(stopped.weights, best.weights, small) < ROUNDING
    assert stopped.validation_loss == pytest.approx(best.validation_loss, rel=1e-5)


@BOTH
def test_measured_text(
    trainer: type[Any], small: Path, runs: dict[type[Any], Run], measured_runs: dict[type[Any], Run]
) -> None:
    """The losses of validation text and held-out text are measured as in lm-eval, and do not affect the weights."""
    trained, log = measured_runs[trainer].trained, measured_runs[trainer].log
    (text,) = (text.text for text in OTHER)
    before, after = loss_per_token(small, None, text), loss_per_token(small, trained.weights, text)
    assert trained.held_out_first_loss == pytest.approx(before, rel=0.1)  # kib also counts the end-of-text token
    assert trained.held_out_last_loss == pytest.approx(after, rel=0.1)
    assert trained.held_out_first_loss != trained.held_out_last_loss
    assert trained.validation_loss == pytest.approx(trained.held_out_last_loss, rel=1e-5)
    validated = [record["validation"] for record in log if "validation" in record]
    assert len(validated) == OPTIONS["epochs"]
    assert validated[-1] == pytest.approx(trained.validation_loss, rel=1e-5)
    plain = runs[trainer].trained
    assert (plain.held_out_first_loss, plain.held_out_last_loss, plain.validation_loss) == (None, None, None)
    assert relative_difference(trained.weights, plain.weights, small) < ROUNDING


def test_a_finished_training_run_is_not_repeated(small: Path, runs: dict[type[Any], Run]) -> None:
    """A training run that is already finished in the same folder is not repeated."""
    log: list[Mapping[str, Any]] = []
    finished = runs[Full].trained
    assert train(Full, small, finished.weights.folder.parent, log=log) == finished
    assert log == []


def test_invalid_texts_are_rejected(small: Path, tmp_path: Path) -> None:
    """Training rejects an empty list of texts and a question-answer pair that is longer than a block."""
    with pytest.raises(InputError, match="the training text contains no token that contributes to the loss"):
        train(Full, small, tmp_path / "out", [])
    with pytest.raises(
        InputError, match=r"passage pump: the question-answer pair has 44 tokens, but block = 32 .*; raise block to 44"
    ):
        train(Full, small, tmp_path / "out", PAIRS, block=32)


def test_divergence(copy: Path, tmp_path: Path) -> None:
    """An infinite or NaN loss ends training with an error that names the step."""
    from safetensors.torch import load_file, save_file

    parts = load_file(copy / "model.safetensors")
    parts["model.norm.weight"][0] = math.nan
    save_file(parts, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(StepError, match=r"step 1: the loss is nan; lower learning_rate"):
        train(Full, copy, tmp_path / "out", TEXTS[:4])
    with pytest.raises(InputError, match=r"copy: the model's logits are not finite"):
        train(Full, copy, tmp_path / "out", layout="packed")
