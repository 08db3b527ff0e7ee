"""A tiny BERT with random weights stands for the pretrained ones: the code is the same, and it needs no download."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from trainables.text.pretrained import (
    MINILM,
    PretrainedClassifier,
    PretrainedEncoder,
    features,
    find_pretrained,
    layered_groups,
    tokenize,
    trimmed,
)
from trainables.training.training import load_trained, trained_state

pytestmark = pytest.mark.slow  # imports transformers

WORDS = ["card", "cash", "loan", "question", "lost", "my", *map(str, range(60))]


def write_bert(folder: Path, words: Sequence[str] = WORDS) -> str:
    """A BERT with three layers of 16 units that knows some words, as the hub has them: the path of its folder."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words) + 5, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32
    )
    BertModel(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_bert(tmp_path_factory.mktemp("bert"))


def test_pieces_stand_first_whatever_the_tokenizer_would_do(tmp_path: Path) -> None:
    """As many models that write texts have it: filled up on the left, and without a piece to do it with."""
    from transformers import BertTokenizerFast

    write_bert(tmp_path)
    tokenizer = BertTokenizerFast.from_pretrained(tmp_path, padding_side="left", eos_token="[SEP]")
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    ids, lengths = tokenize(str(tmp_path), ["my card", "my lost card question"], 16)
    assert lengths.tolist() == [4, 6]
    assert ids[0, 0] == ids[1, 0] == 2, "[CLS]"
    assert (ids[0, 4:] == ids[1, -1]).all()


def test_tokens_are_padded_and_cut_off(bert: str) -> None:
    ids, lengths = tokenize(bert, ["my card", "lost my card question", "my card lost my cash loan question"], 6)
    assert lengths.tolist() == [4, 6, 6]
    assert ids.shape == (3, 6)
    assert (ids[0, 4:] == 0).all()
    short, _ = trimmed(ids[:1], lengths[:1])
    assert (short.shape, short.dtype) == ((1, 4), torch.int64)


def test_features_are_those_of_each_text_alone(bert: str) -> None:
    texts = ["my card", "lost my card question", "cash"]
    together = features(bert, *tokenize(bert, texts, 16))
    assert together.shape == (3, 16)
    torch.testing.assert_close(together, torch.cat([features(bert, *tokenize(bert, [text], 16)) for text in texts]))
    torch.testing.assert_close(together.norm(dim=1), torch.ones(3))


@pytest.mark.parametrize("finetune", ["head", "lora", "full"])
def test_what_is_trained_is_what_was_asked_for_and_all_that_is_saved(bert: str, finetune: str) -> None:
    def make() -> PretrainedClassifier:
        encoder = PretrainedEncoder(bert, finetune=finetune, dropout=0.0, lora_rank=2)
        return PretrainedClassifier(encoder, 3, dropout=0.0)

    model = make()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ids, lengths = tokenize(bert, ["my card", "cash"], 8)
    batch = trimmed(ids, lengths)
    groups = layered_groups(model, model.encoder, lr=0.1, head_lr=0.1, layer_decay=1.0, weight_decay=0.0)
    optimizer = torch.optim.SGD(groups, lr=0.1)
    for _ in range(2):  # the second of LoRA's matrices starts at 0, and the first learns nothing until it has moved
        optimizer.zero_grad()
        cross_entropy(model(*batch), torch.tensor([0, 1])).backward()
        optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    saved = trained_state(model)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert {"head.1.weight", "head.1.bias"} <= changed <= set(saved)
    inner = {name for name in changed if name.startswith("encoder")}
    assert {"head": not inner, "lora": all("lora" in name for name in inner), "full": len(inner) > 40}[finetune]
    assert bool(inner) == (finetune != "head")
    assert len(saved) == {"head": 2, "lora": len(trained), "full": len(before)}[finetune]
    other = make()
    load_trained(other, saved)
    torch.testing.assert_close(other.eval()(*batch), model.eval()(*batch))
    with pytest.raises(RuntimeError, match="Missing key"):
        load_trained(make(), {name: value for name, value in saved.items() if name != "head.1.bias"})


def test_learning_rates_fall_from_the_last_layer_to_the_first(bert: str) -> None:
    encoder = PretrainedEncoder(bert, finetune="full", dropout=0.0)
    model = PretrainedClassifier(encoder, 3, dropout=0.0)
    groups = layered_groups(model, encoder, lr=1.0, head_lr=7.0, layer_decay=0.5, weight_decay=0.1)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rates = {names[id(parameter)]: group["lr"] for group in groups for parameter in group["params"]}
    assert len(rates) == len(names)
    assert {name: rate for name, rate in rates.items() if name.startswith("head")} == {
        "head.1.weight": 7.0,
        "head.1.bias": 7.0,
    }
    for part, rate in (("embeddings", 0.125), ("layer.0.", 0.25), ("layer.1.", 0.5), ("layer.2.", 1.0)):
        assert {value for name, value in rates.items() if part in name} == {rate}
    decays = {names[id(p)]: group["weight_decay"] for group in groups for p in group["params"]}
    assert {decays[name] for name in decays if name.endswith("bias") or "LayerNorm" in name} == {0.0}
    assert decays["head.1.weight"] == 0.1


def rates_of(folder: Path, config: Any) -> dict[str, float]:
    from transformers import AutoModel

    AutoModel.from_config(config).save_pretrained(folder)
    encoder = PretrainedEncoder(str(folder), finetune="full", dropout=0.0)
    groups = layered_groups(encoder, encoder, lr=1.0, head_lr=7.0, layer_decay=0.5, weight_decay=0.0)
    names = {id(parameter): name for name, parameter in encoder.named_parameters()}
    return {names[id(parameter)]: group["lr"] for group in groups for parameter in group["params"]}


def test_shared_layers_and_final_norms_learn_as_the_last_layer(tmp_path: Path) -> None:
    from transformers import AlbertConfig, GPT2Config

    albert = AlbertConfig(
        vocab_size=9, embedding_size=4, hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=8
    )
    rates = rates_of(tmp_path / "albert", albert)
    assert {rate for name, rate in rates.items() if "albert_layers" in name} == {1.0}
    assert {rate for name, rate in rates.items() if "embeddings" in name} == {0.125}
    rates = rates_of(tmp_path / "gpt2", GPT2Config(vocab_size=9, n_positions=8, n_embd=8, n_layer=3, n_head=2))
    assert {rate for name, rate in rates.items() if ".ln_f." in name} == {1.0}
    assert {rate for name, rate in rates.items() if ".h.0." in name} == {0.25}
    assert {rate for name, rate in rates.items() if ".wte." in name or ".wpe." in name} == {0.125}


def test_what_is_no_model_is_told() -> None:
    with pytest.raises(ValueError, match=r"'\./nowhere' is no folder of a transformer"):
        find_pretrained("./nowhere")
    assert find_pretrained("bert-base-uncased") == "bert-base-uncased"
    assert (Path(find_pretrained(MINILM)) / "config.json").is_file()
