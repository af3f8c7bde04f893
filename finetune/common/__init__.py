"""What all of finetune stands on: errors, files, run directories, options, progress, processes, seeds."""
