from array import array
from collections.abc import Sequence
from typing import Any

import pytest

from kib.testing import make_plugin
from kib_hf.loading import quietly
from kib_hf.trainers import Lora
from kib_hf.training import blocked_loss
from kib_hf.training.adapters import new_adapter
from kib_hf.training.blocked_loss import add_loss
from kib_hf.training.examples import IGNORED, Example
from kib_hf.training.loss import mean_loss, summed_loss
from kib_hf.training.micro_batches import collate

pytestmark = pytest.mark.usefixtures("one_thread")

POSITIONS = 5
"""The number of positions in a block."""

VOCABULARY = 64
SMALL = {"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
LLAMA = {**SMALL, "intermediate_size": 32, "num_key_value_heads": 1, "max_position_embeddings": 64}
SIZES: dict[str, dict[str, Any]] = {
    "gpt2": {"vocab_size": VOCABULARY, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "opt": {**SMALL, "ffn_dim": 32, "max_position_embeddings": 64, "word_embed_proj_dim": 8},
}
MODELS: list[tuple[str, dict[str, Any]]] = [
    ("llama", {"tie_word_embeddings": False}),
    ("llama", {"tie_word_embeddings": True}),
    ("gemma2", {"head_dim": 8, "final_logit_softcapping": 0.5}),
    ("gemma3_text", {"head_dim": 8, "final_logit_softcapping": None}),
    ("cohere", {"logit_scale": 0.25}),
    ("granite", {"logits_scaling": 4.0}),
    ("phi", {}),
    ("gpt2", {}),
    ("opt", {}),
]
NAMES = [f"{kind}-{'-'.join(f'{name}={value}' for name, value in changes.items())}" for kind, changes in MODELS]
EACH = pytest.mark.parametrize(("kind", "changes"), MODELS, ids=NAMES)


def new_model(kind: str, changes: dict[str, Any], *, lora: bool = False) -> Any:
    """Return a small model with random weights, or an adapter whose matrices are random too."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with quietly(), torch.random.fork_rng():
        torch.manual_seed(0)
        auto_model: Any = AutoModelForCausalLM
        model = auto_model.from_config(AutoConfig.for_model(kind, **SIZES.get(kind, LLAMA), **changes))
        model = new_adapter(model, make_plugin(Lora, {"rank": 2}).options, kind) if lora else model
        for weights in model.parameters():
            torch.nn.init.normal_(weights, std=0.3)
    return model.eval()  # without dropout


def example(length: int, seed: int, prompt: int = 1) -> Example:
    """Return an example whose first `prompt` tokens have no loss."""
    tokens = array("i", [(seed * 31 + n * n * 7 + n) % VOCABULARY for n in range(length)])
    return Example(tokens, array("i", [IGNORED] * prompt) + tokens[prompt:])


ROWS = [[example(17, 1), example(9, 2, prompt=6)], [example(24, 3, prompt=20)], [example(3, 4, prompt=3)]]
SCORED = 16 + 3 + 4


def loss_and_gradients(model: Any, rows: Sequence[Sequence[Example]]) -> tuple[float, dict[str, Any]]:
    batch = collate(rows, 0)
    labels = batch.pop("labels")
    loss = model(**batch, targets=labels)["loss"] / 3
    loss.backward()
    found = {name: weights.grad for name, weights in model.named_parameters() if weights.grad is not None}
    model.zero_grad()
    return loss.item(), found


def assert_blocks_change_nothing(model: Any, monkeypatch: pytest.MonkeyPatch, tolerance: float = 1e-5) -> None:
    add_loss(model, "model")
    expected_loss, expected = loss_and_gradients(model, ROWS)
    monkeypatch.setattr(blocked_loss, "BLOCK_VALUES", POSITIONS * VOCABULARY)
    loss, found = loss_and_gradients(model, ROWS)
    assert loss == pytest.approx(expected_loss, rel=tolerance)
    assert found.keys() == expected.keys()
    largest = max(float(part.abs().max()) for part in expected.values())
    for name, part in expected.items():
        assert (found[name] - part).abs().max() < 2 * tolerance * largest, name


@EACH
def test_blocks(kind: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss and gradients in blocks equal those of all logits, for tied, scaled and soft-capped output layers."""
    assert_blocks_change_nothing(new_model(kind, changes), monkeypatch)


@pytest.mark.parametrize(("kind", "changes"), [MODELS[1], MODELS[2], MODELS[7]])
def test_blocks_with_adapter(kind: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss and the gradients of an adapter in blocks equal those computed from all logits."""
    assert_blocks_change_nothing(new_model(kind, changes, lora=True), monkeypatch)


def test_blocks_in_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under autocast, the loss and the gradients in blocks equal those of all logits up to rounding to bfloat16."""
    import torch

    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_blocks_change_nothing(new_model("llama", {"tie_word_embeddings": True}), monkeypatch, 0.02)


def test_logits_only_where_there_is_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """No call of the output layer has more positions than a block, and each scored position is computed once."""
    monkeypatch.setattr(blocked_loss, "BLOCK_VALUES", POSITIONS * VOCABULARY)
    model = new_model(*MODELS[0])
    add_loss(model, "model")
    sizes: list[int] = []
    model.lm_head.register_forward_hook(lambda _layer, _inputs, logits: sizes.append(logits[..., 0].numel()))
    trained, _ = loss_and_gradients(model, ROWS)
    in_training, sizes[:] = list(sizes), []
    assert mean_loss(model, [ROWS], 0) * SCORED == pytest.approx(3 * trained, rel=1e-5)
    for found in (in_training, sizes):
        assert max(found) <= POSITIONS
        assert sum(found) == 1 + SCORED  # the decoder runs in a forward pass with the logits of one position


def test_no_label(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch without any label has the loss 0, and all weights that are used have a gradient of 0."""
    monkeypatch.setattr(blocked_loss, "BLOCK_VALUES", 1)
    model = new_model(*MODELS[0])
    add_loss(model, "model")
    loss, gradients = loss_and_gradients(model, [[example(3, 4, prompt=3)]])
    assert loss == 0
    assert gradients.keys() == dict(model.named_parameters()).keys()
    assert not any(part.any() for part in gradients.values())


def test_indivisible_model(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """If a model has no separate decoder, kib warns and computes the loss from all logits."""
    monkeypatch.setattr(blocked_loss, "BLOCK_VALUES", 1)
    model = new_model(*MODELS[0])
    batch = collate(ROWS, 0)
    labels = batch.pop("labels")
    expected = summed_loss(model(**batch, use_cache=False).logits, labels).item() / 3
    monkeypatch.setattr(model, "get_decoder", lambda: model)
    add_loss(model, "models/whole")
    assert loss_and_gradients(model, ROWS)[0] == pytest.approx(expected)
    (record,) = caplog.records
    assert record.getMessage() == (
        "models/whole: training computes the logits of all positions at once, which needs more memory, because the "
        "model's decoder cannot be called separately (ValueError: the forward pass does not call the decoder)"
    )
