"""Ranking models and what they learn by; see the catalogue."""
