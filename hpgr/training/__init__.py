"""Training: the stages of a frame on Lightning's Trainer, with checkpoints, resume, a log and a progress bar."""
