"""The labelled sentences and how scorers are held against them.

What belongs here: reading ``data/labelled_sentences.csv``, macro-F1, the threshold fixed on
``tune``. The sentences were written and labelled by the project before any was scored; ``split``
is the parity of the SHA-256 of the text. Rules and word lists are tuned on ``tune`` only.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LABELS = ("negative", "neutral", "positive")
THRESHOLDS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
PATH = Path(__file__).parent / "data" / "labelled_sentences.csv"


@dataclass(frozen=True, slots=True)
class Labelled:
    """One sentence: ``language`` en or ko, ``label`` one of LABELS, ``split`` tune or held_out.

    The label says what the sentence means for an owner of what it speaks of; a sentence that
    asks, announces a date or weighs evenly is neutral.
    """

    identity: str
    language: str
    text: str
    label: str
    split: str


def labelled_sentences(split: str, language: str | None = None) -> list[Labelled]:
    """Return the sentences of a split, of one language or of both, in the order of the file."""
    with PATH.open(encoding="utf-8", newline="") as file:
        rows = [
            Labelled(row["id"], row["language"], row["text"], row["label"], row["split"])
            for row in csv.DictReader(file)
        ]
    return [row for row in rows if row.split == split and language in (None, row.language)]


def label_of(score: float, threshold: float) -> str:
    """Return the class of a score: neutral within ``threshold`` of zero, exclusive."""
    return "positive" if score >= threshold else "negative" if score <= -threshold else "neutral"


def macro_f1(labels: Sequence[str], scores: Sequence[float], threshold: float) -> float:
    """Return the mean of the F1 of the three classes; a class that nobody names has F1 0."""
    found = [label_of(score, threshold) for score in scores]
    f1 = []
    for label in LABELS:
        hits = sum(one == other == label for one, other in zip(labels, found, strict=True))
        named = sum(one == label for one in labels) + sum(other == label for other in found)
        f1.append(2 * hits / named if named else 0.0)
    return sum(f1) / len(f1)


def best_threshold(labels: Sequence[str], scores: Sequence[float]) -> float:
    """Return the threshold of THRESHOLDS with the highest macro-F1, of equals the lowest."""
    return max(THRESHOLDS, key=lambda threshold: (macro_f1(labels, scores, threshold), -threshold))
