"""Thin layers over other packages, a file for each; nothing is imported here."""
