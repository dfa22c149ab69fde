"""Migrations: one file a step, run at every start, forwards only."""
