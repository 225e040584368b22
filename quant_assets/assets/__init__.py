"""The software-defined assets: fetch or load, call one pure function, return."""

import gc

gc.freeze()  # Dagster's modules are no garbage: walking them costs 60 ms in each process's start
