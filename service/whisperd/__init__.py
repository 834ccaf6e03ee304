"""whisperd: offline speech recognition served over a Unix socket."""

__version__ = "0.1.0"
