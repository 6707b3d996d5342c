"""Orchestration: command line, training, evaluation, search and reports."""
