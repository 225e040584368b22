"""What people are told. What belongs here: messages, threads, incidents and their delivery.

Knows nothing of Dagster: what is to be said comes from ``hooks`` and ``sensors``.
"""
