"""vectorbt on the market of the paper book's benchmark. Run by it, in an environment of its own.

Prints the seconds of the second of two runs (the first one compiles) and the first set's equity.
"""

import sys
import time

import numpy as np
import pandas as pd
import vectorbt as vbt


def main(path: str, cash: float) -> None:
    """Orders of the targets at the next open, cash shared by the symbols of a set."""
    market = np.load(path)
    weight = market["weight"]
    sessions, sets, symbols = weight.shape
    # What is decided in a session fills at the open of the next one.
    later = np.vstack([np.full((1, sets * symbols), np.nan), weight.reshape(sessions, -1)[:-1]])
    close = pd.DataFrame(np.tile(market["close"], (1, sets)))

    def run() -> float:
        portfolio = vbt.Portfolio.from_orders(
            close,
            size=later,
            size_type="targetpercent",
            price=np.tile(market["open"], (1, sets)),
            fees=0.0001,
            slippage=0.0005,
            init_cash=cash,
            cash_sharing=True,
            group_by=np.repeat(np.arange(sets), symbols),
            call_seq="auto",
            freq="1D",
        )
        return float(np.ravel(portfolio.value().to_numpy()[-1])[0])

    run()
    began = time.perf_counter()
    equity = run()
    print(time.perf_counter() - began, equity)


main(sys.argv[1], float(sys.argv[2]))
