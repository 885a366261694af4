"""Between text, captions and their tokens."""
