from array import array
from collections.abc import Sequence
from typing import Any

import pytest

from kib.errors import InputError
from kib_hf.loading import quietly
from kib_hf.training.blocked_loss import add_loss
from kib_hf.training.examples import IGNORED, Example
from kib_hf.training.loss import mean_loss, summed_loss
from kib_hf.training.micro_batches import collate
from kib_hf.training.packed_text_isolation import check_isolation
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


def new_model(kind: str, **changes: Any) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with quietly(), torch.random.fork_rng():
        torch.manual_seed(0)
        auto_model: Any = AutoModelForCausalLM
        model = auto_model.from_config(AutoConfig.for_model(kind, **MODELS.get(kind, {}), **changes))
        for weights in model.parameters():
            torch.nn.init.normal_(weights, std=0.3)
    return model.eval()


def example(length: int, seed: int) -> Example:
    tokens = array("i", [(seed * 31 + n * n * 7 + n) % 64 for n in range(length)])
    labels = tokens[:]
    labels[0] = IGNORED
    return Example(tokens, labels)


EXAMPLES = [example(length, seed) for seed, length in enumerate([3, 17, 9, 30, 5, 12, 2, 25])]


def losses(model: Any, rows: Sequence[Sequence[Example]]) -> Any:
    """Return the loss of every token as an array of shape (number of rows, length of the longest row)."""
    import torch
    from torch.nn.functional import cross_entropy

    batch = collate(rows, 0)
    following = torch.nn.functional.pad(batch.pop("labels")[:, 1:], (0, 1), value=IGNORED)
    logits = model(**batch, use_cache=False).logits
    return cross_entropy(logits.transpose(1, 2), following, ignore_index=IGNORED, reduction="none").detach()


def gradients(model: Any, batches: Sequence[Sequence[Sequence[Example]]]) -> tuple[float, dict[str, Any]]:
    """Return the summed loss over batches of rows, and the gradients of this loss."""
    model.zero_grad()
    total = 0.0
    for rows in batches:
        batch = collate(rows, 0)
        labels = batch.pop("labels")
        loss = summed_loss(model(**batch, use_cache=False).logits, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    return total, {name: part.grad for name, part in model.named_parameters() if part.grad is not None}


def assert_same_gradients(model: Any, batches: Sequence[Sequence[Sequence[Example]]]) -> None:
    """Assert that the batches have the same summed loss and gradients as all examples processed one by one."""
    loss, found = gradients(model, batches)
    loss_alone, expected = gradients(model, [[[text]] for text in EXAMPLES])
    assert loss == pytest.approx(loss_alone, rel=1e-4)
    largest = max(float(part.abs().max()) for part in expected.values())
    for name, part in expected.items():
        assert (found[name] - part).abs().max() < 1e-4 * largest, name


@pytest.mark.parametrize("kind", MODELS)
def test_texts_do_not_see_each_other(kind: str) -> None:
    """Changing one text in a packed row does not change the losses of the other texts."""
    model = new_model(kind)
    row = [EXAMPLES[1], EXAMPLES[2], EXAMPLES[3]]
    changed = [EXAMPLES[1], example(9, 77), EXAMPLES[3]]
    before, after = losses(model, [row, EXAMPLES[4:6]])[0], losses(model, [changed, EXAMPLES[4:6]])[0]
    start, end = len(EXAMPLES[1]), len(EXAMPLES[1]) + 9
    moved = (after - before).abs() / before.max()
    assert moved[:start].max() < 1e-5
    assert moved[end:].max() < 1e-5
    assert moved[start:end].max() > 1e-2


@pytest.mark.parametrize("kind", MODELS)
def test_packed_equals_alone(kind: str) -> None:
    """Packed rows have the same loss and gradients as the texts processed one by one."""
    model = new_model(kind)
    rows = [[EXAMPLES[number] for number in row] for row in pack([len(text) for text in EXAMPLES], 48, range(8))]
    assert len(rows) < len(EXAMPLES) / 2
    assert_same_gradients(model, [rows])


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_padded_equals_alone(kind: str) -> None:
    """Padded rows have the same loss and gradients as the texts processed one by one."""
    model = new_model(kind)
    assert_same_gradients(model, [[[text] for text in EXAMPLES]])


def test_mean_loss() -> None:
    """The mean loss weights every token equally for any batch size, and its computation restores the training mode."""
    model = new_model("llama").train()
    total, _ = gradients(model, [[[text] for text in EXAMPLES]])
    mean = total / sum(text.loss_tokens for text in EXAMPLES)
    add_loss(model, "llama")
    rows = [[text] for text in EXAMPLES]
    for size in (1, 3, 8):
        assert mean_loss(model, [rows[start : start + size] for start in range(0, 8, size)], 0) == pytest.approx(
            mean, rel=1e-5
        )
    assert model.training


@pytest.mark.parametrize("kind", MODELS)
def test_check(kind: str) -> None:
    """Architectures that isolate the texts in a packed row pass the isolation check."""
    check_isolation(new_model(kind), kind)


@pytest.mark.parametrize(("kind", "config"), [("opt", OPT), ("jamba", JAMBA)])
def test_check_refuses(kind: str, config: dict[str, Any]) -> None:
    """A model whose attention or recurrent state mixes packed texts raises an error that suggests another layout."""
    with quietly(), pytest.raises(InputError, match=r'texts in one row attend to each other; set `layout = "sorted"`'):
        check_isolation(new_model(kind, **config), kind)


def test_check_without_positions() -> None:
    """The isolation check rejects a model that does not accept position ids."""
    with pytest.raises(InputError, match="bloom: the model does not accept position_ids"):
        check_isolation(new_model("bloom", vocab_size=64, hidden_size=16, n_layer=1, n_head=2), "bloom")


def test_check_changes_nothing() -> None:
    """The isolation check leaves the model's weights and mode unchanged."""
    model = new_model("llama").train()
    before = {name: part.clone() for name, part in model.state_dict().items()}
    check_isolation(model, "llama")
    assert model.training
    assert all(part.equal(before[name]) for name, part in model.state_dict().items())
