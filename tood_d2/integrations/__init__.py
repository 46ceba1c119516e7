"""Trained models in other tools, a file for each; nothing is imported here."""
