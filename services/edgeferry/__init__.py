"""Edgeferry keeps an Edge and a Cloud in step."""
