"""The domain: pure values and rules. Standard library only, no I/O."""
