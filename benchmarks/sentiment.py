"""Speed and truth of headline scoring. What belongs here: measuring, no assertions.

Scores the same headlines with the finance scorer, with its finance layer off, and with
vaderSentiment itself, one after the other in one process, and prints headlines a second.
The headlines are the recorded posts if their file is given, else made from the word list.
Then prints the macro-F1 of each scorer on the labelled sentences, with the threshold between the
classes that is best on ``tune``.
"""

import argparse
import csv
import random
import time
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

import pandas as pd
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from quant_assets.domain.sentiment import FinanceVader, Scorer
from quant_assets.domain.sentiment_model import TransformerScorer
from quant_assets.domain.tickers import TickerRecognizer, packaged_aliases
from quant_assets_tests.labelled import best_threshold, labelled_sentences, macro_f1


def packaged_universe() -> pd.DataFrame:
    """Return the packaged universes of both markets."""
    folder = resources.files("quant_assets.reference")
    tables = []
    for market in ("us", "kr"):
        with (folder / f"universe_{market}.csv").open("rb") as content:
            tables.append(pd.read_csv(content, dtype="str", keep_default_na=False))
    return pd.concat(tables, ignore_index=True)


def made_headlines(count: int, names: Sequence[str]) -> list[str]:
    """Return headlines of 8 to 14 words: a company, words of the finance list, plain words."""
    path = resources.files("quant_assets.reference") / "finance_words.csv"
    words = [
        row["word"].replace("_", " ")
        for row in csv.DictReader(path.read_text("utf-8").splitlines())
    ]
    plain = [
        "the",
        "of",
        "in",
        "quarter",
        "year",
        "company",
        "says",
        "report",
        "Monday",
        "5%",
        "$3",
    ]
    generator = random.Random(7)
    return [
        " ".join(
            [generator.choice(names)]
            + [
                generator.choice(words if generator.random() < 0.3 else plain)
                for _ in range(generator.randint(7, 13))
            ]
        )
        for _ in range(count)
    ]


def headlines_per_second(work: Callable[[Sequence[str]], object], texts: Sequence[str]) -> float:
    """Return the rate of one pass over the texts, by CPU time: other work on the machine waits."""
    started = time.process_time()
    work(texts)
    return len(texts) / (time.process_time() - started)


def print_quality(scorers: Sequence[Scorer]) -> None:
    """Print the macro-F1 of each scorer on both splits, per language and together."""
    print(f"\n{'macro-F1':<16}{'threshold':>10}", end="")
    for split in ("tune", "held_out"):
        for language in ("en", "ko", None):
            count = len(labelled_sentences(split, language))
            heading = f"{split} {language or 'all'} ({count})"
            print(f"{heading:>20}", end="")
    print()
    for scorer in scorers:
        tune = labelled_sentences("tune")
        labels = [row.label for row in tune]
        threshold = best_threshold(labels, scorer.score([row.text for row in tune]).tolist())
        print(f"{scorer.name:<16}{threshold:>10.2f}", end="")
        for split in ("tune", "held_out"):
            for language in ("en", "ko", None):
                rows = labelled_sentences(split, language)
                scores = scorer.score([row.text for row in rows]).tolist()
                f1 = macro_f1([row.label for row in rows], scores, threshold)
                print(f"{f1:>20.3f}", end="")
        print()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--headlines", type=int, default=40_000, help="how many to score")
    parser.add_argument("--posts", type=Path, help="Parquet file with a column title")
    parser.add_argument("--model", type=Path, help="directory of a trained model to hold beside")
    options = parser.parse_args()
    universe = packaged_universe()
    if options.posts:
        texts = pd.read_parquet(options.posts, columns=["title"])["title"].tolist()
        texts = texts[: options.headlines]
    else:
        texts = made_headlines(options.headlines, universe["name"].tolist())
    vader = SentimentIntensityAnalyzer()
    recognizer = TickerRecognizer.from_universe(universe, packaged_aliases())
    rates = {
        "vaderSentiment": headlines_per_second(
            lambda batch: [vader.polarity_scores(text)["compound"] for text in batch], texts
        ),
        "finance off": headlines_per_second(FinanceVader(finance=False).score, texts),
        "finance on": headlines_per_second(FinanceVader().score, texts),
        "ticker recognition": headlines_per_second(
            lambda batch: [recognizer.find(text) for text in batch], texts
        ),
    }
    print(f"{len(texts):,} headlines, one core")
    for name, rate in rates.items():
        print(f"{name:<20}{rate:>12,.0f} headlines/s{rate / rates['vaderSentiment']:>8.2f} x")
    scorers: list[Scorer] = [FinanceVader(), FinanceVader(finance=False)]
    print_quality(scorers + ([TransformerScorer(options.model)] if options.model else []))


if __name__ == "__main__":
    main()
