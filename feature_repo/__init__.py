"""Feast declarations: entities, sources, feature views, services, and one yaml a profile."""
