"""How partition keys are written. What belongs here: the formats, which need no Dagster."""

SESSION_FORMAT = "%Y-%m-%d"
"""A session or a release day."""
HOUR_FORMAT = "%Y-%m-%d-%H"
"""An hour of news, UTC."""
