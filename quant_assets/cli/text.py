"""Texts of others on the screen. What belongs here: nothing that imports."""


def printable(text: str) -> str:
    """A text of a vendor on one line, with control characters as escapes: none acts on the screen.

    Letters of every script stay.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
