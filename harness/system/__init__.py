"""System services that need neither torch nor Lightning: files, processes, signals, downloads, redaction."""
