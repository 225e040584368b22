"""Removing what is no longer needed: what may go, how it goes, and the job that sees to it."""
