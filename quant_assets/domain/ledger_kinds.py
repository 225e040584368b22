"""Names of what the paper book records. What belongs here: names only, no import of pandas."""

KINDS = (
    "DEPOSIT",
    "SPLIT",
    "DIVIDEND",
    "DELISTED",
    "CANCELED",
    "FILL",
    "ORDER",
    "DENIED",
    "POSITION",
    "OPEN_ORDER",
    "ACCOUNT",
)
"""What an entry tells; the last three are the closing state."""
SIDES = ("BUY", "SELL")
STATUSES = ("NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED", "DENIED")
