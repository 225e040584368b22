"""``quant doctor``: whether everything that the platform needs is in order.

What belongs here: looking, and saying what is missing and how to mend it. Nothing is repaired and
nothing is written but a temporary file where a directory has to be writable. One module a group of
checks; each check is a function that gives ``Finding``s, and none knows of the others.
"""
