"""Clients of the vendors, one module each. No Dagster, no settings."""
