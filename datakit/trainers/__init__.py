"""Stage 3: what a trainer reads, what is written for it, and the proof; a folder a trainer."""
