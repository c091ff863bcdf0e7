"""Pairs of an Edge and a Cloud as those that show the requirements."""

from tests.integration.requirements.conftest import ground, shape, sites_name

__all__ = ["ground", "shape", "sites_name"]
