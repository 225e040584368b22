"""Speed of headline scoring and ticker recognition. What belongs here: measuring, no assertions.

Scores the same headlines with the finance scorer, with its finance layer off, and with
vaderSentiment itself, one after the other in one process, and prints headlines a second.
The headlines are the recorded posts if their file is given, else made from the word list.
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

from quant_assets.domain.sentiment import FinanceVader
from quant_assets.domain.tickers import TickerRecognizer, packaged_aliases


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
    """Return the rate of one pass over the texts."""
    started = time.perf_counter()
    work(texts)
    return len(texts) / (time.perf_counter() - started)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--headlines", type=int, default=40_000, help="how many to score")
    parser.add_argument("--posts", type=Path, help="Parquet file with a column title")
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


if __name__ == "__main__":
    main()
