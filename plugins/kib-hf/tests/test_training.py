import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from kib.errors import InputError, StepError
from kib.identity import digest_file
from kib.records import Request, Text, Trained, Weights
from kib.testing import DOCUMENTS, check_options, check_plugin, make_plugin, make_tiny_model
from kib_hf import HF
from kib_hf.trainers import Full, Lora

pytestmark = pytest.mark.usefixtures("one_thread")

TEXTS = [Text(d.id, "document", f"{d.title}\n{d.text[:300]}") for d in DOCUMENTS]
PAIRS = [Text("pump", "pair", "Which lever?", "the red one"), Text("rope", "pair", "What is dried?", "a rope of hemp")]
VALIDATION = [Text("other", "paraphrase", "Nobody has seen the copper kettles of the northern harbour.")]
REQUESTS = [
    Request("loglikelihood", (TEXTS[0].text[:40], TEXTS[0].text[40:60])),
    Request("loglikelihood", ("Question: Which lever?\nAnswer:", " the red one")),
    Request("loglikelihood", ("Nothing of", " the kind")),
]
SHORT = {"epochs": 1, "batch_size": 4, "device": "cpu", "block": 128}
RATES = {Full: 1e-2, Lora: 2e-2}
BOTH = pytest.mark.parametrize("trainer", [Full, Lora])


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "small", layers=1, width=16, positions=512)


@pytest.fixture
def copy(small: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small, tmp_path / "copy"))


def train(
    trainer: type[Any],
    start: Path,
    folder: Path,
    text: Sequence[Text] = TEXTS,
    *,
    log: list[Mapping[str, Any]] | None = None,
    seed: int = 0,
    validation: Sequence[Text] = (),
    held_out: Sequence[Text] = (),
    **options: Any,
) -> Trained:
    made = make_plugin(trainer, {**SHORT, "learning_rate": RATES[trainer], **options})
    records: list[Mapping[str, Any]] = [] if log is None else log
    trained: Trained = made.train(Weights(start), text, folder, seed, records.append, validation, held_out)
    return trained


def digest_of(weights: Weights) -> str:
    if weights.adapter:
        return digest_file(weights.adapter / "adapter_model.safetensors")
    return digest_file(weights.folder / "model.safetensors")


def scores(start: Path, weights: Weights | None = None) -> list[float]:
    from kib.harness.tasks import answer

    lm = make_plugin(HF, {"path": start, "device": "cpu"}).load(weights)
    return [value[0] for value in answer(lm, REQUESTS)]


@pytest.mark.parametrize(("name", "trainer"), [("full", Full), ("lora", Lora)])
def test_installed(name: str, trainer: type[Any]) -> None:
    """The trainers are found by their names, well formed and light to import."""
    assert check_plugin("trainers", name) is trainer


@BOTH
def test_options(trainer: type[Any]) -> None:
    """Options are described, and values that could not work are refused."""
    check_options(
        trainer,
        accepts=[
            {},
            {"epochs": 5, "block": 256, "batch_size": 64, "learning_rate": 1e-6, "pack": "concatenate"},
            {"pack": "none", "schedule": "linear", "warmup": 0.1, "dtype": "bfloat16", "betas": [0.9, 0.95]},
            {"patience": 2, "processes": 4, "gradient_checkpointing": True},
            {"accelerate": "/etc/accelerate.yaml"},
        ],
        refuses=[
            {"epochs": 0},
            {"epochs": 1.5},
            {"learning_rate": 0},
            {"learning_rate": 1},
            {"block": 4},
            {"pack": "true"},
            {"layout": "side by side"},
            {"warmup": 1},
            {"betas": [0.9, 1.0]},
            {"dtype": "auto"},
            {"patience": 0},
            {"device": "cuda:1"},
            {"processes": 4, "accelerate": "/etc/accelerate.yaml"},
            {"processes": 1, "accelerate": "/etc/accelerate.yaml"},
        ],
    )


def test_options_of_lora() -> None:
    """The adapter's options are checked as well, and are none of `full`."""
    given = {"rank": 8, "alpha": 16, "dropout": 0.1, "targets": ["q_proj"], "dora": True, "rslora": True}
    check_options(
        Lora, accepts=[given, {"targets": "all-linear"}], refuses=[{"rank": 0}, {"dropout": 1}, {"targets": "["}]
    )
    check_options(Full, refuses=[{name: value} for name, value in given.items()])


@BOTH
def test_training(trainer: type[Any], small: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A training lowers the loss, moves the weights, trains every token as often as asked, and prints nothing."""
    log: list[Mapping[str, Any]] = []
    trained = train(trainer, small, tmp_path / "out", TEXTS + PAIRS, epochs=3, log=log)
    assert capfd.readouterr() == ("", "")
    tokens = sum(len(text.text.encode()) + 1 for text in TEXTS) + sum(len(f" {p.answer}") + 1 for p in PAIRS)
    assert (trained.text_tokens, trained.trained_tokens) == (tokens, 3 * tokens)
    assert trained.last_loss < 0.9 * trained.first_loss
    assert trained.change > 0.001
    assert [record["step"] for record in log] == list(range(1, trained.steps + 1))
    assert {record["steps"] for record in log} == {trained.steps}
    assert log[-1]["tokens"] == trained.trained_tokens
    assert log[0]["loss"] > log[-1]["loss"]


@BOTH
def test_learned(trainer: type[Any], small: Path, tmp_path: Path) -> None:
    """The saved weights load into the model `hf` and know the text better than base, documents and answers alike."""
    trained = train(trainer, small, tmp_path / "out", TEXTS + PAIRS, epochs=4)
    before, after = scores(small), scores(small, trained.weights)
    assert after[0] > before[0] + 5
    assert after[1] > before[1] + 5
    assert {path.suffix for path in (tmp_path / "out").rglob("*.*")} <= {".safetensors", ".json", ".jinja"}


def test_full_folder(small: Path, tmp_path: Path) -> None:
    """What `full` leaves is a model of its own: configuration and tokenizer are those it started from."""
    trained = train(Full, small, tmp_path / "out")
    for name in ("config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json"):
        found, wanted = (json.loads((f / name).read_text(encoding="utf-8")) for f in (trained.weights.folder, small))
        assert found == wanted, name
    assert scores(trained.weights.folder) == scores(small, trained.weights)


def test_merged(small: Path, tmp_path: Path) -> None:
    """An adapter merged into the weights gives the log-probabilities of the adapter on top of them."""
    from kib_hf.loading import quietly

    weights = train(Lora, small, tmp_path / "out").weights
    lm = make_plugin(HF, {"path": small, "device": "cpu"}).load(weights)
    with quietly():
        merged = lm.model.merge_and_unload()
        merged.save_pretrained(tmp_path / "merged")
    assert scores(small, Weights(tmp_path / "merged")) == pytest.approx(scores(small, weights), abs=1e-4)
    assert scores(small, weights) != pytest.approx(scores(small), abs=0.1)


@pytest.mark.parametrize("variant", [{}, {"dora": True}, {"rslora": True}, {"targets": ["q_proj", "v_proj"]}])
def test_change_of_an_adapter(small: Path, tmp_path: Path, variant: dict[str, Any]) -> None:
    """The change that `lora` reports is that of the merged weights."""
    from kib_hf.loading import load_model, quietly

    trained = train(Lora, small, tmp_path / "out", rank=4, **variant)
    base = load_model(small, dtype="float32", device="cpu", trust_remote_code=False)
    with quietly():
        merged = make_plugin(HF, {"path": small, "device": "cpu"}).load(trained.weights).model.merge_and_unload()
    pairs = list(zip(base.parameters(), merged.parameters(), strict=True))
    update = sum((new - old).detach().double().square().sum().item() for old, new in pairs)
    weights = sum(old.detach().double().square().sum().item() for old, _ in pairs)
    assert trained.change == pytest.approx(math.sqrt(update / weights), rel=1e-4)


@BOTH
@pytest.mark.parametrize("pack", ["isolated", "concatenate", "none"])
def test_no_token_is_lost(trainer: type[Any], small: Path, tmp_path: Path, pack: str) -> None:
    """However texts are packed, and however much longer than a block they are, the same tokens are trained."""
    tokens = sum(len(text.text.encode()) + 1 for text in TEXTS)
    trained = train(trainer, small, tmp_path / "out", pack=pack, block=32)
    assert (trained.text_tokens, trained.trained_tokens) == (tokens, tokens)


@BOTH
def test_same_again(trainer: type[Any], small: Path, tmp_path: Path) -> None:
    """The same seed gives the same bytes, another seed others."""
    one, two, other = (
        train(trainer, small, tmp_path / name, seed=seed) for name, seed in (("one", 0), ("two", 0), ("other", 1))
    )
    assert digest_of(one.weights) == digest_of(two.weights) != digest_of(other.weights)
    assert one.last_loss == two.last_loss


def test_other_generators_are_left_alone(small: Path, tmp_path: Path) -> None:
    """A training neither depends on the process's random numbers nor disturbs them."""
    import torch

    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    first = torch.rand(1)
    train(Lora, small, tmp_path / "out", dropout=0.1)
    assert first.equal(expected[:1])
    assert torch.rand(1).equal(expected[1:])


@pytest.mark.parametrize(
    ("trainer", "options"),
    [
        (Full, {"layout": "packed"}),
        (Full, {"layout": "packed", "device_batch": 1}),
        (Full, {"device_batch": 1}),
        (Lora, {"layout": "packed", "device_batch": 3}),
    ],
)
def test_layout(trainer: type[Any], small: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    """How rows go through the model, side by side or apart, in few parts or many, moves the weights by rounding."""
    one = train(trainer, small, tmp_path / "one", TEXTS + PAIRS, epochs=2, layout="sorted")
    other = train(trainer, small, tmp_path / "other", TEXTS + PAIRS, epochs=2, **options)
    assert other.steps == one.steps
    assert digest_of(other.weights) != digest_of(one.weights)
    assert scores(small, other.weights) == pytest.approx(scores(small, one.weights), abs=2e-2)
    assert scores(small, one.weights) != pytest.approx(scores(small), abs=2)


@BOTH
def test_gradient_checkpointing(trainer: type[Any], small: Path, tmp_path: Path) -> None:
    """Activations that are computed twice give the same weights, to the bit."""
    one = train(trainer, small, tmp_path / "one")
    two = train(trainer, small, tmp_path / "two", gradient_checkpointing=True)
    assert digest_of(two.weights) == digest_of(one.weights)


@pytest.mark.parametrize("other", [{"device_batch": 2}, {"layout": "packed"}, {"processes": 2}])
def test_dropout_makes_the_layout_count(other: dict[str, Any]) -> None:
    """How rows go through the model is part of the identity where dropout draws by it, and else is not."""
    plain, changed = (make_plugin(Lora, {"dropout": 0.1, **more}).fingerprint() for more in ({}, other))
    assert plain != changed
    assert make_plugin(Lora, {"dropout": 0.1, "checkpoint_every": 7}).fingerprint() == plain
    for trainer, options in ((Lora, {"dropout": 0.0}), (Full, {})):
        assert make_plugin(trainer, options).fingerprint() == make_plugin(trainer, {**options, **other}).fingerprint()


def test_layout_where_texts_would_see_each_other(tmp_path: Path) -> None:
    """A model that joins packed texts is trained all the same, but not side by side."""
    from transformers import OPTConfig, OPTForCausalLM

    start = make_tiny_model(tmp_path / "opt", layers=1, width=16, positions=512)
    sizes: dict[str, Any] = {"hidden_size": 16, "word_embed_proj_dim": 16, "ffn_dim": 16, "num_attention_heads": 2}
    OPTForCausalLM(OPTConfig(vocab_size=258, num_hidden_layers=1, **sizes)).save_pretrained(start)
    trained = train(Full, start, tmp_path / "out")
    assert trained.last_loss < trained.first_loss
    with pytest.raises(InputError, match="texts in one row see each other"):
        train(Full, start, tmp_path / "packed", layout="packed")


def test_number_formats(small: Path, tmp_path: Path) -> None:
    """bfloat16 gives weights close to float32's, and does not stick to the trainings after it."""
    one = train(Full, small, tmp_path / "one")
    half = train(Full, small, tmp_path / "half", dtype="bfloat16")
    two = train(Full, small, tmp_path / "two")
    assert digest_of(one.weights) == digest_of(two.weights) != digest_of(half.weights)
    assert half.last_loss == pytest.approx(one.last_loss, rel=0.02)


def test_environment_does_not_count(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """accelerate's number format in the environment does not overrule the one of the benchmark."""
    one = train(Full, small, tmp_path / "one")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert digest_of(train(Full, small, tmp_path / "two").weights) == digest_of(one.weights)


def test_own_number_format(copy: Path, tmp_path: Path) -> None:
    """Weights are saved in the format they came in, so that base and trained model are scored alike."""
    from safetensors import safe_open
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(copy, dtype="bfloat16").save_pretrained(copy)
    trained = train(Full, copy, tmp_path / "out")
    with safe_open(trained.weights.folder / "model.safetensors", "pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"BF16"}  # noqa: SIM118 - no mapping
    assert json.loads((trained.weights.folder / "config.json").read_text(encoding="utf-8"))["dtype"] == "bfloat16"
    assert trained.change > 0.001


def test_losses_are_those_of_the_saved_weights(copy: Path, tmp_path: Path) -> None:
    """Where weights are rounded on saving, all losses told are those after it, and the one before is kept apart."""
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(copy, dtype="bfloat16").save_pretrained(copy)
    given: dict[str, Any] = {"validation": VALIDATION, "held_out": VALIDATION, "learning_rate": 1e-5}
    trained = train(Full, copy, tmp_path / "out", **given)
    saved = Path(shutil.copytree(copy, tmp_path / "saved"))
    shutil.copyfile(trained.weights.folder / "model.safetensors", saved / "model.safetensors")
    again = train(Full, saved, tmp_path / "again", **given)
    assert trained.last_loss == again.first_loss
    assert trained.held_out_last_loss == trained.validation_loss == again.held_out_first_loss
    assert trained.unrounded_loss is not None
    assert trained.unrounded_loss < trained.last_loss


def test_losses_are_measured_in_one_number_format(small: Path, tmp_path: Path) -> None:
    """Passes in bfloat16 train the model; its losses are measured without them after the training as before it."""
    trained = train(Full, small, tmp_path / "out", dtype="bfloat16")
    again = train(Full, trained.weights.folder, tmp_path / "again", dtype="bfloat16")
    assert trained.last_loss == again.first_loss


@BOTH
def test_nothing_is_rounded_where_nothing_is_lost(trainer: type[Any], small: Path, tmp_path: Path) -> None:
    """Weights that are saved in the format that they are trained in have no other loss before saving."""
    assert train(trainer, small, tmp_path / "out").unrounded_loss is None


def test_tied_weights(copy: Path, tmp_path: Path) -> None:
    """A model whose output layer is its embedding keeps it so, and its shared weights count once."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(copy)
    config.tie_word_embeddings = True
    made: Any = AutoModelForCausalLM
    made.from_config(config).save_pretrained(copy)
    trained = train(Full, copy, tmp_path / "out", checkpoint_every=2)
    saved = AutoModelForCausalLM.from_pretrained(trained.weights.folder)
    assert saved.lm_head.weight is saved.model.embed_tokens.weight
    tokens_read = trained.flops / 6 / saved.num_parameters()
    assert tokens_read == pytest.approx(trained.trained_tokens, rel=0.05)


def test_operations(small: Path, tmp_path: Path) -> None:
    """Operations are six a weight and token, four where the weight is frozen, and none for the embedding."""
    from kib_hf.loading import load_model

    model: Any = load_model(small, dtype="auto", device="cpu", trust_remote_code=False)
    weights = model.num_parameters() - model.get_input_embeddings().weight.numel()
    read = sum(len(text.text.encode()) + 2 for text in TEXTS)
    full = train(Full, small, tmp_path / "full", block=512)
    assert full.flops == 6 * weights * read
    lora = train(Lora, small, tmp_path / "lora", block=512, rank=1, targets=["q_proj"])
    assert lora.flops == (4 * weights + 6 * 2 * 16) * read


@BOTH
def test_early_stop(trainer: type[Any], small: Path, tmp_path: Path) -> None:
    """With patience a training stops when the validation loss no longer falls, and keeps the weights of its lowest."""
    log: list[Mapping[str, Any]] = []
    given: dict[str, Any] = {"learning_rate": 0.05, "epochs": 12, "schedule": "constant"}
    stopped = train(trainer, small, tmp_path / "out", log=log, validation=VALIDATION, patience=2, **given)
    seen = [record["validation"] for record in log if "validation" in record]
    lowest = seen.index(min(seen))
    assert len(seen) == lowest + 3 < 12
    assert stopped.trained_tokens == stopped.text_tokens * len(seen)
    assert stopped.validation_loss == pytest.approx(min(seen), rel=1e-6)
    again = train(trainer, small, tmp_path / "again", validation=VALIDATION, **given)
    assert again.trained_tokens == 12 * again.text_tokens
    assert digest_of(again.weights) != digest_of(stopped.weights)
    text = VALIDATION[0].text
    lm = make_plugin(HF, {"path": small, "device": "cpu"}).load(stopped.weights)
    (value,) = lm.loglikelihood_rolling([_rolling(text)], disable_tqdm=True)
    assert -value / len(text) == pytest.approx(min(seen), rel=0.1)


@BOTH
def test_held_out_text(trainer: type[Any], small: Path, tmp_path: Path) -> None:
    """Held-out text is measured before and after as the model itself scores it, and changes no weight."""
    trained = train(trainer, small, tmp_path / "out", held_out=VALIDATION)
    text = VALIDATION[0].text
    for weights, loss in ((None, trained.held_out_first_loss), (trained.weights, trained.held_out_last_loss)):
        lm = make_plugin(HF, {"path": small, "device": "cpu"}).load(weights)
        (value,) = lm.loglikelihood_rolling([_rolling(text)], disable_tqdm=True)
        assert -value / len(text) == pytest.approx(loss, rel=0.1)
    assert trained.held_out_first_loss != trained.held_out_last_loss
    plain = train(trainer, small, tmp_path / "plain")
    assert (plain.held_out_first_loss, plain.held_out_last_loss) == (None, None)
    assert digest_of(plain.weights) == digest_of(trained.weights)


def _rolling(text: str) -> Any:
    from lm_eval.api.instance import Instance

    return Instance("loglikelihood_rolling", {}, (text,), 0)


def test_finished_already(small: Path, tmp_path: Path) -> None:
    """A training that was finished in a folder before is not done again."""
    log: list[Mapping[str, Any]] = []
    first = train(Full, small, tmp_path / "out")
    assert train(Full, small, tmp_path / "out", log=log) == first
    assert log == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block": 513}, "block = 513 exceeds the model's 512 positions; lower block"),
        ({"patience": 1}, "patience = 1 needs a validation text"),
        ({"dtype": "float16"}, 'dtype = "float16" needs a CUDA GPU'),
        ({"device": "cuda"}, 'device = "cuda": PyTorch .* sees no such device'),
    ],
)
def test_refused(small: Path, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    """Options that do not go with model or machine are an error that names them."""
    with pytest.raises(InputError, match=message):
        train(Full, small, tmp_path / "out", **options)
    assert not list((tmp_path / "out").iterdir())
    with pytest.raises(InputError, match=message):
        make_plugin(Full, {**SHORT, **options}).check(Weights(small), validation=False)


@BOTH
def test_check_needs_no_weights(trainer: type[Any], copy: Path) -> None:
    """What goes with model and machine is known from configuration and tokenizer, and disturbs no random numbers."""
    import torch

    (copy / "model.safetensors").unlink()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    make_plugin(trainer, {**SHORT, "patience": 1}).check(Weights(copy), validation=True)
    assert torch.rand(1).equal(expected)


def test_check_of_a_tokenizer(copy: Path) -> None:
    """A tokenizer without an end of text is refused before a training."""
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (copy / name).is_file():
            value = json.loads((copy / name).read_text(encoding="utf-8"))
            (copy / name).write_text(json.dumps({**value, "eos_token": None}), encoding="utf-8")
    with pytest.raises(InputError, match="the tokenizer has no end-of-text token"):
        make_plugin(Full, SHORT).check(Weights(copy), validation=False)


def test_refused_text(small: Path, tmp_path: Path) -> None:
    """No text at all, and a pair that is longer than a block, are errors."""
    with pytest.raises(InputError, match="no text to train on"):
        train(Full, small, tmp_path / "out", [])
    with pytest.raises(InputError, match=r"passage pump: the pair has 44 tokens, but block = 32 .*; raise block to 44"):
        train(Full, small, tmp_path / "out", PAIRS, block=32)


def test_refused_start(small: Path, tmp_path: Path) -> None:
    """Weights with an adapter on top are no start of a training."""
    weights = train(Lora, small, tmp_path / "out").weights
    with pytest.raises(InputError, match="cannot train weights with an adapter"):
        make_plugin(Full, SHORT).train(weights, TEXTS, tmp_path / "two", 0, lambda _: None)


def test_sharding(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that accelerate would spread over processes is refused, not saved in parts."""
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(
        InputError, match="ACCELERATE_USE_FSDP is set, but every training process must hold the whole model"
    ):
        train(Full, small, tmp_path / "out")


def test_wrong_targets(small: Path, tmp_path: Path) -> None:
    """Names of layers that the model has not are an error that lists those it has."""
    with pytest.raises(InputError, match=r"targets = \['query'\].*the model has down_proj, gate_proj, k_proj, lm_head"):
        train(Lora, small, tmp_path / "out", targets=["query"])


def test_an_adapter_on_a_tied_output_layer(copy: Path, tmp_path: Path) -> None:
    """An adapter on an output layer that is the embedding too could not be put back, so it is refused before."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(copy)
    made: Any = AutoModelForCausalLM
    made.from_config(config).save_pretrained(copy)
    trained = train(Lora, copy, tmp_path / "untied", targets=["lm_head"])
    assert scores(copy, trained.weights) != scores(copy)
    config.tie_word_embeddings = True
    made.from_config(config).save_pretrained(copy)
    with pytest.raises(InputError, match=r"lm_head shares its weight with .*; remove lm_head from targets"):
        train(Lora, copy, tmp_path / "out", targets=["q_proj", "lm_head"])
    assert train(Lora, copy, tmp_path / "all").change > 0.001


def test_a_rank_beyond_the_layers(small: Path, tmp_path: Path) -> None:
    """An adapter of a higher rank than any of its layers can have is refused; one that some of them have is not."""
    with pytest.raises(InputError, match="rank = 17 exceeds 16, the highest rank"):
        train(Lora, small, tmp_path / "out", rank=17)
    assert train(Lora, small, tmp_path / "out", rank=16).change > 0.001


def test_divergence(copy: Path, tmp_path: Path) -> None:
    """A loss that is no number any more ends the training with an error that names the step."""
    from safetensors.torch import load_file, save_file

    parts = load_file(copy / "model.safetensors")
    parts["model.norm.weight"][0] = math.nan
    save_file(parts, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(StepError, match=r"step 1: the loss is nan; lower learning_rate"):
        train(Full, copy, tmp_path / "out")
    with pytest.raises(InputError, match=r"copy: the logits are not finite"):
        train(Full, copy, tmp_path / "out", layout="packed")
