"""Tests of the backend stage."""
