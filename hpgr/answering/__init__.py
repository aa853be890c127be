"""From a bundle and histories to ranked items: what a Python user, the command line and the service share."""
