"""How fast the platform is, each figure against a yardstick: ``python -m benchmarks``.

What belongs here: one module a benchmark and what they share. Nothing outside imports it.
"""
