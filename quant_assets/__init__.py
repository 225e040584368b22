"""quant_assets: a quant data platform of Dagster assets."""

import warnings

warnings.filterwarnings(
    "ignore", message=r".*is currently in beta.*", module=r"dagster|quant_assets"
)
