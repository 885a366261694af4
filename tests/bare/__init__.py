"""Tests in a root of Debian that holds nothing but what the README asks for; `python -m pytest -m bare tests/bare`, as root."""
