"""Sound in: sample formats, resampling and files."""
