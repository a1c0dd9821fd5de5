"""What needs neither torch nor Lightning: files, processes, signals, downloads, redaction."""
