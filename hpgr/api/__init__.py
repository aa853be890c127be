"""What a Python user calls; joins data, models, training and evaluation."""
