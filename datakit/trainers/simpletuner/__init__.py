"""SimpleTuner: its dataset entries and config files, its arithmetic re-derived, and the proof."""
