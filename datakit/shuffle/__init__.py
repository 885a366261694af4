"""Stage 2: copies with shuffled captions, linked or augmented."""
