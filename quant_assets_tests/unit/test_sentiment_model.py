"""The scorer of a trained model, with tiny models and tokenizers made here.

A model here adds up one row of weights a word, so that every expected score is a softmax by hand.
What belongs here: scores, versions, and what is said of directories that are no such model.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from quant_assets.domain.articles import score_articles
from quant_assets.domain.sentiment import FinanceVader
from quant_assets.domain.sentiment_model import BATCH_SIZE, TransformerScorer, scorer_for
from quant_assets.domain.tickers import TickerRecognizer, packaged_aliases
from quant_assets.errors import BadConfigurationError

NEGATIVE, NEUTRAL, POSITIVE = (3.0, 0.0, -1.0), (0.0, 1.0, 0.0), (-1.0, 0.0, 3.0)
WORDS = {
    "[PAD]": (9.0, 9.0, 9.0),
    "[UNK]": NEUTRAL,
    "soars": POSITIVE,
    "sinks": NEGATIVE,
    "Nvidia": NEUTRAL,
    "broken": (np.nan, 0.0, 0.0),
}
LABELS = {"0": "negative", "1": "neutral", "2": "positive"}
ALL_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def expected(*words: str) -> float:
    logits = np.sum([WORDS[word] for word in words], axis=0)
    chances = np.exp(logits) / np.exp(logits).sum()
    return float(np.round(chances[2] - chances[0], 4))


def save_model(path: Path, columns: Sequence[int], inputs: Sequence[str]) -> None:
    """Write logits = sum over the words not masked of their row of ``columns``."""
    table = np.array(list(WORDS.values()), dtype=np.float32)[:, list(columns)]
    nodes = [helper.make_node("Gather", ["table", inputs[0]], ["rows"])]
    summed = "rows"
    if "attention_mask" in inputs:
        nodes += [
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["mask", "last"], ["wide_mask"]),
            helper.make_node("Mul", ["rows", "wide_mask"], ["masked"]),
        ]
        summed = "masked"
    nodes.append(helper.make_node("ReduceSum", [summed, "words"], ["logits"], keepdims=0))
    graph = helper.make_graph(
        nodes,
        "bag_of_words",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["texts", "words"])
            for name in inputs
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["texts", "labels"])],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(np.array([2]), "last"),
            numpy_helper.from_array(np.array([1]), "words"),
        ],
    )
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), str(path))


def make_model(
    directory: Path,
    *,
    labels: Any = LABELS,
    columns: Sequence[int] = (0, 1, 2),
    inputs: Sequence[str] = ALL_INPUTS,
    config: Mapping[str, Any] | None = None,
    tokenizer_config: Mapping[str, Any] | None = None,
) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    save_model(directory / "model.onnx", columns, inputs)
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(directory / "tokenizer.json"))
    content = {"id2label": labels, "pad_token_id": 0, **(config or {})}
    (directory / "config.json").write_text(json.dumps(content), "utf-8")
    if tokenizer_config is not None:
        (directory / "tokenizer_config.json").write_text(json.dumps(tokenizer_config), "utf-8")
    return directory


def test_a_score_is_the_chance_of_positive_less_that_of_negative(tmp_path: Path) -> None:
    scorer = TransformerScorer(make_model(tmp_path))
    scores = scorer.score(["Nvidia soars", "Nvidia sinks", "Nvidia", "soars soars"])
    assert scores.dtype == np.float64
    np.testing.assert_array_equal(
        scores,
        [expected("Nvidia", "soars"), expected("Nvidia", "sinks"), 0.0, expected("soars", "soars")],
    )
    assert scores[1] < 0 < scores[0] < scores[3] <= 1


@pytest.mark.parametrize(
    ("labels", "columns"),
    [
        ({"0": "Positive", "1": "NEGATIVE", "2": "Neutral"}, (2, 0, 1)),
        ({"2": "negative", "0": "NEUTRAL", "1": " positive "}, (1, 2, 0)),
    ],
)
def test_labels_may_stand_in_any_case_and_order(
    tmp_path: Path, labels: dict[str, str], columns: tuple[int, ...]
) -> None:
    scorer = TransformerScorer(make_model(tmp_path, labels=labels, columns=columns))
    np.testing.assert_array_equal(
        scorer.score(["soars", "sinks"]), [expected("soars"), expected("sinks")]
    )


def test_a_text_scores_alike_alone_and_in_batches_of_mixed_lengths(tmp_path: Path) -> None:
    scorer = TransformerScorer(make_model(tmp_path))
    texts = [
        " ".join(["Nvidia"] * (at % 7) + [("soars", "sinks")[at % 2]])
        for at in range(2 * BATCH_SIZE + 5)
    ]
    texts[3] = ""
    together = scorer.score(texts)
    np.testing.assert_array_equal(together, [scorer.score([text])[0] for text in texts])
    np.testing.assert_array_equal(scorer.score(texts[::-1]), together[::-1])
    assert together[3] == 0.0
    assert np.all(np.sign(together[4:]) == [(-1) ** at for at in range(4, len(texts))])


def test_blank_texts_score_zero_without_the_model(tmp_path: Path) -> None:
    scorer = TransformerScorer(make_model(tmp_path))
    np.testing.assert_array_equal(scorer.score(["", "  ", "\n"]), [0.0, 0.0, 0.0])
    assert scorer.score([]).shape == (0,)


@pytest.mark.parametrize("inputs", [("input_ids",), ("input_ids", "attention_mask")])
def test_a_model_may_take_fewer_inputs(tmp_path: Path, inputs: tuple[str, ...]) -> None:
    scorer = TransformerScorer(make_model(tmp_path, inputs=inputs))
    assert scorer.score(["Nvidia soars"])[0] == expected("Nvidia", "soars")


@pytest.mark.parametrize(
    ("config", "tokenizer_config", "kept"),
    [
        ({"max_position_embeddings": 4}, None, 4),
        ({"max_position_embeddings": 600}, {"model_max_length": 5}, 5),
        ({"max_position_embeddings": 6}, {"model_max_length": 1e30}, 6),
        (
            {"max_position_embeddings": 7, "model_type": "xlm-roberta", "pad_token_id": 1},
            None,
            5,
        ),
        ({}, None, 512),
    ],
)
def test_words_behind_the_longest_input_do_not_count(
    tmp_path: Path,
    config: dict[str, Any],
    tokenizer_config: dict[str, Any] | None,
    kept: int,
) -> None:
    model = make_model(tmp_path, config=config, tokenizer_config=tokenizer_config)
    within, behind = TransformerScorer(model).score(
        ["Nvidia " * (kept - 1) + "soars", "Nvidia " * kept + "soars"]
    )
    assert (within, behind) == (expected(*["Nvidia"] * (kept - 1), "soars"), 0.0)


def test_the_version_is_that_of_the_files_and_not_of_their_place(tmp_path: Path) -> None:
    one = TransformerScorer(make_model(tmp_path / "one"))
    other = TransformerScorer(make_model(tmp_path / "other"))
    assert one.version == other.version
    assert one.version.startswith("transformer-")
    (tmp_path / "other" / "README.md").write_text("Nothing that scores.", "utf-8")
    assert TransformerScorer(tmp_path / "other").version == one.version


@pytest.mark.parametrize(
    ("name", "written", "changed"),
    [
        ("model.onnx", b"bag_of_words", b"bag_of_terms"),
        ("tokenizer.json", b"sinks", b"slips"),
        ("config.json", b'"pad_token_id": 0', b'"pad_token_id": 5'),
        ("tokenizer_config.json", b"512", b"256"),
        ("weights.bin", b"12", b"13"),
    ],
)
def test_the_version_moves_with_every_file_of_the_model(
    tmp_path: Path, name: str, written: bytes, changed: bytes
) -> None:
    make_model(tmp_path, tokenizer_config={"model_max_length": 512})
    (tmp_path / "weights.bin").write_bytes(b"12")
    before = TransformerScorer(tmp_path).version
    path = tmp_path / name
    content = path.read_bytes()
    path.write_bytes(content.replace(written, changed))
    assert path.stat().st_size == len(content)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1_000_000_000))
    assert TransformerScorer(tmp_path).version != before


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "config.json"])
def test_a_missing_file_is_named_with_the_way_to_make_it(tmp_path: Path, name: str) -> None:
    (make_model(tmp_path) / name).unlink()
    with pytest.raises(BadConfigurationError, match="QUANT_SENTIMENT_MODEL") as caught:
        TransformerScorer(tmp_path)
    assert f"{name} missing" in str(caught.value)
    assert "optimum-cli export onnx" in str(caught.value)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfigurationError, match="nowhere"):
        TransformerScorer(tmp_path / "nowhere")


@pytest.mark.parametrize("package", ["onnxruntime", "tokenizers"])
def test_a_missing_package_is_named_with_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    make_model(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BadConfigurationError, match="QUANT_SENTIMENT_MODEL") as caught:
        TransformerScorer(tmp_path)
    assert package in str(caught.value)
    assert "quant-assets[model]" in str(caught.value)


@pytest.mark.parametrize(
    "labels",
    [
        {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"},
        {"0": "NEGATIVE", "1": "POSITIVE"},
        {"0": "negative", "1": "neutral", "2": "positive", "3": "mixed"},
        {"0": "negative", "1": "positive", "2": "positive"},
        {"1": "negative", "2": "neutral", "3": "positive"},
        ["negative", "neutral", "positive"],
        None,
    ],
)
def test_other_labels_are_refused_and_shown(tmp_path: Path, labels: Any) -> None:
    with pytest.raises(BadConfigurationError, match="QUANT_SENTIMENT_MODEL") as caught:
        TransformerScorer(make_model(tmp_path, labels=labels))
    assert repr(labels) in str(caught.value)
    assert "negative, neutral, positive" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b"{"),
        ("config.json", b"[]"),
        ("config.json", b"\xff\xfe\xfa"),
        ("tokenizer.json", b"{}"),
        ("tokenizer.json", b"not JSON"),
        ("model.onnx", b""),
        ("model.onnx", b"version https://git-lfs.github.com/spec/v1"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (make_model(tmp_path) / name).write_bytes(content)
    with pytest.raises(BadConfigurationError, match="QUANT_SENTIMENT_MODEL") as caught:
        TransformerScorer(tmp_path).score(["Nvidia soars"])
    assert name in str(caught.value)


def test_a_model_that_takes_something_else_is_refused(tmp_path: Path) -> None:
    make_model(tmp_path, inputs=("pixels",))
    with pytest.raises(BadConfigurationError, match="pixels"):
        TransformerScorer(tmp_path).score(["Nvidia soars"])


def test_an_answer_of_another_shape_is_refused(tmp_path: Path) -> None:
    make_model(tmp_path, columns=(0, 1))
    with pytest.raises(BadConfigurationError, match=r"\(1, 2\).*3 labels"):
        TransformerScorer(tmp_path).score(["Nvidia soars"])


def test_a_model_that_fails_on_an_input_is_named(tmp_path: Path) -> None:
    make_model(tmp_path)
    vocabulary = {word: number + 100 for number, word in enumerate(WORDS)}
    Tokenizer(WordLevel(vocabulary, unk_token="[UNK]")).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(BadConfigurationError, match=r"cannot run model\.onnx"):
        TransformerScorer(tmp_path).score(["soars"])


def test_an_answer_that_is_no_number_is_an_error_that_shows_the_text(tmp_path: Path) -> None:
    scorer = TransformerScorer(make_model(tmp_path))
    with pytest.raises(BadConfigurationError, match=r"1 of 2 texts.*'Nvidia broken'"):
        scorer.score(["Nvidia soars", "Nvidia broken"])


def test_without_a_directory_the_word_lists_score(tmp_path: Path) -> None:
    assert isinstance(scorer_for(None), FinanceVader)
    assert isinstance(scorer_for(str(make_model(tmp_path))), TransformerScorer)


def test_articles_carry_the_score_and_the_version_of_the_model(tmp_path: Path) -> None:
    scorer = scorer_for(make_model(tmp_path))
    universe = pd.DataFrame({"symbol": ["NVDA"], "yahoo_symbol": ["NVDA"], "name": ["NVIDIA"]})
    instant = pd.Timestamp("2024-06-28 14:05", tz="UTC")
    articles = pd.DataFrame(
        {
            "hour": ["2024-06-28-14:00"], "article_id": ["a"], "title": ["Nvidia soars"],
            "summary": [None], "tickers": ["[]"], "provider_sentiment": ["[]"],
            "published_at": [instant], "available_at": [instant],
        }
    )  # fmt: skip
    recognizer = TickerRecognizer.from_universe(universe, packaged_aliases())
    row = score_articles(articles, recognizer, scorer).iloc[0]
    assert row["score"] == expected("Nvidia", "soars")
    assert (row["scorer"], row["scorer_version"]) == ("transformer", scorer.version)
