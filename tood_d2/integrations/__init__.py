"""Thin layers over other packages, one file each; each is imported where it is wanted."""
