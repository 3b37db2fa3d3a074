"""Chips, baseline devices, event kinds and the energy ledger."""
