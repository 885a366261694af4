"""Look before you train: a local page, one file to mail, or a contact sheet of a dataset."""
