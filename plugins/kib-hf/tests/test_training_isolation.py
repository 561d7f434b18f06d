from array import array
from collections.abc import Sequence
from typing import Any

import pytest

from kib.errors import InputError
from kib_hf.loading import quietly
from kib_hf.training.examples import IGNORED, Example
from kib_hf.training.isolation import check_isolation
from kib_hf.training.loss import mean_loss, summed_loss
from kib_hf.training.micro_batches import collate
from kib_hf.training.packing import pack

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
LLAMA = {**SMALL, "intermediate_size": 32, "num_key_value_heads": 1, "max_position_embeddings": 64}
MODELS = {
    "llama": LLAMA,
    "mistral": {**LLAMA, "sliding_window": 6},
    "qwen2": {**LLAMA, "use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1},
    "qwen3": {**LLAMA, "head_dim": 8},
    "gemma3_text": {**LLAMA, "head_dim": 8, "sliding_window": 6},
    "gpt2": {"vocab_size": 64, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "gpt_neox": {**SMALL, "intermediate_size": 32, "max_position_embeddings": 64},
}
OPT = {**SMALL, "ffn_dim": 32, "max_position_embeddings": 64, "word_embed_proj_dim": 16}
JAMBA = {**LLAMA, "num_experts": 1, "attn_layer_period": 2, "attn_layer_offset": 1, "use_mamba_kernels": False}


def make(kind: str, **changes: Any) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with quietly(), torch.random.fork_rng():
        torch.manual_seed(0)
        made: Any = AutoModelForCausalLM
        model = made.from_config(AutoConfig.for_model(kind, **MODELS.get(kind, {}), **changes))
        for weights in model.parameters():
            torch.nn.init.normal_(weights, std=0.3)
    return model.eval()


def text(length: int, seed: int) -> Example:
    tokens = array("i", [(seed * 31 + place * place * 7 + place) % 64 for place in range(length)])
    labels = tokens[:]
    labels[0] = IGNORED
    return Example(tokens, labels)


TEXTS = [text(length, seed) for seed, length in enumerate([3, 17, 9, 30, 5, 12, 2, 25])]


def losses(model: Any, rows: Sequence[Sequence[Example]]) -> Any:
    """The loss of every place, of shape (rows, longest row)."""
    import torch
    from torch.nn.functional import cross_entropy

    batch = collate(rows, 0)
    following = torch.nn.functional.pad(batch.pop("labels")[:, 1:], (0, 1), value=IGNORED)
    logits = model(**batch, use_cache=False).logits
    return cross_entropy(logits.transpose(1, 2), following, ignore_index=IGNORED, reduction="none").detach()


def gradients(model: Any, batches: Sequence[Sequence[Sequence[Example]]]) -> tuple[float, dict[str, Any]]:
    """Summed loss and gradients over batches of rows."""
    model.zero_grad()
    total = 0.0
    for rows in batches:
        batch = collate(rows, 0)
        labels = batch.pop("labels")
        loss = summed_loss(model(**batch, use_cache=False).logits, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    return total, {name: part.grad for name, part in model.named_parameters() if part.grad is not None}


@pytest.mark.parametrize("kind", MODELS)
def test_texts_do_not_see_each_other(kind: str) -> None:
    """A change of one text in a row changes the loss of no other text's token."""
    model = make(kind)
    row = [TEXTS[1], TEXTS[2], TEXTS[3]]
    changed = [TEXTS[1], text(9, 77), TEXTS[3]]
    before, after = losses(model, [row, TEXTS[4:6]])[0], losses(model, [changed, TEXTS[4:6]])[0]
    start, end = len(TEXTS[1]), len(TEXTS[1]) + 9
    assert before[:start].equal(after[:start])
    assert before[end:].equal(after[end:])
    assert not before[start:end].allclose(after[start:end], atol=0.01)


@pytest.mark.parametrize("kind", MODELS)
def test_packed_equals_alone(kind: str) -> None:
    """Loss and gradient of packed rows are those of the texts one by one."""
    model = make(kind)
    rows = [[TEXTS[number] for number in row] for row in pack([len(piece) for piece in TEXTS], 48, range(8))]
    assert len(rows) < len(TEXTS) / 2
    packed, packed_gradients = gradients(model, [rows])
    alone, alone_gradients = gradients(model, [[[piece]] for piece in TEXTS])
    assert packed == pytest.approx(alone, rel=1e-5)
    largest = max(float(part.abs().max()) for part in alone_gradients.values())
    for name, part in alone_gradients.items():
        assert packed_gradients[name].allclose(part, rtol=1e-4, atol=1e-5 * largest), name


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_padded_equals_alone(kind: str) -> None:
    """Loss and gradient of rows that are filled up are those of the texts one by one."""
    model = make(kind)
    padded, padded_gradients = gradients(model, [[[piece] for piece in TEXTS]])
    alone, alone_gradients = gradients(model, [[[piece]] for piece in TEXTS])
    assert padded == pytest.approx(alone, rel=1e-5)
    for name, part in alone_gradients.items():
        assert padded_gradients[name].allclose(part, rtol=1e-4, atol=1e-4), name


def test_mean_loss() -> None:
    """The mean loss is over tokens, however many rows go through the model at once, and leaves the model as it was."""
    model = make("llama").train()
    total, _ = gradients(model, [[[piece] for piece in TEXTS]])
    mean = total / sum(piece.loss_tokens for piece in TEXTS)
    rows = [[piece] for piece in TEXTS]
    for size in (1, 3, 8):
        assert mean_loss(model, [rows[start : start + size] for start in range(0, 8, size)], 0) == pytest.approx(
            mean, rel=1e-5
        )
    assert model.training


@pytest.mark.parametrize("kind", MODELS)
def test_check(kind: str) -> None:
    """Architectures that keep texts apart pass the check that every training makes."""
    check_isolation(make(kind), kind)


@pytest.mark.parametrize(("kind", "config"), [("opt", OPT), ("jamba", JAMBA)])
def test_check_refuses(kind: str, config: dict[str, Any]) -> None:
    """A model whose mask or state joins the texts of a row is refused, with what to do instead."""
    with quietly(), pytest.raises(InputError, match=r'texts in one row see each other; use `layout = "sorted"`'):
        check_isolation(make(kind, **config), kind)


def test_check_without_positions() -> None:
    """A model that takes no position numbers is refused."""
    with pytest.raises(InputError, match="bloom: the model takes no position_ids"):
        check_isolation(make("bloom", vocab_size=64, hidden_size=16, n_layer=1, n_head=2), "bloom")


def test_check_changes_nothing() -> None:
    """Looking at a model leaves its weights and its mode alone."""
    model = make("llama").train()
    before = {name: part.clone() for name, part in model.state_dict().items()}
    check_isolation(model, "llama")
    assert model.training
    assert all(part.equal(before[name]) for name, part in model.state_dict().items())
