"""What every floor may use: errors, registry, jagged data, vocabulary, seeds, units, the batch, config trees."""
