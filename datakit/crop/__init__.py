"""Stage 1: crop a folder of pictures to exactly one of the sizes."""
