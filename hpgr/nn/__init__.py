"""Small layers made of ops. They take jagged tensors and offsets and know no batch, no item table and no loss."""
