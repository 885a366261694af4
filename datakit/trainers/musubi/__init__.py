"""musubi-tuner: its dataset TOML, its bucket arithmetic, what it reads, and the proof of a file."""
