"""Checks of a compiled program that know its file only, not how it was made."""
