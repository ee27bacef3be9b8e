"""Floor 3: what a model is trained to do. Pure functions from batches to examples, and sums of losses; knows no model."""
