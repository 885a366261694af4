"""Datasets in shards: tar files with their records, in a folder or in object storage."""
