"""Between the bytes of a picture file and upright sRGB pixels; nothing else decodes, changes or encodes."""
