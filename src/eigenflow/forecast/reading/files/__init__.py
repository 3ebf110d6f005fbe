"""What is on the disk, of any kind, to tables of rows: files, folders, what trackers and programs write."""
