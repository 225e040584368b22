"""Sums within books. What belongs here: sums whose result does not depend on the other books."""

import numpy as np

from quant_assets.domain.ledger_book import Floats, Ints


def sum_by(k: Ints, values: Floats, count: int) -> Floats:
    """Sum of ``values`` for each of ``count`` books."""
    return np.asarray(np.bincount(k, weights=values, minlength=count), np.float64)


def cumulative_by(k: Ints, values: Floats) -> Floats:
    """Running sums of ``values`` that begin anew with each ``k``; equal ``k`` stand together.

    One row a book: a running sum over all less what came before would differ in the last digits
    with the number of books, and a book alone must equal the same book in a grid.
    """
    starts = np.flatnonzero(np.diff(k, prepend=-1))
    lengths = np.diff(np.append(starts, len(k)))
    rows = np.repeat(np.arange(len(starts)), lengths)
    columns = np.arange(len(k)) - np.repeat(starts, lengths)
    dense = np.zeros((len(starts), int(lengths.max(initial=0))))
    dense[rows, columns] = values
    return np.asarray(np.cumsum(dense, axis=1)[rows, columns])
