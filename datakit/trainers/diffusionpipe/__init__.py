"""diffusion-pipe: its dataset TOML, its arithmetic re-derived, the proof."""
