"""Training DexVLA: the training file, the batches and the loop."""
