"""Files of weights by their headers alone: what is in them, shards as one file, which layers a trainer is to train."""
