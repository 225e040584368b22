"""The picture of the paper book among the metadata of assets."""

import base64

import numpy as np
import pandas as pd
import pytest

from quant_assets.assets.pictures import PICTURE_PREFIX, equity_picture

DAYS = pd.bdate_range("2026-01-05", periods=60).as_unit("us")
RETURNS = pd.Series(np.random.default_rng(4).normal(0, 0.01, 60), index=DAYS, name="universe")


@pytest.mark.parametrize(
    ("equity", "benchmark"),
    [
        (1e6 * (1 + RETURNS).cumprod(), RETURNS),
        (1e6 * (1 + RETURNS).cumprod().where(np.arange(60) > 20), RETURNS),
        (1e6 * (1 + RETURNS).cumprod(), RETURNS * np.nan),
        (0.0 * RETURNS, RETURNS.rename(None)),
    ],
    ids=["whole", "begins later", "no benchmark", "nothing left"],
)
def test_the_equity_of_the_books_is_a_picture(equity: pd.Series, benchmark: pd.Series) -> None:
    shown = equity_picture(pd.DataFrame({"live": equity, "shadow": equity * 0.9}), benchmark)
    text = shown.md_str
    assert text is not None
    assert text.startswith(PICTURE_PREFIX)
    picture = base64.b64decode(text.removeprefix(PICTURE_PREFIX).rstrip(")"))
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 100_000


def test_one_session_has_no_picture() -> None:
    shown = equity_picture(pd.DataFrame({"live": [1e6]}, index=DAYS[:1]), RETURNS[:1])
    assert shown.md_str == "The paper book has a picture from its second session on."
