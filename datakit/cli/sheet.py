"""``datakit sheet``."""
