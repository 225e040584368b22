"""How frames are stored: partitioned Parquet files."""
