"""vbench: which GPUs to buy, how to split a model over them, and what load they bear."""

__version__ = "0.1.0"

__path__.append(f"{__path__[0]}/campaign/earlier")  # the names that jobs in a queue may be pickled under
