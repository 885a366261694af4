"""What a dataset folder holds and how it is written: samples, records, manifest, decisions, links, fingerprints."""
