"""Measures of speed and memory, each against something that does the same work with less: see README.md."""
