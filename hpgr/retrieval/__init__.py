"""From scores of the catalogue to ranked items."""
