"""Pure functions on DataFrames. No I/O, no Dagster, no clock."""
