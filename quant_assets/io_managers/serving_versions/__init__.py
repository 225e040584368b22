"""Revisions of the serving tables' schema, in Alembic's form: one module a change, never edited."""
