"""From a bundle to live answers."""
