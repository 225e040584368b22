"""Sentiment by a trained model. What belongs here: a classifier on the user's disk as a scorer.

The directory that ``QUANT_SENTIMENT_MODEL`` names holds ``model.onnx``, ``tokenizer.json`` and
``config.json``, as Hugging Face's exporters write them. Nothing is downloaded. The packages
onnxruntime and tokenizers come with the extra ``model`` and are imported on first use.

What does not belong here: word lists and rules (``sentiment``), training.
"""

import hashlib
import importlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from quant_assets.domain.sentiment import FinanceVader, FloatArray, Scorer
from quant_assets.errors import BadConfigurationError

SETTING = "QUANT_SENTIMENT_MODEL"
ARITHMETIC_VERSION = "1"
BATCH_SIZE = 32
"""Texts a call of the model; sorted by length, so that little of a batch is padding."""

_MODEL, _TOKENIZER, _CONFIG = "model.onnx", "tokenizer.json", "config.json"
_TOKENIZER_CONFIG = "tokenizer_config.json"
_LABELS = ("negative", "neutral", "positive")
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_USUAL_MAX_TOKENS = 512
_NO_LIMIT = 1_000_000
_UNUSED_FILE = re.compile(
    r".*\.(?:md|txt|safetensors|h5|msgpack|ot|py)|pytorch_model.*|LICENSE.*|training_args\.bin"
)
"""Texts, and the same weights in the formats of other libraries."""
_EXPORT = (
    "export a sequence classifier with `pip install 'optimum[onnxruntime]'` and `optimum-cli "
    "export onnx --model NAME_OR_DIRECTORY --task text-classification DIRECTORY`"
)


@dataclass(frozen=True, slots=True)
class _Description:
    """What the configuration files of a model say: columns of labels, padding, longest input."""

    negative: int
    positive: int
    n_labels: int
    pad_id: int
    max_tokens: int


class TransformerScorer:
    """Scores texts by P(positive) - P(negative) of the classifier in a directory.

    Raises ``BadConfigurationError``, when made, for a missing package or file and for labels
    other than positive, negative and neutral (in any case and order); when it first scores, for
    files that cannot be loaded; when it scores, for an answer that is not one finite number a
    label. Scores are rounded to 4 decimals, so that a text scores alike in any batch.
    """

    name = "transformer"

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._directory = Path(directory)
        for package in ("onnxruntime", "tokenizers"):
            _package(package)
        _demand_files(self._directory)
        self._description = _describe(self._directory)
        self._loaded: tuple[Any, Any, list[str]] | None = None
        self.version = f"{self.name}-{ARITHMETIC_VERSION}-{_model_digest(self._directory)[:8]}"

    def score(self, texts: Sequence[str]) -> FloatArray:
        """Return one score in [-1, 1] a text, in the order of the texts; blank texts score 0."""
        scores = np.zeros(len(texts), dtype=np.float64)
        written = [at for at, text in enumerate(texts) if text.strip()]
        if not written:
            return scores
        session, tokenizer, inputs = self._load()
        encoded = tokenizer.encode_batch([texts[at] for at in written])
        by_length = sorted(range(len(written)), key=lambda at: (len(encoded[at].ids), at))
        for start in range(0, len(by_length), BATCH_SIZE):
            batch = by_length[start : start + BATCH_SIZE]
            positions = [written[at] for at in batch]
            scores[positions] = self._score_batch(
                session, [encoded[at] for at in batch], inputs, [texts[at] for at in positions]
            )
        return scores

    def _score_batch(
        self, session: Any, encoded: list[Any], inputs: list[str], texts: list[str]
    ) -> FloatArray:
        feed = _feed(encoded, inputs, self._description.pad_id)
        try:
            logits = np.asarray(session.run(None, feed)[0], dtype=np.float64)
        except Exception as error:
            raise self._error(f"cannot run {_MODEL}: {error}; {_EXPORT}") from error
        if logits.shape != (len(texts), self._description.n_labels):
            raise self._error(
                f"{_MODEL} answers {len(texts)} texts with an array of shape {logits.shape} where "
                f"{_CONFIG} promises {self._description.n_labels} labels; {_EXPORT}"
            )
        is_bad = ~np.isfinite(logits).all(axis=1)
        if is_bad.any():
            text = texts[int(np.argmax(is_bad))]
            raise self._error(
                f"{_MODEL} gives {int(is_bad.sum())} of {len(texts)} texts no finite number, the "
                f"first being {text[:80]!r}; export it in 32-bit precision"
            )
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        chances = powers / powers.sum(axis=1, keepdims=True)
        difference = chances[:, self._description.positive] - chances[:, self._description.negative]
        rounded: FloatArray = np.round(difference, 4) + 0.0
        return rounded

    def _load(self) -> tuple[Any, Any, list[str]]:
        """Return session, tokenizer and the names of the model's inputs, opened once."""
        if self._loaded is None:
            session = self._open_session()
            names = [entry.name for entry in session.get_inputs()]
            if "input_ids" not in names or not set(names) <= set(_INPUTS):
                raise self._error(
                    f"{_MODEL} takes {sorted(names)}; a text classifier takes input_ids and "
                    f"may take {list(_INPUTS[1:])}; {_EXPORT}"
                )
            self._loaded = (session, self._open_tokenizer(), names)
        return self._loaded

    def _open_session(self) -> Any:
        runtime = _package("onnxruntime")
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        options.use_deterministic_compute = True
        try:
            return runtime.InferenceSession(
                str(self._directory / _MODEL), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise self._error(f"cannot load {_MODEL}: {error}; {_EXPORT}") from error

    def _open_tokenizer(self) -> Any:
        try:
            tokenizer = _package("tokenizers").Tokenizer.from_file(
                str(self._directory / _TOKENIZER)
            )
        except Exception as error:
            raise self._error(f"cannot load {_TOKENIZER}: {error}; {_EXPORT}") from error
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length=self._description.max_tokens)
        return tokenizer

    def _error(self, problem: str) -> BadConfigurationError:
        return BadConfigurationError(f"{SETTING}={self._directory}: {problem}")


def scorer_for(model_directory: str | os.PathLike[str] | None) -> Scorer:
    """Return the scorer of the model in a directory, without one the shipped word lists."""
    return FinanceVader() if model_directory is None else TransformerScorer(model_directory)


def _package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise BadConfigurationError(
            f"{SETTING} is set and the package {name} cannot be imported ({error}): install the "
            "extra with `pip install 'quant-assets[model]'`, or unset the variable"
        ) from error


def _demand_files(directory: Path) -> None:
    missing = [name for name in (_MODEL, _TOKENIZER, _CONFIG) if not (directory / name).is_file()]
    if missing:
        raise BadConfigurationError(
            f"{SETTING}={directory}: {', '.join(missing)} missing in the directory; {_EXPORT}"
        )


def _describe(directory: Path) -> _Description:
    """Read labels, padding and length from the configuration files."""
    config = _json_object(directory, _CONFIG)
    labels = config.get("id2label")
    names = (
        {str(key): str(value).strip().lower() for key, value in labels.items()}
        if isinstance(labels, Mapping)
        else {}
    )
    expected_keys = {str(number) for number in range(len(_LABELS))}
    if set(names) != expected_keys or sorted(names.values()) != sorted(_LABELS):
        raise BadConfigurationError(
            f"{SETTING}={directory}: id2label of {_CONFIG} is {labels!r}; it needs the ids 0, 1, 2 "
            f"with the labels {', '.join(_LABELS)} in any order: choose a model with these three "
            "classes, or name its classes so in the file if that is what they mean"
        )
    column = {label: int(key) for key, label in names.items()}
    return _Description(
        negative=column["negative"],
        positive=column["positive"],
        n_labels=len(column),
        pad_id=_whole_number(config.get("pad_token_id"), 0),
        max_tokens=_max_tokens(directory, config),
    )


def _max_tokens(directory: Path, config: Mapping[str, Any]) -> int:
    """Return the longest input in tokens: the smallest limit that the files name, or 512."""
    limits = []
    positions = _whole_number(config.get("max_position_embeddings"), 0)
    if positions:
        # RoBERTa and its kin number positions from the padding id + 1.
        kin = ("roberta", "camembert")
        is_offset = any(name in str(config.get("model_type", "")).lower() for name in kin)
        offset = _whole_number(config.get("pad_token_id"), 1) + 1 if is_offset else 0
        limits.append(positions - offset)
    if (directory / _TOKENIZER_CONFIG).is_file():
        named = _json_object(directory, _TOKENIZER_CONFIG).get("model_max_length")
        limits.append(_whole_number(named, 0))
    limits = [limit for limit in limits if 2 < limit < _NO_LIMIT]
    return min(limits, default=_USUAL_MAX_TOKENS)


def _whole_number(value: Any, default: int) -> int:
    """Return a number of a configuration file; tokenizers write "no limit" as 1e30."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if is_number and value >= 0 else default


def _json_object(directory: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads((directory / name).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BadConfigurationError(
            f"{SETTING}={directory}: cannot read {name}: {error}; {_EXPORT}"
        ) from error
    if not isinstance(content, dict):
        raise BadConfigurationError(
            f"{SETTING}={directory}: {name} is not a JSON object; {_EXPORT}"
        )
    return content


def _feed(encoded: list[Any], inputs: list[str], pad_id: int) -> dict[str, npt.NDArray[np.int64]]:
    """Return the arrays a model takes, texts x tokens, padded at the end."""
    shape = (len(encoded), max(len(one.ids) for one in encoded))
    arrays = {
        "input_ids": np.full(shape, pad_id, dtype=np.int64),
        "attention_mask": np.zeros(shape, dtype=np.int64),
        "token_type_ids": np.zeros(shape, dtype=np.int64),
    }
    for row, one in enumerate(encoded):
        width = len(one.ids)
        arrays["input_ids"][row, :width] = one.ids
        arrays["attention_mask"][row, :width] = one.attention_mask
        arrays["token_type_ids"][row, :width] = one.type_ids
    return {name: arrays[name] for name in inputs}


def _model_digest(directory: Path) -> str:
    """Return the SHA-256 of the files of a model, except those that cannot decide a score.

    A graph may keep its weights in a file of any name beside it, so all others count.
    """
    digest = hashlib.sha256()
    for path in sorted(directory.iterdir()):
        is_hidden = path.name.startswith(".")
        if is_hidden or not path.is_file() or _UNUSED_FILE.fullmatch(path.name):
            continue
        status = path.stat()
        one = _file_digest(path.resolve(), status.st_size, status.st_mtime_ns)
        digest.update(f"{path.name}\0{one}\n".encode())
    return digest.hexdigest()


@lru_cache(maxsize=64)
def _file_digest(path: Path, size_bytes: int, modified_ns: int) -> str:
    """Return the SHA-256 of a file; its size and time of change are there to renew the memory."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
