"""The segmenter: folds events into customers, decides who is in which segment, and publishes every entry and exit."""
