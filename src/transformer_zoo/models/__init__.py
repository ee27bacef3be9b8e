"""Floor 2: one file per shape of computation, each showing its whole forward."""
