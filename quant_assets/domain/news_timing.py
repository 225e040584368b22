"""When news become known. What belongs here: bounds that need no pandas, for plans and mappings."""

from datetime import timedelta

LIVE_FOR = timedelta(hours=2)
"""An hour fetched later than this after its end is history: ``is_backfilled``."""
